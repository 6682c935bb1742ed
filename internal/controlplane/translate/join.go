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
	subsets []string
	unsure  bool // its ports or subsets are not known: a resource they come from was refused
}

func (f *found) same(g *found) bool {
	return f.service == g.service && f.unsure == g.unsure && slices.Equal(f.subsets, g.subsets)
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
}

func (p *parts) same(q *parts) bool {
	return p.service == q.service && p.host == q.host && slices.Equal(p.rules, q.rules) &&
		slices.Equal(p.workloads, q.workloads) && slices.Equal(p.slices, q.slices) && slices.Equal(p.pods, q.pods) &&
		slices.Equal(p.aliases, q.aliases)
}

// joined is one host of a service with all that belongs to it. It is immutable once it is made.
type joined struct {
	parts
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

// join makes a host of its parts.
func (p *parts) join(opts Options) *joined {
	s := p.service
	j := &joined{parts: *p}
	rules := merge(p.rules, opts)
	j.merged = rules.rules
	j.found = &found{service: s, unsure: s.failed}
	for _, d := range rules.rules {
		j.found.unsure = j.found.unsure || d.failed
	}
	for _, x := range rules.subsets {
		j.found.subsets = append(j.found.subsets, x.Name)
	}
	if s.failed {
		return j
	}
	j.mesh = &mesh.Service{
		Origin: s.resource.Ref(), Host: p.host.name, Namespace: s.namespace, Ports: s.meshPorts(), External: s.external,
		Kubernetes: s.kubernetes, Headless: s.headless, Addresses: s.addresses, Aliases: p.aliases,
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

// addEndpoints lists the addresses behind the host: those of the resource itself, of the slices, of what is selected.
func (j *joined) addEndpoints() {
	s := j.service
	j.endpoints = slices.Clone(s.inline)
	if name := s.alias; name != "" || s.hostless {
		if s.hostless {
			name = j.host.name
		}
		e := mesh.Endpoint{Origin: s.resource.Ref(), Address: name, Ports: map[uint32]uint32{}}
		for _, port := range s.ports {
			e.Ports[port.Number] = port.target
		}
		j.endpoints = append(j.endpoints, e)
	}
	pods, at := map[string]*workload{}, map[string]int{}
	for _, pod := range j.pods {
		if pod != nil {
			pods[pod.resource.Namespace+"/"+pod.resource.Name] = pod
		}
	}
	for _, slice := range j.slices {
		slice.add(j, s, pods, at)
	}
	for _, w := range j.workloads {
		j.addWorkload(w)
	}
	if s.resolution == mesh.DNSRoundRobin && len(j.endpoints) > 1 {
		j.warn(s.report, "spec.workloadSelector", "write resolution: DNS",
			"selects %d workloads: with resolution DNS_ROUND_ROBIN the first is used", len(j.endpoints))
		j.endpoints = j.endpoints[:1]
	}
}

func (j *joined) addWorkload(w *workload) {
	s := j.service
	isName := !isUnix(w.address) && !isIP(w.address)
	switch {
	case w.failed || w.gone || w.address == "":
		return
	case isUnix(w.address) && (s.kubernetes || s.resolution != mesh.Static),
		isName && s.resolution == mesh.Static:
		j.warn(w.report, "spec.address", "write an IP address", "%s cannot be reached at %s: it is left out there",
			s.resource.Ref(), w.address)
		return
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
	j.endpoints = append(j.endpoints, e)
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
