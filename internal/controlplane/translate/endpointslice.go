// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"net/netip"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// endpointSlice is a part of the endpoints of a Kubernetes service.
type endpointSlice struct {
	*report
	service   string // of its namespace; "" if none is named
	endpoints []sliceEndpoint
	ports     map[string]uint32
}

type sliceEndpoint struct {
	addresses []string
	pod       string // "namespace/name"; "" if it is not known to be one
	path      string
	zone      string
	unready   bool
}

func readEndpointSlice(p *report, in *discoveryv1.EndpointSlice, _ Options) *endpointSlice {
	r := p.resource
	s := &endpointSlice{report: p, service: r.Labels[discoveryv1.LabelServiceName], ports: map[string]uint32{}}
	if s.service == "" {
		p.note("metadata.labels", "", "has no label %s: it belongs to no service", discoveryv1.LabelServiceName)
	}
	if in.AddressType == discoveryv1.AddressTypeFQDN {
		p.warn("addressType", "write IPv4 or IPv6", "addresses that are names are not used here, as in Istio")
		return s
	}
	for i, port := range in.Ports {
		at := index("ports", i)
		if port.Port == nil || port.Protocol != nil && *port.Protocol != "TCP" && *port.Protocol != "" {
			continue
		}
		if !validPort(int64(*port.Port)) {
			p.error(at+".port", "write a number from 1 to 65535", "port number %d must be in the range 1..65535", *port.Port)
			continue
		}
		name := ""
		if port.Name != nil {
			name = *port.Name
		}
		s.ports[name] = uint32(*port.Port)
	}
	for i, e := range in.Endpoints {
		s.endpoint(index("endpoints", i), e)
	}
	return s
}

// endpoint reads one entry. One that is going away is not used, nor is one that only serves what it has begun; one that is
// not ready is taken to go away unless it says that it does not, as in Istio.
func (s *endpointSlice) endpoint(at string, e discoveryv1.Endpoint) {
	out := sliceEndpoint{path: at}
	isReady := e.Conditions.Ready == nil || *e.Conditions.Ready
	if !isReady && (e.Conditions.Terminating == nil || *e.Conditions.Terminating) {
		return
	}
	out.unready = !isReady
	for i, address := range e.Addresses {
		ip, err := netip.ParseAddr(address)
		if err != nil || ip.Zone() != "" {
			s.error(index(at+".addresses", i), "write an IP address", "%s is not a valid IP", address)
			continue
		}
		out.addresses = append(out.addresses, ip.Unmap().String())
	}
	if len(e.Addresses) == 0 {
		s.error(at+".addresses", "add an address", "an endpoint needs an address")
	}
	if e.Zone != nil {
		out.zone = *e.Zone
	}
	if t := e.TargetRef; t != nil && t.Kind == "Pod" {
		namespace := t.Namespace
		if namespace == "" {
			namespace = s.resource.Namespace
		}
		out.pod = namespace + "/" + t.Name
	}
	s.endpoints = append(s.endpoints, out)
}

// add puts the slice's endpoints behind those of a service. An address that is there already only gets its ports.
func (s *endpointSlice) add(to *joined, list []mesh.Endpoint, pods map[string]*workload, at map[string]int,
) []mesh.Endpoint {
	owner := to.service
	for _, e := range s.endpoints {
		for _, address := range e.addresses {
			i, known := at[address]
			if !known {
				out := mesh.Endpoint{
					Origin: s.resource.Ref(), Address: address, Ports: map[uint32]uint32{},
					Unready: e.unready && !owner.unready,
				}
				if e.zone != "" {
					out.Locality = "/" + e.zone // the region is a label of the Node
				}
				if pod := pods[e.pod]; pod != nil {
					out.Labels = pod.labels
					if pod.locality != "" {
						out.Locality = pod.locality
					}
				} else if e.pod != "" {
					to.note(s.report, e.path+".targetRef", "", "Pod %s is not there: no subset with labels has this endpoint", e.pod)
				}
				i = len(list)
				at[address] = i
				list = append(list, out)
			}
			for _, port := range owner.ports {
				if n := s.ports[port.Name]; n != 0 && list[i].Ports[port.Number] == 0 {
					list[i].Ports[port.Number] = n
				}
			}
		}
	}
	return list
}
