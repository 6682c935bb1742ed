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
