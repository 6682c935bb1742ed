// SPDX-License-Identifier: Apache-2.0

package build

import (
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
)

// linkRewrite reads what changes a request's path and host; nil if nothing does. auto: the host is the endpoint's.
func linkRewrite(m *routev3.RouteMatch, a *routev3.RouteAction) (rw *filter.Rewrite, auto bool, bad *fault) {
	out := &filter.Rewrite{}
	switch {
	case a.GetPrefixRewrite() != "" && a.GetRegexRewrite() != nil:
		return nil, false, faultf("regex_rewrite", "Specify only one of prefix_rewrite or regex_rewrite")
	case a.GetPrefixRewrite() != "":
		out = prefixRewrite(m, a.GetPrefixRewrite())
	case a.GetRegexRewrite() != nil:
		if out.Regex, out.Sub, bad = substitution(a.GetRegexRewrite()); bad != nil {
			return nil, false, bad.under("regex_rewrite")
		}
	}
	switch h := a.GetHostRewriteSpecifier().(type) {
	case *routev3.RouteAction_HostRewriteLiteral:
		out.Host = h.HostRewriteLiteral
	case *routev3.RouteAction_HostRewriteHeader:
		out.HostHeader = strings.ToLower(h.HostRewriteHeader)
	case *routev3.RouteAction_HostRewritePathRegex:
		if out.HostPath, out.HostSub, bad = substitution(h.HostRewritePathRegex); bad != nil {
			return nil, false, bad.under("host_rewrite_path_regex")
		}
	case *routev3.RouteAction_AutoHostRewrite:
		auto = h.AutoHostRewrite.GetValue()
	}
	out.AppendForwardedHost = a.GetAppendXForwardedHost()
	if *out == (filter.Rewrite{}) {
		return nil, auto, nil
	}
	return out, auto, nil
}

// prefixRewrite replaces what the route matched of the path: its prefix, or with any other matcher all of it.
func prefixRewrite(m *routev3.RouteMatch, prefix string) *filter.Rewrite {
	out := &filter.Rewrite{HasPrefix: true, Prefix: prefix, Match: filter.MatchAll}
	switch s := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		out.Match, out.MatchLen = filter.MatchPrefix, len(s.Prefix)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		out.Match, out.MatchLen = filter.MatchPrefix, len(s.PathSeparatedPrefix)
	}
	return out
}

// substitution reads an expression and what takes the place of its matches, in which \0 to \9 are groups.
func substitution(s *matcherv3.RegexMatchAndSubstitute) (*regexp.Regexp, string, *fault) {
	re, err := regexp.Compile(s.GetPattern().GetRegex())
	if err != nil {
		return nil, "", faultf("pattern.regex", "%v", err)
	}
	sub := s.GetSubstitution()
	for i := 0; i < len(sub); i++ {
		if sub[i] != '\\' {
			continue
		}
		i++
		switch {
		case i == len(sub):
			return nil, "", faultf("substitution", "ends in a backslash")
		case sub[i] == '\\':
		case sub[i] < '0' || sub[i] > '9':
			return nil, "", faultf("substitution", `\%c is neither a group nor \\`, sub[i])
		case int(sub[i]-'0') > re.NumSubexp():
			return nil, "", faultf("substitution", `\%c: the expression has %d groups`, sub[i], re.NumSubexp())
		}
	}
	return re, sub, nil
}
