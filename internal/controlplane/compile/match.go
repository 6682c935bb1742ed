// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// routeMatch translates the conditions of a match: the path, then headers by name, then method, authority and scheme,
// then query parameters by name. Nil is a rule without matches.
func routeMatch(m *mesh.Match) *routev3.RouteMatch {
	if m == nil {
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	}
	out := &routev3.RouteMatch{CaseSensitive: boolean(!m.IgnoreURICase)}
	switch {
	case m.URI == nil:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
	case m.URI.Kind == mesh.Exact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.URI.Value}
	case m.URI.Kind == mesh.Prefix:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: m.URI.Value}
	default:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(m.URI.Value)}
	}
	out.Headers = headerMatchers(m)
	for _, q := range sortedByName(m.Query, func(q mesh.QueryMatch) string { return q.Name }) {
		out.QueryParameters = append(out.QueryParameters, queryMatch(q))
	}
	return out
}

// headerMatchers sorts what is asked of fields by name, those that must not hold behind those that must, and puts the
// pseudo fields last.
func headerMatchers(m *mesh.Match) []*routev3.HeaderMatcher {
	n := len(m.Headers) + len(m.WithoutHeaders)
	if n == 0 && m.Method == nil && m.Authority == nil && m.Scheme == nil {
		return nil
	}
	list := make([]*routev3.HeaderMatcher, 0, n+3)
	for _, h := range m.Headers {
		list = append(list, headerMatch(h.Name, h.Value))
	}
	for _, h := range m.WithoutHeaders {
		matcher := headerMatch(h.Name, h.Value)
		matcher.InvertMatch = true
		// Present or not is asked of the field itself: an absent one must not count as empty there.
		matcher.TreatMissingHeaderAsEmpty = h.Value != nil
		list = append(list, matcher)
	}
	slices.SortStableFunc(list, func(a, b *routev3.HeaderMatcher) int { return strings.Compare(a.Name, b.Name) })
	for _, pseudo := range []mesh.HeaderMatch{
		{Name: ":method", Value: m.Method}, {Name: ":authority", Value: m.Authority}, {Name: ":scheme", Value: m.Scheme},
	} {
		if pseudo.Value != nil {
			list = append(list, headerMatch(pseudo.Name, pseudo.Value))
		}
	}
	return list
}

func headerMatch(name string, value *mesh.StringMatch) *routev3.HeaderMatcher {
	if value == nil {
		return &routev3.HeaderMatcher{
			Name:                 name,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}
	}
	return &routev3.HeaderMatcher{
		Name:                 name,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatch(value)},
	}
}

func queryMatch(q mesh.QueryMatch) *routev3.QueryParameterMatcher {
	if q.Value == nil {
		return &routev3.QueryParameterMatcher{
			Name:                         q.Name,
			QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true},
		}
	}
	return &routev3.QueryParameterMatcher{
		Name:                         q.Name,
		QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{StringMatch: stringMatch(q.Value)},
	}
}

// sortedByName copies only what is out of order: lists of the mesh are shared.
func sortedByName[T any](list []T, name func(T) string) []T {
	byName := func(a, b T) int { return strings.Compare(name(a), name(b)) }
	if slices.IsSortedFunc(list, byName) {
		return list
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, byName)
	return list
}

// catchAll reports whether a route takes every request: the path does not matter and nothing else is asked.
func catchAll(r *routev3.Route) bool {
	m := r.GetMatch()
	return len(m.GetHeaders()) == 0 && len(m.GetQueryParameters()) == 0 &&
		(m.GetPrefix() == "/" || m.GetSafeRegex().GetRegex() == ".*")
}

func stringMatch(m *mesh.StringMatch) *matcherv3.StringMatcher {
	switch m.Kind {
	case mesh.Exact:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: m.Value}}
	case mesh.Prefix:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: m.Value}}
	}
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(m.Value)}}
}

func regex(s string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: s} }
