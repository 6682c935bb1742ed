// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// narrower is what serverHosts.common finds, the slow and plain way: of each pair of hosts the one within the other.
func narrower(s *mesh.Server, vs *mesh.VirtualService) []string {
	var out []string
	for _, sh := range s.Hosts {
		if sh.Namespace != "*" && sh.Namespace != vs.Namespace {
			continue
		}
		for _, host := range vs.Hosts {
			if covers(sh.Host, host) {
				out = append(out, host)
			} else if covers(host, sh.Host) {
				out = append(out, sh.Host)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestHostsInCommonAreThoseOfEveryPair(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	host := func() string {
		return []string{
			"a", "a.b", "x.a.b", "y.x.a.b", "*", "*.b", "*.a.b", "*.x.a.b", "*-c.b", "d-c.b", "x.d-c.b", "*.d-c.b", "b",
			"*-e.d-c.b", "10.0.0.1", "::1",
		}[r.IntN(16)]
	}
	for range 5000 {
		s, vs := &mesh.Server{}, &mesh.VirtualService{Namespace: "one"}
		for range r.IntN(5) {
			s.Hosts = append(s.Hosts, mesh.ServerHost{Namespace: []string{"*", "one", "two"}[r.IntN(3)], Host: host()})
		}
		for range r.IntN(4) {
			vs.Hosts = append(vs.Hosts, host())
		}
		got := slices.Sorted(newServerHosts(s).common(vs))
		if want := narrower(s, vs); !slices.Equal(got, want) {
			t.Fatalf("server %v, virtual service %v: got %q, want %q", s.Hosts, vs.Hosts, got, want)
		}
	}
}

func TestManyHostsInCommonAreEachThereOnce(t *testing.T) {
	s, vs := &mesh.Server{}, &mesh.VirtualService{Hosts: []string{"*", "*.b"}}
	for i := range 100 {
		s.Hosts = append(s.Hosts, mesh.ServerHost{Namespace: "*", Host: fmt.Sprintf("a%d.b", i)})
	}
	if got := slices.Collect(newServerHosts(s).common(vs)); len(got) != 100 {
		t.Errorf("got %d hosts, want 100: %q", len(got), got)
	}
}

func TestWildcardsOverAHostAreAllThatCoverIt(t *testing.T) {
	for host, want := range map[string][]string{
		"a": {"*"}, "a.b": {"*.b", "*"}, "x.a.b": {"*.a.b", "*.b", "*"}, "*": nil, "*.b": {"*"}, "*.a.b": {"*.b", "*"},
		"*-c.b": {"*.b", "*"},
	} {
		if got := slices.Collect(wildcardsOver(host)); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", host, got, want)
		}
	}
}
