// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"maps"
	"slices"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// found is what a destination can be resolved to. A resource that was refused is found too: that it is refused was
// said.
type found struct {
	service *service
	ports   []servicePort
	subsets []string
	unsure  bool // its ports or subsets are not known: a resource they come from was refused
}

func (f *found) same(g *found) bool {
	return f.service == g.service && f.unsure == g.unsure && slices.Equal(f.subsets, g.subsets) &&
		slices.Equal(f.ports, g.ports)
}

// parts are what one host of a service is made of. As long as they are the same, so is what comes out.
type parts struct {
	service   *service
	host      serviceHost
	rules     []*destinationRule // those that apply, in the order in which they count
	workloads []*workload
	slices    []*endpointSlice
	pods      []*workload // that the slices name; nil for one that is not there
	aliases   []mesh.Alias
	more      []*service // whose ports it has too
	sharers   []sharer   // whose endpoints it has; nil: its own alone
}

func (p *parts) same(q *parts) bool {
	return p.service == q.service && p.host == q.host && slices.Equal(p.rules, q.rules) &&
		slices.Equal(p.workloads, q.workloads) && slices.Equal(p.slices, q.slices) && slices.Equal(p.pods, q.pods) &&
		slices.Equal(p.aliases, q.aliases) && slices.Equal(p.more, q.more) && sameSharers(p.sharers, q.sharers)
}

// joined is one host of a service with all that belongs to it. It is immutable once it is made.
type joined struct {
	parts
	ports     []servicePort
	mesh      *mesh.Service // nil if it is not served
	endpoints []mesh.Endpoint
	found     *found
	merged    []*destinationRule // those of rules that count
	said      []said
}

// said is a problem that joining found, and whose it is.
type said struct {
	about   *report
	problem mesh.Problem
}

func (j *joined) note(about *report, path, fix, format string, args ...any) {
	j.say(mesh.Note, about, path, fix, format, args...)
}

func (j *joined) warn(about *report, path, fix, format string, args ...any) {
	j.say(mesh.Warning, about, path, fix, format, args...)
}

func (j *joined) say(s mesh.Severity, about *report, path, fix, format string, args ...any) {
	at := about.at(path)
	j.said = append(j.said, said{about, mesh.Problem{
		Severity: s, Resource: about.resource.Ref(), Line: at.Line, Field: at.Field, Message: fmt.Sprintf(format, args...),
		Fix: fix,
	}})
}

// maxClusters is how many clusters one host may come to by subsets: each of its ports has one of each.
const maxClusters = 100_000

// bound leaves the subsets out of a host that would have too many clusters with them. Its own ports have one each.
func (j *joined) bound(rules *mergedRules) {
	n := len(j.ports) * len(rules.subsets)
	if n <= maxClusters {
		return
	}
	for _, d := range rules.rules {
		if len(d.subsets) > 0 && !d.failed {
			j.say(mesh.Error, d.report, "spec.subsets", "define fewer subsets, or fewer ports",
				"%d subsets on %d ports of host %s are %d clusters, more than %d: the host has none of them",
				len(rules.subsets), len(j.ports), j.host.name, n, maxClusters)
		}
	}
	j.found.unsure = true
	rules.subsets = nil
}

// join makes a host of its parts.
func (p *parts) join(opts Options) *joined {
	s := p.service
	j := &joined{parts: *p, ports: p.allPorts()}
	rules := merge(p.rules, opts)
	j.merged = rules.rules
	j.found = &found{service: s, ports: j.ports, unsure: s.failed}
	for _, other := range p.more {
		j.found.unsure = j.found.unsure || other.failed
	}
	for _, d := range rules.rules {
		j.found.unsure = j.found.unsure || d.failed
	}
	for _, x := range rules.subsets {
		j.found.subsets = append(j.found.subsets, x.Name)
	}
	if s.failed {
		return j
	}
	j.bound(&rules)
	j.mesh = &mesh.Service{
		Origin: s.resource.Ref(), Host: p.host.name, Namespace: s.namespace, Ports: meshPorts(j.ports), External: s.external,
		Kubernetes: s.kubernetes, Headless: s.headless, Addresses: p.allAddresses(), Aliases: p.aliases,
		Resolution: s.resolution, Policy: rules.policy,
	}
	j.addEndpoints()
	for _, x := range rules.subsets {
		j.mesh.Subsets = append(j.mesh.Subsets, x.Subset)
		j.warnIfEmpty(x)
	}
	j.unusedOf(&rules)
	return j
}

