// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// linkEndpoints reads hosts by their localities. names: an address may be a name, to be looked up.
func linkEndpoints(a *endpointv3.ClusterLoadAssignment, names bool) ([]upstream.Endpoint, *fault) {
	var hosts []upstream.Endpoint
	for i, group := range a.GetEndpoints() {
		l := group.GetLocality()
		locality := upstream.Locality{Region: l.GetRegion(), Zone: l.GetZone(), SubZone: l.GetSubZone()}
		for k, h := range group.GetLbEndpoints() {
			e := upstream.Endpoint{
				Weight: h.GetLoadBalancingWeight().GetValue(), Hostname: h.GetEndpoint().GetHostname(),
				Locality: locality, LocalityWeight: group.GetLoadBalancingWeight().GetValue(), Priority: group.GetPriority(),
				Unhealthy: h.GetHealthStatus() != corev3.HealthStatus_UNKNOWN &&
					h.GetHealthStatus() != corev3.HealthStatus_HEALTHY,
			}
			if strings.ContainsFunc(e.Hostname, func(r rune) bool { return r == ' ' || r == '\t' || notInField(r) }) {
				return nil, faultf(fmt.Sprintf("endpoints[%d].lb_endpoints[%d].endpoint.hostname", i, k),
					"%q is no host", e.Hostname)
			}
			if bad := linkHost(&e, h.GetEndpoint().GetAddress(), names); bad != nil {
				return nil, bad.under(fmt.Sprintf("endpoints[%d].lb_endpoints[%d].endpoint.address", i, k))
			}
			hosts = append(hosts, e)
		}
	}
	return hosts, nil
}

// linkHost reads where a host is.
func linkHost(e *upstream.Endpoint, a *corev3.Address, names bool) (bad *fault) {
	if p := a.GetPipe(); p != nil {
		if !strings.HasPrefix(p.GetPath(), "/") {
			return faultf("pipe.path", "%q is not the whole path of a socket", p.GetPath())
		}
		e.Path = p.GetPath()
		return nil
	}
	s := a.GetSocketAddress()
	if s == nil {
		return faultf("socket_address", "missing")
	}
	if s.GetPortValue() == 0 {
		return faultf("socket_address.port_value", "missing")
	}
	if _, err := netip.ParseAddr(s.GetAddress()); err != nil && names {
		e.Name, e.Port = s.GetAddress(), uint16(s.GetPortValue()) // validated: at most 65535
		return nil
	}
	e.Addr, bad = linkAddress(a)
	return bad
}

// linkAddress reads an IP address and a port.
func linkAddress(a *corev3.Address) (netip.AddrPort, *fault) {
	s := a.GetSocketAddress()
	if s == nil {
		return netip.AddrPort{}, faultf("socket_address", "missing")
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		return netip.AddrPort{}, faultf("socket_address.address", "%q is not an IP address", s.GetAddress())
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(s.GetPortValue())), nil // validated: at most 65535
}
