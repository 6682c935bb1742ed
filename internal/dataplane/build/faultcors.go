// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"regexp"
	"strings"

	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
)

func linkShare(p *typev3.FractionalPercent) filter.Share {
	return filter.Share{Numerator: p.GetNumerator(), Denominator: denominators[p.GetDenominator()]}
}

func linkFault(m *faultv3.HTTPFault) (*filter.Fault, *fault) {
	f := &filter.Fault{AbortGRPC: -1}
	if d := m.GetDelay(); d != nil {
		var bad *fault
		if f.Delay, bad = duration(d.GetFixedDelay(), 0, "delay.fixed_delay"); bad != nil {
			return nil, bad
		}
		f.DelayShare = linkShare(d.GetPercentage())
	}
	if a := m.GetAbort(); a != nil {
		switch e := a.GetErrorType().(type) {
		case *faultv3.FaultAbort_HttpStatus:
			f.AbortStatus = int(e.HttpStatus)
		case *faultv3.FaultAbort_GrpcStatus:
			f.AbortGRPC = int(e.GrpcStatus)
		}
		f.AbortShare = linkShare(a.GetPercentage())
	}
	return f, nil
}

// checkCORS holds what of a policy can be wrong or is not executed.
func checkCORS(p *corsv3.CorsPolicy) *fault {
	for i, o := range p.GetAllowOriginStringMatch() {
		if _, bad := textMatch(o); bad != nil {
			return bad.under(fmt.Sprintf("allow_origin_string_match[%d]", i))
		}
	}
	for _, f := range []struct{ path, value string }{
		{"allow_methods", p.GetAllowMethods()}, {"allow_headers", p.GetAllowHeaders()},
		{"expose_headers", p.GetExposeHeaders()}, {"max_age", p.GetMaxAge()},
	} {
		if strings.ContainsFunc(f.value, notInField) {
			return faultf(f.path, "%q cannot stand in a field", f.value)
		}
	}
	if d := p.GetFilterEnabled().GetDefaultValue(); d != nil && d.GetNumerator() != 0 &&
		d.GetNumerator() < denominators[d.GetDenominator()] {
		return faultf("filter_enabled.default_value", "a share of the requests is not implemented, only none or all")
	}
	return nil
}

// enabled tells whether a policy is in force: filter_enabled, of which checkCORS takes none or all.
func enabled(p *corsv3.CorsPolicy) bool {
	return p.GetFilterEnabled() == nil || p.GetFilterEnabled().GetDefaultValue().GetNumerator() > 0
}

// linkCORS makes one policy of several, the most specific first; nil of none.
func linkCORS(policies []*corsv3.CorsPolicy) *filter.CORS {
	if len(policies) == 0 {
		return nil
	}
	c := &filter.CORS{ForwardUnmatched: true}
	for i := len(policies) - 1; i >= 0; i-- { // the most specific has the last word
		p := policies[i]
		if list := p.GetAllowOriginStringMatch(); len(list) > 0 {
			c.Origins = nil
			for _, o := range list {
				m, _ := textMatch(o) // checked when its level was linked
				c.Origins = append(c.Origins, m)
			}
		}
		override(&c.Methods, p.GetAllowMethods())
		override(&c.AllowHeaders, p.GetAllowHeaders())
		override(&c.ExposeHeaders, p.GetExposeHeaders())
		override(&c.MaxAge, p.GetMaxAge())
		if v := p.GetAllowCredentials(); v != nil {
			c.Credentials = v.GetValue()
		}
		if v := p.GetForwardNotMatchingPreflights(); v != nil {
			c.ForwardUnmatched = v.GetValue()
		}
	}
	return c
}

func override(to *string, value string) {
	if value != "" {
		*to = value
	}
}

func textMatch(s *matcherv3.StringMatcher) (filter.StringMatch, *fault) {
	m := filter.StringMatch{IgnoreCase: s.GetIgnoreCase()}
	switch p := s.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		m.Kind, m.Value = filter.ExactMatch, p.Exact
	case *matcherv3.StringMatcher_Prefix:
		m.Kind, m.Value = filter.PrefixMatch, p.Prefix
	case *matcherv3.StringMatcher_Suffix:
		m.Kind, m.Value = filter.SuffixMatch, p.Suffix
	case *matcherv3.StringMatcher_Contains:
		m.Kind, m.Value = filter.ContainsMatch, p.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		m.Kind, m.Value = filter.RegexMatch, p.SafeRegex.GetRegex()
		re, bad := wholeRegex(p.SafeRegex, "safe_regex")
		if bad != nil {
			return m, bad
		}
		m.Regex = re
	default:
		return m, faultf("match_pattern", "missing")
	}
	return m, nil
}

// wholeRegex compiles an expression that has to match all of a text.
func wholeRegex(r *matcherv3.RegexMatcher, path string) (*regexp.Regexp, *fault) {
	if bad := checkRegex(r, path); bad != nil {
		return nil, bad
	}
	re, err := regexp.Compile(`\A(?:` + r.GetRegex() + `)\z`)
	if err != nil {
		return nil, faultf(path+".regex", "%v", err)
	}
	return re, nil
}
