// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// maxOverlaps is of how many matches of a virtual service each is compared with all before it.
const maxOverlaps = 2000

// numbered is a match with the number of its rule.
type numbered struct {
	mesh.Match
	rule int
}

// overlaps warns of matches that are never met, because one of an earlier rule or of the same holds whenever they do.
// What stands behind a match that takes every request is left to compile, which knows the listener.
func (v *virtualService) overlaps(rules []*networking.HTTPRoute) {
	n := 0
	for _, h := range rules {
		n += len(h.GetMatch())
	}
	before := make([]numbered, 0, min(n, maxOverlaps))
	for i, h := range rules {
		unused := 0
		for j, m := range h.GetMatch() {
			this := numbered{match(m, mesh.Place{}), i}
			if b := covering(before, &this.Match); b != nil {
				unused++
				v.warn(index(index("spec.http", i)+".match", j), "remove it, or move it up",
					"virtualService rule %s match %s is not used (duplicate/overlapping match in rule %s)",
					called(h.GetName(), i), called(m.GetName(), j), called(rules[b.rule].GetName(), b.rule))
				continue
			}
			if everything(this.Match) || len(before) == maxOverlaps {
				return
			}
			before = append(before, this)
		}
		switch {
		case len(h.GetMatch()) == 0:
			return
		case unused == len(h.GetMatch()):
			v.warn(index("spec.http", i), "remove it, or move it up",
				"virtualService rule %s not used (all matches used by prior rules)", called(h.GetName(), i))
		}
	}
}

// covering is the first match that holds whenever m does, or nil.
func covering(before []numbered, m *mesh.Match) *numbered {
	for i := range before {
		if implies(m, &before[i].Match) {
			return &before[i]
		}
	}
	return nil
}

// called is a name in quotes, or a number for what has none.
func called(name string, i int) string {
	if name != "" {
		return fmt.Sprintf("%q", name)
	}
	return fmt.Sprintf("#%d", i)
}

// everything tells whether a match asks nothing of a request, as far as compile sees it.
func everything(m mesh.Match) bool {
	if u := m.URI; u != nil && (u.Kind != mesh.Prefix || u.Value != "/") && (u.Kind != mesh.Regex || u.Value != ".*") {
		return false
	}
	return m.Scheme == nil && m.Method == nil && m.Authority == nil && len(m.Headers)+len(m.WithoutHeaders)+
		len(m.Query) == 0
}

// implies tells whether a request that meets narrow always meets wide too. It is false where that is not plain.
func implies(narrow, wide *mesh.Match) bool {
	if !valueImplies(narrow.URI, wide.URI) || wide.URI != nil && narrow.IgnoreURICase != wide.IgnoreURICase {
		return false
	}
	if !valueImplies(narrow.Method, wide.Method) || !valueImplies(narrow.Scheme, wide.Scheme) ||
		!valueImplies(narrow.Authority, wide.Authority) {
		return false
	}
	for _, w := range wide.Headers {
		if !slices.ContainsFunc(narrow.Headers, func(n mesh.HeaderMatch) bool {
			return n.Name == w.Name && valueImplies(n.Value, w.Value)
		}) {
			return false
		}
	}
	for _, w := range wide.WithoutHeaders {
		if !slices.ContainsFunc(narrow.WithoutHeaders, func(n mesh.HeaderMatch) bool {
			return n.Name == w.Name && same(n.Value, w.Value)
		}) {
			return false
		}
	}
	for _, w := range wide.Query {
		if !slices.ContainsFunc(narrow.Query, func(n mesh.QueryMatch) bool {
			return n.Name == w.Name && valueImplies(n.Value, w.Value)
		}) {
			return false
		}
	}
	// Conditions on the proxy are not taken apart.
	return (wide.Port == 0 || wide.Port == narrow.Port) && slices.Equal(narrow.Gateways, wide.Gateways) &&
		maps.Equal(narrow.SourceLabels, wide.SourceLabels) && narrow.SourceNamespace == wide.SourceNamespace
}

// valueImplies tells whether each value that narrow matches is matched by wide; nil is any value.
func valueImplies(narrow, wide *mesh.StringMatch) bool {
	switch {
	case wide == nil || same(narrow, wide):
		return true
	case narrow == nil || narrow.Kind == mesh.Regex:
		return false
	}
	return wide.Kind == mesh.Prefix && strings.HasPrefix(narrow.Value, wide.Value)
}

func same(a, b *mesh.StringMatch) bool { return a == b || a != nil && b != nil && *a == *b }
