// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
)

// linkHash makes the hash policies of a route.
func linkHash(list []*routev3.RouteAction_HashPolicy) ([]filter.HashPolicy, *fault) {
	var out []filter.HashPolicy
	for i, p := range list {
		h := filter.HashPolicy{Terminal: p.GetTerminal()}
		path := fmt.Sprintf("hash_policy[%d]", i)
		switch s := p.GetPolicySpecifier().(type) {
		case *routev3.RouteAction_HashPolicy_Header_:
			h.Header = strings.ToLower(s.Header.GetHeaderName())
		case *routev3.RouteAction_HashPolicy_Cookie_:
			ttl, bad := duration(s.Cookie.GetTtl(), 0, "cookie.ttl")
			if bad != nil {
				return nil, bad.under(path)
			}
			if strings.ContainsFunc(s.Cookie.GetName(), notInToken) {
				return nil, faultf(path+".cookie.name", "%q is no name of a cookie", s.Cookie.GetName())
			}
			if strings.ContainsFunc(s.Cookie.GetPath(), notInCookie) {
				return nil, faultf(path+".cookie.path", "%q is no path of a cookie", s.Cookie.GetPath())
			}
			h.Cookie = &filter.HashCookie{
				Name: s.Cookie.GetName(), Path: s.Cookie.GetPath(), TTL: ttl, Make: s.Cookie.GetTtl() != nil,
			}
		case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
			if !s.ConnectionProperties.GetSourceIp() {
				continue // says nothing
			}
			h.SourceIP = true
		case *routev3.RouteAction_HashPolicy_QueryParameter_:
			h.Query = s.QueryParameter.GetName()
		default:
			return nil, faultf(path+".policy_specifier", "missing")
		}
		out = append(out, h)
	}
	return out, nil
}

// notInToken: RFC 6265 §4.1.1, RFC 9110 §5.6.2.
func notInToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
}

// notInCookie: RFC 6265 §4.1.1, path-value.
func notInCookie(r rune) bool { return notInField(r) || r == ';' }
