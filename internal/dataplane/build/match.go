// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
)

// linkMatch fills a route's matchers.
func linkMatch(to *route.Route[*proxy.Action], m *routev3.RouteMatch) (bad *fault) {
	if to.Path, bad = pathMatch(m); bad != nil {
		return bad
	}
	if to.Headers, bad = headerMatches(m.GetHeaders(), "headers"); bad != nil {
		return bad
	}
	for i, q := range m.GetQueryParameters() {
		match, bad := queryMatch(q)
		if bad != nil {
			return bad.under(fmt.Sprintf("query_parameters[%d]", i))
		}
		to.Query = append(to.Query, match)
	}
	if f := m.GetRuntimeFraction().GetDefaultValue(); f != nil {
		to.Fraction.Numerator, to.Fraction.Denominator = f.GetNumerator(), denominators[f.GetDenominator()]
	}
	return nil
}

func pathMatch(m *routev3.RouteMatch) (route.PathMatch, *fault) {
	p := route.PathMatch{IgnoreCase: m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue()}
	switch s := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		p.Kind, p.Value = route.PathPrefix, s.Prefix
	case *routev3.RouteMatch_Path:
		p.Kind, p.Value = route.PathExact, s.Path
	case *routev3.RouteMatch_PathSeparatedPrefix:
		p.Kind, p.Value = route.PathSeparatedPrefix, s.PathSeparatedPrefix
	case *routev3.RouteMatch_SafeRegex:
		p.Kind, p.Value = route.PathRegex, s.SafeRegex.GetRegex()
		return p, checkRegex(s.SafeRegex, "safe_regex")
	default:
		return p, faultf("path_specifier", "missing: prefix, path, path_separated_prefix or safe_regex")
	}
	return p, nil
}

// pseudoFields are the parts of a request line that a matcher may look at.
var pseudoFields = map[string]bool{":method": true, ":authority": true, ":path": true, ":scheme": true}

func headerMatches(list []*routev3.HeaderMatcher, path string) ([]route.HeaderMatch, *fault) {
	var out []route.HeaderMatch
	for i, h := range list {
		m, bad := headerMatch(h)
		if bad != nil {
			return nil, bad.under(fmt.Sprintf("%s[%d]", path, i))
		}
		out = append(out, m)
	}
	return out, nil
}

func headerMatch(h *routev3.HeaderMatcher) (route.HeaderMatch, *fault) {
	m := route.HeaderMatch{
		Name: h.GetName(), Invert: h.GetInvertMatch(), MissingAsEmpty: h.GetTreatMissingHeaderAsEmpty(),
	}
	if name := strings.ToLower(m.Name); strings.HasPrefix(name, ":") && !pseudoFields[name] {
		return m, faultf("name", "%s is not implemented, only :method, :authority, :path and :scheme", m.Name)
	}
	switch s := h.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_PresentMatch:
		m.Invert = m.Invert == s.PresentMatch // false means absent, inverted it means present
	case *routev3.HeaderMatcher_StringMatch:
		v, bad := valueMatch(s.StringMatch)
		m.Kind, m.Value, m.IgnoreCase = v.kind, v.value, v.ignoreCase
		return m, bad.under("string_match")
	case *routev3.HeaderMatcher_ExactMatch:
		m.Kind, m.Value = route.HeaderExact, s.ExactMatch
	case *routev3.HeaderMatcher_PrefixMatch:
		m.Kind, m.Value = route.HeaderPrefix, s.PrefixMatch
	case *routev3.HeaderMatcher_SuffixMatch:
		m.Kind, m.Value = route.HeaderSuffix, s.SuffixMatch
	case *routev3.HeaderMatcher_ContainsMatch:
		m.Kind, m.Value = route.HeaderContains, s.ContainsMatch
	case *routev3.HeaderMatcher_SafeRegexMatch:
		m.Kind, m.Value = route.HeaderRegex, s.SafeRegexMatch.GetRegex()
		return m, checkRegex(s.SafeRegexMatch, "safe_regex_match")
	case nil: // the same as present
	default:
		return m, faultf("header_match_specifier", "not implemented")
	}
	return m, nil
}

func queryMatch(q *routev3.QueryParameterMatcher) (route.QueryMatch, *fault) {
	m := route.QueryMatch{Name: q.GetName()}
	switch s := q.GetQueryParameterMatchSpecifier().(type) {
	case *routev3.QueryParameterMatcher_PresentMatch:
		m.Absent = !s.PresentMatch
	case *routev3.QueryParameterMatcher_StringMatch:
		v, bad := valueMatch(s.StringMatch)
		m.Kind, m.Value, m.IgnoreCase = v.kind, v.value, v.ignoreCase
		return m, bad.under("string_match")
	}
	return m, nil // without a specifier: present
}

// value is how a text is compared.
type value struct {
	kind       route.HeaderKind
	value      string
	ignoreCase bool
}

func valueMatch(s *matcherv3.StringMatcher) (value, *fault) {
	v := value{ignoreCase: s.GetIgnoreCase()}
	switch p := s.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		v.kind, v.value = route.HeaderExact, p.Exact
	case *matcherv3.StringMatcher_Prefix:
		v.kind, v.value = route.HeaderPrefix, p.Prefix
	case *matcherv3.StringMatcher_Suffix:
		v.kind, v.value = route.HeaderSuffix, p.Suffix
	case *matcherv3.StringMatcher_Contains:
		v.kind, v.value = route.HeaderContains, p.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		v.kind, v.value = route.HeaderRegex, p.SafeRegex.GetRegex()
		return v, checkRegex(p.SafeRegex, "safe_regex")
	default:
		return v, faultf("match_pattern", "missing")
	}
	return v, nil
}

func checkRegex(r *matcherv3.RegexMatcher, path string) *fault {
	if _, err := regexp.Compile(r.GetRegex()); err != nil {
		return faultf(path+".regex", "%v", err)
	}
	return nil
}
