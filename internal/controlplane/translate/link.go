// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// found is what a destination can be resolved to. A resource that was refused is found too: that it is refused was
// said.
type found struct {
	service *service
	subsets []string
	unsure  bool // its ports or subsets are not known: a resource they come from was refused
}

// link joins what was read: endpoints and subsets to services, destinations to both.
func (t *translation) link() (mesh.Config, mesh.Endpoints) {
	config, endpoints := mesh.Config{}, mesh.Endpoints{}
	known := map[string]*found{}
	rules, workloads, wanted := t.indexRules(), t.indexWorkloads(), t.wanted()
	for _, s := range t.byPreference() {
		addresses := s.endpoints(workloads)
		asked := slices.ContainsFunc(s.hosts, func(h serviceHost) bool { return wanted[h.name] })
		if s.kubernetes && !asked {
			s.ease()
		}
		for _, h := range s.hosts {
			host := h.name
			if other := known[host]; other != nil {
				s.warn(h.path, "remove one of them", "host %s is defined by %s too: that one is used", host,
					other.service.resource.Ref())
				continue
			}
			f := &found{service: s, unsure: s.failed || s.eased}
			known[host] = f
			applying := rules.applying(host, t.opts.Namespace, s.namespace)
			var subsets []mesh.Subset
			for _, x := range merge(applying) {
				subsets = append(subsets, x.Subset)
				f.subsets = append(f.subsets, x.Name)
				if !s.failed {
					x.warnIfEmpty(addresses)
				}
			}
			for _, d := range applying {
				f.unsure = f.unsure || d.failed
			}
			if s.failed || s.eased {
				continue
			}
			config.Services = append(config.Services, &mesh.Service{
				Origin: s.resource.Ref(), Host: host, Namespace: s.namespace, Ports: s.meshPorts(), External: s.external,
				Kubernetes: s.kubernetes, Subsets: subsets,
			})
			endpoints[host] = addresses
		}
		if len(addresses) == 0 && !s.failed && !s.eased && !s.remote {
			s.withoutEndpoints(asked)
		}
	}
	slices.SortFunc(config.Services, func(a, b *mesh.Service) int { return strings.Compare(a.Host, b.Host) })
	t.unused()
	t.linkGateways(&config)
	t.linkVirtualServices(&config, known)
	return config, endpoints
}

// wanted are the hosts that a route or a mirror names.
func (t *translation) wanted() map[string]bool {
	hosts := map[string]bool{}
	for _, v := range t.virtuals {
		for _, ref := range v.refs {
			hosts[ref.destination.Host] = true
		}
	}
	return hosts
}

// byPreference is the order in which services take a host: the proxy's own namespace first, Kubernetes before
// ServiceEntries, then the oldest.
func (t *translation) byPreference() []*service {
	list := slices.Clone(t.services)
	oldestFirst(list, func(s *service) *report { return s.report })
	slices.SortStableFunc(list, func(a, b *service) int {
		rank := func(s *service) int {
			n := 0
			if s.namespace != t.opts.Namespace {
				n += 2
			}
			if !s.kubernetes {
				n++
			}
			return n
		}
		return rank(a) - rank(b)
	})
	return list
}

func (s *service) meshPorts() []mesh.Port {
	var ports []mesh.Port
	for _, p := range s.ports {
		ports = append(ports, p.Port)
	}
	return ports
}

// withoutEndpoints warns of a service that answers 503. Where no route asks for it that is a remark only: all services
// of a cluster may be in the input, and their pods are not.
func (s *service) withoutEndpoints(asked bool) {
	warn := s.warn
	if s.kubernetes && !asked {
		warn = s.note
	}
	switch {
	case len(s.selector) > 0:
		warn("spec", "add a WorkloadEntry with an address and these labels",
			"has no endpoints: no WorkloadEntry of namespace %s has the labels %s; requests get 503", s.namespace,
			labelString(s.selector))
	case s.kubernetes:
		warn("spec", "add a selector and a WorkloadEntry", "has no endpoints: it has no selector; requests get 503")
	default:
		warn("spec", "add endpoints", "has no endpoints; requests get 503")
	}
}

// warnIfEmpty warns of a subset that selects nothing of a service that has endpoints.
func (s subset) warnIfEmpty(endpoints []mesh.Endpoint) {
	some := slices.ContainsFunc(endpoints, func(e mesh.Endpoint) bool { return includes(e.Labels, s.Labels) })
	if !some && len(endpoints) > 0 {
		s.rule.warnOnce(s.path+".labels", "correct the labels", "no endpoint has the labels %s; requests get 503",
			labelString(s.Labels))
	}
}

