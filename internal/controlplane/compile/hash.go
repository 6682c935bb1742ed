// SPDX-License-Identifier: Apache-2.0

package compile

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// consistentHash finds by what requests to a port and a subset of a service (nil: none) are spread: the settings of the
// subset's port, of the subset, of the service's port, of the service. Nil: none of them says by hash. A cluster whose
// balancer does not ask for a key may so be given one, as in Istio.
func consistentHash(s *mesh.Service, subset *mesh.Subset, port uint32) *mesh.ConsistentHash {
	if s == nil {
		return nil
	}
	if subset != nil {
		if h := hashOf(subset.Policy, port); h != nil {
			return h
		}
	}
	return hashOf(s.Policy, port)
}

func hashOf(p *mesh.TrafficPolicy, port uint32) *mesh.ConsistentHash {
	if p == nil {
		return nil
	}
	for _, settings := range []*mesh.TrafficPolicy{p.Ports[port], p} {
		if settings != nil && settings.LoadBalancer != nil && settings.LoadBalancer.Hash != nil {
			return settings.LoadBalancer.Hash
		}
	}
	return nil
}

// hashPolicy is the key of a consistent hash; nil if it names none.
func hashPolicy(h *mesh.ConsistentHash) *routev3.RouteAction_HashPolicy {
	switch {
	case h == nil:
		return nil
	case h.Header != "":
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: h.Header},
		}}
	case h.Cookie != nil:
		cookie := &routev3.RouteAction_HashPolicy_Cookie{Name: h.Cookie.Name, Path: h.Cookie.Path}
		if h.Cookie.TTL != nil {
			cookie.Ttl = durationpb.New(*h.Cookie.TTL)
		}
		return &routev3.RouteAction_HashPolicy{
			PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{Cookie: cookie},
		}
	case h.SourceIP:
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
		}}
	case h.Query != "":
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_QueryParameter_{
			QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: h.Query},
		}}
	}
	return nil
}