// addEndpoints lists the addresses behind the host: its own, and of other ServiceEntries for it.
func (j *joined) addEndpoints() {
	if len(j.sharers) == 0 || j.service.kubernetes {
		j.endpoints = j.endpointsOf(j.service, j.workloads)
	}
	j.addSharers()
}

// endpointsOf are the addresses of a resource itself, of the slices, of what is selected.
func (j *joined) endpointsOf(s *service, workloads []*workload) []mesh.Endpoint {
	list := slices.Clone(s.inline)
	if name := s.alias; name != "" || s.hostless {
		if s.hostless {
			name = j.host.name
		}
		e := mesh.Endpoint{Origin: s.resource.Ref(), Address: name, Ports: map[uint32]uint32{}}
		for _, port := range s.ports {
			e.Ports[port.Number] = port.target
		}
		list = append(list, e)
	}
	pods, at := map[string]*workload{}, map[string]int{}
	for _, pod := range j.pods {
		if pod != nil {
			pods[pod.resource.Namespace+"/"+pod.resource.Name] = pod
		}
	}
	if s == j.service {
		for _, slice := range j.slices {
			list = slice.add(j, list, pods, at)
		}
	}
	for _, w := range workloads {
		list = j.addWorkload(list, s, w)
	}
	if s.resolution == mesh.DNSRoundRobin && len(list) > 1 {
		j.warn(s.report, "spec.workloadSelector", "write resolution: DNS",
			"selects %d workloads: with resolution DNS_ROUND_ROBIN the first is used", len(list))
		list = list[:1]
	}
	return list
}

func (j *joined) addWorkload(list []mesh.Endpoint, s *service, w *workload) []mesh.Endpoint {
	isName := !isUnix(w.address) && !isIP(w.address)
	switch {
	case w.failed || w.gone || w.address == "", w.unready && !s.kubernetes:
		return list
	case isUnix(w.address) && (s.kubernetes || s.resolution != mesh.Static),
		isName && s.resolution == mesh.Static:
		j.warn(w.report, "spec.address", "write an IP address", "%s cannot be reached at %s: it is left out there",
			s.resource.Ref(), w.address)
		return list
	}
	e := mesh.Endpoint{
		Origin: w.resource.Ref(), Address: w.address, Ports: map[uint32]uint32{}, Labels: maps.Clone(w.labels),
		Weight: w.weight, Locality: w.locality, Unready: w.unready && !s.unready,
	}
	for _, port := range s.ports {
		if n := w.port(port, s.kubernetes); n != 0 {
			e.Ports[port.Number] = n
		} else {
			j.warn(s.report, port.path+".targetPort", "add ports: {"+port.targetName+": ...} to it, or write a number here",
				"%s has no port %q: it takes no requests for port %d", w.resource.Ref(), port.targetName, port.Number)
		}
	}
	return append(list, e)
}

// unusedOf warns of what older rules for the same host keep from counting.
func (j *joined) unusedOf(m *mergedRules) {
	policy := (*destinationRule)(nil)
	for _, d := range m.rules {
		if d.failed {
			continue
		}
		if d.policy != nil && policy != nil {
			j.warn(d.report, "spec.trafficPolicy", "remove one of them", "%s has a traffic policy too: that one is used",
				policy.resource.Ref())
		} else if d.policy != nil {
			policy = d
		}
		for _, s := range d.subsets {
			if first := m.subset(s.Name); first != nil && first.rule != d {
				j.warn(d.report, s.path+".name", "remove one of them", "subset %s is defined by %s too: that one is used",
					s.Name, first.Origin)
			}
		}
	}
}

// warnIfEmpty warns of a subset that selects nothing of a service that has endpoints.
func (j *joined) warnIfEmpty(s subset) {
	some := slices.ContainsFunc(j.endpoints, func(e mesh.Endpoint) bool { return includes(e.Labels, s.Labels) })
	if !some && len(j.endpoints) > 0 {
		j.warn(s.rule.report, s.path+".labels", "correct the labels", "no endpoint has the labels %s; requests get 503",
			labelString(s.Labels))
	}
}
