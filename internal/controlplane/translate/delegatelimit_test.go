// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// delegations is a virtual service of rules that all delegate to one, and that one with a rule of matches.
func delegations(rules, matches int, match string) (root, leaf string) {
	list := make([]string, matches)
	for i := range list {
		list[i] = fmt.Sprintf("{uri: {prefix: /%d}}", i)
	}
	return named("VirtualService", "root", "{hosts: [a.example], http: ["+
			strings.Repeat("{"+match+"delegate: {name: leaf}}, ", rules)+"{redirect: {uri: /}}]}"),
		named("VirtualService", "leaf", "{http: [{match: ["+strings.Join(list, ", ")+"], redirect: {uri: /}}]}")
}

const beyondLimits = "with the rules of its delegates it has more than 100000 routes, or 10000000 pairs of matches: " +
	"what it was stays; delegate to fewer matches, or from fewer rules"

func TestWhatDelegatesAddHasABound(t *testing.T) {
	root, leaf := delegations(101, 1000, "")
	config, _, problems := translateYAML(t, root+leaf, Options{})
	says(t, problems, mesh.Error, "VirtualService default/root: spec.http[100].delegate: ", beyondLimits)
	if len(config.VirtualServices) != 0 {
		t.Errorf("%d virtual services are served", len(config.VirtualServices))
	}

	root, leaf = delegations(99, 1000, "")
	config, _, problems = translateYAML(t, root+leaf, Options{})
	routes := 0
	for _, r := range config.VirtualServices[0].Rules {
		routes += max(1, len(r.Matches))
	}
	if routes != 99_001 {
		t.Errorf("%d routes, want 99001; problems %v", routes, problems)
	}

	// Matches that lie within none of the root's make no routes, and cost as much.
	root, leaf = delegations(2, 4000, "match: ["+strings.Repeat("{uri: {exact: /x}}, ", 2000)+"], ")
	_, _, problems = translateYAML(t, root+leaf, Options{})
	says(t, problems, mesh.Error, "VirtualService default/root: spec.http[1].delegate: ", beyondLimits)
}

func TestARootWhoseDelegateGrowsTooMuchStaysWhatItWas(t *testing.T) {
	root, small := delegations(200, 2, "")
	_, large := delegations(200, 1000, "")
	first, changed := resources(t, root+small), resources(t, large)
	tr := New(Options{})
	config, _, _ := tr.Translate(first)
	want := config.VirtualServices[0]
	first[1] = changed[0]
	for range 2 {
		config, _, problems := tr.Translate(first)
		says(t, problems, mesh.Error, "VirtualService default/root: spec.http[100].delegate: ", beyondLimits)
		if len(config.VirtualServices) != 1 || config.VirtualServices[0] != want {
			t.Fatalf("served: %d virtual services, not what was served before", len(config.VirtualServices))
		}
	}
	first[1] = resources(t, small)[0]
	if config, _, problems := tr.Translate(first); len(config.VirtualServices[0].Rules) != 201 {
		t.Errorf("%d rules, problems %v", len(config.VirtualServices[0].Rules), problems)
	}
}
