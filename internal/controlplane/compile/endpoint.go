// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// unixPrefix marks an address that is a socket of this machine.
const unixPrefix = "unix://"

// place is the endpoints of one locality that are of one priority.
type place struct {
	label     string // region/zone/subzone, as far as known
	endpoints []*mesh.Endpoint
	addresses []*corev3.Address // of endpoints
	weight    uint32            // of the locality; 0: not written
	priority  uint32
}

// places are those of one cluster.
type places []*place

// withUnready tells whether endpoints that are not ready are of a cluster, marked as unhealthy: they count when it is
// seen how much of a locality is left, and requests do not go there. Where the policy has requests go to unhealthy
// endpoints when too few are healthy, they are not of it.
func withUnready(policy *mesh.TrafficPolicy) bool {
	return policy.OutlierDetection == nil || policy.OutlierDetection.MinHealthPercent <= 0
}

// localities sorts the endpoints of a port and subset by where they are. One that does not serve the port is not of the
// cluster. Within a locality they keep their order.
func (k *compiler) localities(endpoints []mesh.Endpoint, s *mesh.Service, port uint32, subset *mesh.Subset,
	unready bool,
) places {
	var out places
	for i := range endpoints {
		e := &endpoints[i]
		if e.Unready && !unready || !inSubset(*e, subset) {
			continue
		}
		address := endpointAddress(e, port, s.Resolution)
		if address == nil {
			continue
		}
		j, found := slices.BinarySearchFunc(out, e.Locality, func(p *place, label string) int {
			return cmp.Compare(p.label, label)
		})
		if !found {
			out = slices.Insert(out, j, &place{label: e.Locality})
		}
		out[j].endpoints = append(out[j].endpoints, e)
		out[j].addresses = append(out[j].addresses, address)
	}
	return out
}

// first leaves one endpoint, which is all that Envoy takes of a LOGICAL_DNS cluster.
func (p places) first() places {
	if len(p) == 0 {
		return nil
	}
	return places{{label: p[0].label, endpoints: p[0].endpoints[:1], addresses: p[0].addresses[:1]}}
}

// inSubset reports whether e carries all labels of the subset; a subset without labels has all endpoints.
func inSubset(e mesh.Endpoint, subset *mesh.Subset) bool {
	if subset == nil {
		return true
	}
	for name, value := range subset.Labels {
		if have, ok := e.Labels[name]; !ok || have != value {
			return false
		}
	}
	return true
}

// endpointAddress is where to dial for a port; nil if the endpoint does not serve it, or is a name where only addresses
// can be. Where names are looked up an IP is one too, a socket of this machine is not.
func endpointAddress(e *mesh.Endpoint, port uint32, r mesh.Resolution) *corev3.Address {
	path, unix := strings.CutPrefix(e.Address, unixPrefix)
	number := e.Ports[port]
	switch {
	case unix && r == mesh.Static && number != 0:
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
	case unix, number == 0, number > 65535:
		return nil
	case r == mesh.Static:
		if _, err := netip.ParseAddr(e.Address); err != nil {
			return nil
		}
	}
	return address(e.Address, number)
}

func address(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func (p places) messages() []*endpointv3.LocalityLbEndpoints {
	var out []*endpointv3.LocalityLbEndpoints
	for _, place := range p {
		m := &endpointv3.LocalityLbEndpoints{Locality: locality(place.label), Priority: place.priority}
		if place.weight != 0 {
			m.LoadBalancingWeight = u32(place.weight)
		}
		for i, e := range place.endpoints {
			lb := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
				Endpoint: &endpointv3.Endpoint{Address: place.addresses[i]},
			}}
			if e.Unready {
				lb.HealthStatus = corev3.HealthStatus_UNHEALTHY
			}
			if e.Weight != 0 {
				lb.LoadBalancingWeight = u32(e.Weight)
			}
			m.LbEndpoints = append(m.LbEndpoints, lb)
		}
		out = append(out, m)
	}
	return out
}

// locality is Envoy's form of region/zone/subzone; nil if nothing is known.
func locality(label string) *corev3.Locality {
	if label == "" {
		return nil
	}
	region, zone, subzone := splitLocality(label)
	return &corev3.Locality{Region: region, Zone: zone, SubZone: subzone}
}

func splitLocality(label string) (region, zone, subzone string) {
	region, rest, _ := strings.Cut(label, "/")
	zone, subzone, _ = strings.Cut(rest, "/")
	return region, zone, subzone
}

// sameEndpoints reports whether two lists give the same assignments. Where an endpoint is written down does not matter.
func sameEndpoints(a, b []mesh.Endpoint) bool {
	if len(a) != len(b) {
		return false
	}
	if len(a) == 0 || &a[0] == &b[0] {
		return true
	}
	return slices.EqualFunc(a, b, func(a, b mesh.Endpoint) bool {
		return a.Address == b.Address && a.Weight == b.Weight && a.Locality == b.Locality && a.Unready == b.Unready &&
			maps.Equal(a.Ports, b.Ports) && maps.Equal(a.Labels, b.Labels)
	})
}