// unused tells of resources that no other one makes use of.
func (t *translation) unused() {
	for _, d := range t.rules {
		if !d.applies && !d.failed {
			d.warn("spec.host", "", "applies to no service: none has the host %s, or rules of another namespace come first",
				d.host)
		}
	}
	for _, w := range t.workloads {
		if !w.picked && !w.failed {
			w.note("metadata.name", "", "no Service and no ServiceEntry of namespace %s selects it", w.resource.Namespace)
		}
	}
}

func (t *translation) linkGateways(config *mesh.Config) {
	oldestFirst(t.gateways, func(g *gateway) *report { return g.report })
	for _, g := range t.gateways {
		if g.served && !g.failed {
			config.Gateways = append(config.Gateways, g.mesh)
		}
	}
}

func (t *translation) linkVirtualServices(config *mesh.Config, known map[string]*found) {
	oldestFirst(t.virtuals, func(v *virtualService) *report { return v.report })
	var gateways, hosts []string
	for _, g := range t.gateways {
		gateways = append(gateways, g.mesh.Name)
	}
	for host := range known {
		hosts = append(hosts, host)
	}
	slices.Sort(hosts)
	s := &suggester{left: maxSuggestions}
	for _, v := range t.virtuals {
		for i, name := range v.mesh.Gateways {
			if name != meshGateway && !slices.Contains(gateways, name) {
				fix := s.suggest(name, gateways)
				if fix == "" {
					fix = "add it, or name its namespace: <namespace>/<name>"
				}
				v.unresolved(index("spec.gateways", i), fix, "gateway %s is not there", name)
			}
		}
		for _, ref := range v.refs {
			v.resolve(ref, known, hosts, s)
		}
		if !v.failed && len(v.mesh.Rules) > 0 {
			config.VirtualServices = append(config.VirtualServices, v.mesh)
		}
	}
}

// resolve says what of a destination is not there.
func (v *virtualService) resolve(ref reference, known map[string]*found, hosts []string, s *suggester) {
	d := ref.destination
	outcome := "requests get 503"
	if ref.mirror {
		outcome = "copies are dropped"
	}
	f := known[d.Host]
	if f == nil {
		fix := s.suggest(d.Host, hosts)
		if fix == "" {
			fix = "add a Service or a ServiceEntry for it"
		}
		v.unresolved(ref.path+".host", fix, "no service has the host %s; %s", d.Host, outcome)
		return
	}
	if f.unsure {
		return
	}
	v.resolvePort(ref, f.service, outcome)
	if d.Subset != "" && !slices.Contains(f.subsets, d.Subset) {
		fix := suggest(d.Subset, f.subsets)
		if fix == "" {
			fix = "add it to a DestinationRule for " + d.Host
		}
		v.unresolved(ref.path+".subset", fix, "host %s has no subset %s; %s", d.Host, d.Subset, outcome)
	}
}

func (v *virtualService) resolvePort(ref reference, s *service, outcome string) {
	d := ref.destination
	var numbers []string
	for _, p := range s.ports {
		numbers = append(numbers, fmt.Sprint(p.Number))
		if p.Number != d.Port {
			continue
		}
		if !isHTTP(p.Protocol) {
			v.unresolved(ref.path+".port.number", "route to a port of HTTP", "port %d of host %s carries %s, not HTTP; %s",
				d.Port, d.Host, p.Protocol, outcome)
		}
		return
	}
	switch {
	case d.Port != 0:
		v.unresolved(ref.path+".port.number", "its ports are "+strings.Join(numbers, ", "), "host %s has no port %d; %s",
			d.Host, d.Port, outcome)
	case len(s.ports) > 1:
		v.warn(ref.path, "add port.number", "host %s has the ports %s: the port of the listener is used", d.Host,
			strings.Join(numbers, ", "))
	}
}

// oldestFirst sorts by creation time, then name, then namespace.
func oldestFirst[T any](list []T, of func(T) *report) {
	slices.SortStableFunc(list, func(a, b T) int {
		x, y := of(a).resource, of(b).resource
		return cmp.Or(x.Created.Compare(y.Created), strings.Compare(x.Name, y.Name),
			strings.Compare(x.Namespace, y.Namespace))
	})
}

func labelString(labels map[string]string) string {
	var pairs []string
	for k, v := range labels {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}
