// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// index finds services. It is made anew whenever one service is another, so that its identity stands for what it holds.
type index struct {
	given    []*mesh.Service          // as they came
	services map[string]*mesh.Service // by host and by alias
	sorted   []*mesh.Service          // by host
	under    map[string][]uint32      // wildcard to the HTTP ports of the services under it; made by wildcard
}

// indexOf takes the services in. Of several for one host the first counts, as a proxy sees one; translate has said so.
// The last index is kept if they are the same.
func indexOf(services []*mesh.Service, last *index) *index {
	if last != nil && slices.Equal(last.given, services) {
		return last
	}
	x := &index{given: slices.Clone(services), services: make(map[string]*mesh.Service, len(services))}
	for _, s := range services {
		if x.services[s.Host] == nil {
			x.services[s.Host] = s
			x.sorted = append(x.sorted, s)
		}
	}
	for _, s := range x.sorted {
		for _, a := range s.Aliases {
			if x.services[a.Host] == nil {
				x.services[a.Host] = s
			}
		}
	}
	slices.SortFunc(x.sorted, func(a, b *mesh.Service) int { return cmp.Compare(a.Host, b.Host) })
	return x
}

// ports are the HTTP ports of a service, or for a wildcard, of the services under it.
func (x *index) ports(host string) []uint32 {
	if strings.HasPrefix(host, "*") {
		return x.wildcard(host)
	}
	if s := x.services[host]; s != nil {
		return addPorts(nil, s)
	}
	return nil
}

// wildcard finds the HTTP ports of the services under a wildcard.
func (x *index) wildcard(host string) []uint32 {
	if !wholeLabels(host) {
		var ports []uint32
		for _, s := range x.sorted {
			if covers(host, s.Host) {
				ports = addPorts(ports, s)
			}
		}
		return ports
	}
	if x.under == nil {
		x.under = map[string][]uint32{}
		for _, s := range x.sorted {
			x.addUnder(s.Host, s)
			for _, a := range s.Aliases {
				x.addUnder(a.Host, s)
			}
		}
	}
	return x.under[host]
}

func (x *index) addUnder(host string, s *mesh.Service) {
	x.under[host] = addPorts(x.under[host], s)
	for w := range wildcardsOver(host) {
		x.under[w] = addPorts(x.under[w], s)
	}
}

func addPorts(ports []uint32, s *mesh.Service) []uint32 {
	for _, p := range httpPorts(s) {
		if !slices.Contains(ports, p.Number) {
			ports = append(ports, p.Number)
		}
	}
	return ports
}

// httpPorts are the ports that requests can be routed to, each number once.
func httpPorts(s *mesh.Service) []mesh.Port {
	var ports []mesh.Port
	for _, p := range s.Ports {
		switch p.Protocol {
		case "HTTP", "HTTP2", "GRPC", "GRPC-WEB":
			if !hasPort(ports, p.Number) {
				ports = append(ports, p)
			}
		}
	}
	return ports
}

func hasPort(ports []mesh.Port, number uint32) bool {
	return slices.ContainsFunc(ports, func(p mesh.Port) bool { return p.Number == number })
}

// destinationPort fills in a destination's port: the one given, else the only port of its service (nil: none), else the
// port being listened on.
func destinationPort(s *mesh.Service, d mesh.Destination, listenPort uint32) uint32 {
	if d.Port != 0 {
		return d.Port
	}
	if s != nil && len(s.Ports) == 1 {
		return s.Ports[0].Number
	}
	return listenPort
}

// subsetOf finds a subset by name; nil if there is none.
func subsetOf(s *mesh.Service, name string) *mesh.Subset {
	if s == nil || name == "" {
		return nil
	}
	i := slices.IndexFunc(s.Subsets, func(o mesh.Subset) bool { return o.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Subsets[i]
}

// portsNamed bounds a list of ports in a text.
const portsNamed = 100

func portList(ports []mesh.Port) string {
	var names []string
	for _, p := range ports {
		if len(names) == portsNamed {
			names = append(names, "...")
			break
		}
		names = append(names, fmt.Sprint(p.Number))
	}
	return strings.Join(names, ", ")
}
