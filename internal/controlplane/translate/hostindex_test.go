// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// Each pair is looked at here, and not by the index.
func TestTheFirstHostThatOverlapsIsFound(t *testing.T) {
	texts := []string{
		"*", "a", "A", "a.b", "*.b", "*b", "x.a.b", "*.a.b", "b", "c.b", "*.", "", "a.b.", "x*", "**", "*a.b", "é.b", "*\xa9.b",
	}
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		hosts := make([]string, rnd.IntN(6))
		for i := range hosts {
			hosts[i] = texts[rnd.IntN(len(texts))]
		}
		x := newHostIndex(hosts)
		for i := range hosts {
			want := -1
			for j := range i {
				a, b := strings.ToLower(hosts[i]), strings.ToLower(hosts[j])
				if covers(a, b) || covers(b, a) {
					want = j
					break
				}
			}
			if got := x.overlap(i); got != want {
				t.Fatalf("%q: host %d overlaps with %d, want %d", hosts, i, got, want)
			}
		}
	}
}

// By pairs, this takes minutes.
func TestTheLastOfManyHostsIsFoundToBeThereTwice(t *testing.T) {
	var list strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&list, "h%d.some.company.example, '*.w%d.example', ", i, i)
	}
	in := named("VirtualService", "v", "{hosts: ["+list.String()+"h7.some.company.example], http: [{redirect: {uri: /}}]}")
	_, _, problems := translateYAML(t, in, Options{})
	says(t, problems, mesh.Error, "spec.hosts[40000]: ", "duplicate hosts in virtual service: "+
		"h7.some.company.example & h7.some.company.example")
}
