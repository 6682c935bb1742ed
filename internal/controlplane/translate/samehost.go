// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"maps"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// sharer is one of several ServiceEntries of a namespace that have one host, with what it selects.
type sharer struct {
	*service
	workloads []*workload
}

func sameSharers(a, b []sharer) bool {
	return slices.EqualFunc(a, b, func(a, b sharer) bool {
		return a.service == b.service && slices.Equal(a.workloads, b.workloads)
	})
}

// indexSharers are the ServiceEntries of each host, oldest first, also those that the proxy may not see: for endpoints
// that is not asked.
func (l *link) indexSharers() map[namespaceHost][]*service {
	x := make(map[namespaceHost][]*service, len(l.services))
	for _, s := range l.services {
		if s.kubernetes || s.failed {
			continue
		}
		for _, h := range s.hosts {
			at := namespaceHost{s.namespace, h.name}
			x[at] = append(x[at], s)
		}
	}
	return x
}

// sharers are the ServiceEntries whose endpoints a host has; none if they are its owner's alone.
func (x workloadIndex) sharers(o *owner, list []*service) []sharer {
	if len(list) == 0 || len(list) == 1 && list[0] == o.service {
		return nil
	}
	out := make([]sharer, 0, len(list))
	for _, s := range list {
		with := sharer{service: s}
		if s.selects {
			with.workloads = x.selected(s.namespace, s.selector)
		}
		out = append(out, with)
	}
	return out
}

// again is a second service for a host that o is for: its ports are added if it is of the same kind, as Istio sees it.
func (l *link) again(o *owner, s *service, h serviceHost) {
	by := o.resource.Ref()
	if o.kubernetes || s.kubernetes || o.namespace != s.namespace {
		l.on(s.report).warn(h.path, "remove one of them", "host %s is defined by %s too: that one is used", h.name, by)
		return
	}
	differs := o.differences(s)
	switch {
	case o.failed || s.failed || len(differs) == 0:
		o.more = append(o.more, s)
		l.on(s.report).note(h.path, "", "host %s is defined by %s too: their ports and endpoints add up", h.name, by)
	case slices.Equal(o.meshPorts(), s.meshPorts()):
		l.on(s.report).note(h.path, "", "host %s is defined by %s too: their endpoints add up, all else is that one's", h.name,
			by)
	default:
		l.on(s.report).warn(h.path, "write the same there, or remove one of them",
			"host %s is defined by %s too, with another %s: that one's ports are used, and endpoints for them add up", h.name,
			by, strings.Join(differs, " and another "))
	}
}

// differences are fields for which two ServiceEntries of one host are not one service.
func (s *service) differences(t *service) []string {
	var out []string
	if s.resolution != t.resolution {
		out = append(out, "resolution")
	}
	if !maps.Equal(s.resource.Labels, t.resource.Labels) {
		out = append(out, "metadata.labels")
	}
	if !maps.Equal(s.selector, t.selector) {
		out = append(out, "workloadSelector")
	}
	if !slices.Equal(s.exports.written, t.exports.written) {
		out = append(out, "exportTo")
	}
	return out
}

// allPorts are the ports of a host: its owner's, and of those that add to it the ones of other numbers.
func (p *parts) allPorts() []servicePort {
	if len(p.more) == 0 {
		return p.service.ports
	}
	out, known := slices.Clone(p.service.ports), map[uint32]bool{}
	for _, port := range out {
		known[port.Number] = true
	}
	for _, s := range p.more {
		for _, port := range s.ports {
			if !known[port.Number] {
				known[port.Number] = true
				out = append(out, port)
			}
		}
	}
	return out
}

// allAddresses are the virtual addresses of all whose ports it has.
func (p *parts) allAddresses() []string {
	if len(p.more) == 0 {
		return p.service.addresses
	}
	out := slices.Clone(p.service.addresses)
	for _, s := range p.more {
		for _, address := range s.addresses {
			if !slices.Contains(out, address) {
				out = append(out, address)
			}
		}
	}
	return out
}

// addSharers adds the endpoints of each ServiceEntry for the host's ports that it has: by name where endpoints are
// addresses, else by number, as Istio does. What is there already is not added. Of names of which only the first is
// used, each port has one.
func (j *joined) addSharers() {
	type at struct {
		address    string
		port, dial uint32
	}
	taken, known := map[uint32]bool{}, map[at]bool{}
	for _, with := range j.sharers {
		for _, e := range j.endpointsOf(with.service, with.workloads) {
			ports := map[uint32]uint32{}
			for _, port := range j.ports {
				dial := e.Ports[j.portOf(with.service, port)]
				if to := (at{e.Address, port.Number, dial}); dial != 0 && !known[to] {
					ports[port.Number], known[to] = dial, true
				}
			}
			for number := range ports {
				if with.resolution == mesh.DNSRoundRobin && taken[number] {
					delete(ports, number)
				}
				taken[number] = true
			}
			if len(ports) > 0 {
				e.Ports = ports
				j.endpoints = append(j.endpoints, e)
			}
		}
	}
}

// portOf is the number that a ServiceEntry gives to a port of the host; 0 if it does not have that.
func (j *joined) portOf(s *service, port servicePort) uint32 {
	for _, p := range s.ports {
		if p.Number == port.Number && j.service.resolution != mesh.Static ||
			p.Name == port.Name && j.service.resolution == mesh.Static {
			return p.Number
		}
	}
	return 0
}
