// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// services is what the services and all that belongs to them come to. It is immutable once it is made.
type services struct {
	of serviceParts

	mesh      []*mesh.Service // by host
	endpoints mesh.Endpoints
	known     map[string]*found  // by host
	hosts     map[string]*joined // by host
	empty     []*joined          // served, without endpoints
	remarks   map[*report]*remarks
	applied   map[*destinationRule]bool
	picked    map[*workload]bool
}

// serviceParts is what services are made of. As long as they are the same, so is what comes out.
type serviceParts struct {
	services  []*service
	rules     []*destinationRule
	workloads []*workload
	slices    []*endpointSlice
	scope     *report // of the Sidecar that applies
}

func (p *serviceParts) same(q *serviceParts) bool {
	return p.scope == q.scope && slices.Equal(p.services, q.services) && slices.Equal(p.rules, q.rules) &&
		slices.Equal(p.workloads, q.workloads) && slices.Equal(p.slices, q.slices)
}

// linkServices makes the services, or takes what they were the last time.
func (l *link) linkServices(scope *sidecar) *services {
	of := serviceParts{services: l.services, rules: l.rules, workloads: l.workloads, slices: l.slices}
	if scope != nil {
		of.scope = scope.report
	}
	if before := l.before.services; before != nil && before.of.same(&of) {
		return before
	}
	s := &services{
		of: of, endpoints: make(mesh.Endpoints, len(l.services)), known: make(map[string]*found, len(l.services)),
		hosts: make(map[string]*joined, len(l.services)), applied: map[*destinationRule]bool{},
		picked: map[*workload]bool{},
	}
	others := l.remarks
	l.remarks = map[*report]*remarks{}
	l.join(s, l.owners(scope))
	slices.SortFunc(s.mesh, func(a, b *mesh.Service) int { return strings.Compare(a.Host, b.Host) })
	l.unused(s)
	s.remarks, l.remarks = l.remarks, others
	return s
}

// owner is the service that a host means, and those whose ports it has too.
type owner struct {
	*service
	host serviceHost
	more []*service
}

// owners are the services that the proxy may see, by host, in the order in which they take them.
func (l *link) owners(scope *sidecar) []owner {
	var owners []owner
	taken := make(map[string]int, len(l.services)) // index in owners
	for _, s := range l.byPreference(scope) {
		if !s.failed && !s.exports.to(l.opts.Namespace) {
			at := "spec.exportTo"
			if s.kubernetes {
				at = "metadata.annotations[" + exportAnnotation + "]"
			}
			l.on(s.report).note(at, "", "is not for namespace %s of this proxy: it is not known here", l.opts.Namespace)
			continue
		}
		for _, h := range s.hosts {
			if i, ok := taken[h.name]; ok {
				l.again(&owners[i], s, h)
				continue
			}
			taken[h.name] = len(owners)
			owners = append(owners, owner{service: s, host: h})
		}
	}
	return owners
}

// byPreference is the order in which services take a host: what the Sidecar imports first, the proxy's own namespace,
// Kubernetes before ServiceEntries, what is exported to a few before what is for all, then the oldest.
func (l *link) byPreference(scope *sidecar) []*service {
	rank := func(s *service) int {
		n := 0
		if scope != nil && !slices.ContainsFunc(s.hosts, func(h serviceHost) bool {
			return scope.imports(s.namespace, h.name, covers)
		}) {
			n += 8
		}
		if s.namespace != l.opts.Namespace {
			n += 4
		}
		if !s.kubernetes {
			n += 2
		}
		if s.exports.all {
			n++
		}
		return n
	}
	var ranked [16][]*service
	for _, s := range l.services {
		n := rank(s)
		ranked[n] = append(ranked[n], s)
	}
	return slices.Concat(ranked[:]...)
}

// join makes what the hosts stand for, or takes what it was the last time.
func (l *link) join(s *services, owners []owner) {
	rules, workloads, bySlices, sharers := l.indexRules(), l.indexWorkloads(), l.indexSlices(), l.indexSharers()
	aliases, names := l.aliases(owners)
	for i := range owners {
		o := &owners[i]
		if aliases[o.host.name] != "" {
			continue
		}
		p := parts{
			service: o.service, host: o.host, rules: rules.applying(o.host.name, o.namespace), aliases: names[o.host.name],
			more: o.more, sharers: workloads.sharers(o, sharers[namespaceHost{o.namespace, o.host.name}]),
		}
		if o.kubernetes && o.alias == "" {
			p.slices = bySlices[o.namespace+"/"+o.resource.Name]
			delete(bySlices, o.namespace+"/"+o.resource.Name)
			p.pods = targets(p.slices, workloads.pods)
		}
		if o.selects {
			p.workloads = workloads.selected(o.namespace, o.selector)
			if len(p.slices) > 0 { // they say which Pods there are
				p.workloads = slices.DeleteFunc(p.workloads, func(w *workload) bool { return w.pod })
			}
		}
		var j *joined
		if l.before.services != nil {
			j = l.before.services.hosts[o.host.name]
		}
		if j == nil || !j.same(&p) {
			old := j
			j = p.join(l.opts)
			if old != nil && old.found.same(j.found) {
				j.found = old.found
			}
		}
		l.take(s, j)
	}
	for alias, host := range aliases {
		s.known[alias] = s.known[host]
	}
	for _, list := range bySlices {
		for _, s := range list {
			l.on(s.report).note("metadata.labels", "", "there is no Service %s of namespace %s that has endpoints", s.service,
				s.resource.Namespace)
		}
	}
}

// take puts a host in its place, with what there is to say about it.
func (l *link) take(s *services, j *joined) {
	s.hosts[j.host.name], s.known[j.host.name] = j, j.found
	for _, d := range j.merged {
		s.applied[d] = true
	}
	for _, w := range j.workloads {
		s.picked[w] = true
	}
	for _, with := range j.sharers {
		for _, w := range with.workloads {
			s.picked[w] = true
		}
	}
	for _, x := range j.said {
		r := l.on(x.about)
		if !slices.Contains(r.problems, x.problem) { // said of another host of the same service
			r.problems = append(r.problems, x.problem)
		}
	}
	if j.mesh == nil {
		return
	}
	s.mesh = append(s.mesh, j.mesh)
	s.endpoints[j.host.name] = j.endpoints
	if len(j.endpoints) == 0 {
		s.empty = append(s.empty, j)
	}
}

// targets are the Pods that slices name.
func targets(list []*endpointSlice, pods map[string]*workload) []*workload {
	var out []*workload
	for _, s := range list {
		for _, e := range s.endpoints {
			if e.pod != "" {
				out = append(out, pods[e.pod])
			}
		}
	}
	return out
}

func (l *link) indexSlices() map[string][]*endpointSlice {
	x := map[string][]*endpointSlice{}
	for _, s := range l.slices {
		if s.service != "" && !s.failed {
			at := s.resource.Namespace + "/" + s.service
			x[at] = append(x[at], s)
		}
	}
	return x
}

// aliases are the hosts of ExternalName services that stand for another host that is known: by alias, and by host.
func (l *link) aliases(owners []owner) (map[string]string, map[string][]mesh.Alias) {
	next := map[string]*owner{}
	for i, o := range owners {
		if o.alias != "" {
			next[o.host.name] = &owners[i]
		}
	}
	if len(next) == 0 {
		return nil, nil
	}
	byHost := make(map[string]bool, len(owners))
	for _, o := range owners {
		byHost[o.host.name] = true
	}
	aliases, names := map[string]string{}, map[string][]mesh.Alias{}
	for _, o := range owners {
		if o.alias == "" || o.failed {
			continue
		}
		host := o.alias
		for range len(next) {
			if next[host] == nil {
				break
			}
			host = next[host].alias
		}
		switch {
		case next[host] != nil:
			l.on(o.report).warn("spec.externalName", "name something else", "the names go in a circle; requests get 503")
		case byHost[host]:
			aliases[o.host.name] = host
			names[host] = append(names[host], mesh.Alias{Host: o.host.name, Namespace: o.namespace})
		}
	}
	return aliases, names
}

// unused tells of resources that no other one makes use of.
func (l *link) unused(s *services) {
	n := l.names(s.known)
	for _, d := range l.rules {
		switch {
		case s.applied[d] || d.failed:
		case d.selected && !d.fits(l.opts):
			l.on(d.report).note("spec.workloadSelector", "",
				"is not for this proxy: it is of another namespace, or has not all these labels")
		case !d.selected && !d.exports.to(l.opts.Namespace):
			l.on(d.report).note("spec.exportTo", "", "is not for namespace %s of this proxy", l.opts.Namespace)
		default:
			l.on(d.report).warn("spec.host", n.host(d.host, ""),
				"applies to no service: none has the host %s, or other rules for it come first", d.host)
		}
	}
	for _, w := range l.workloads {
		if !s.picked[w] && !w.failed && !w.pod {
			l.on(w.report).note("metadata.name", "", "no Service and no ServiceEntry of namespace %s selects it",
				w.resource.Namespace)
		}
	}
}

// withoutEndpoints warns of a service that answers 503. Where no route asks for it that is a remark only: all services
// of a cluster may be in the input, and their pods are not.
func (l *link) withoutEndpoints(j *joined) {
	s, message, fix := j.service, "has no endpoints", "add spec.endpoints, or a workloadSelector and WorkloadEntries"
	get := "kubectl get endpointslices -n " + j.service.namespace + " -o yaml"
	switch {
	case len(j.slices) > 0:
		message, fix = "has no endpoints: its EndpointSlices list none", "get them again once its Pods run: "+get
	case s.selects:
		message = fmt.Sprintf("has no endpoints: no WorkloadEntry and no running Pod of namespace %s has the labels %s",
			s.namespace, labelString(s.selector))
		fix = "add a WorkloadEntry with an address and these labels"
		if s.kubernetes {
			fix = "add its EndpointSlices (" + get + "), its Pods, or a WorkloadEntry with an address and these labels"
		}
	case s.kubernetes:
		message, fix = "has no endpoints: it has no selector, and no EndpointSlice is for it", "add its EndpointSlices: "+get
	}
	message += "; requests get 503"
	severity := mesh.Warning
	if s.kubernetes && !l.asked(j.host.name) {
		severity = mesh.Note
	}
	on := l.on(s.report)
	at := on.at("spec")
	if !slices.ContainsFunc(on.problems, func(p mesh.Problem) bool { return p.Message == message }) {
		on.add(severity, at, message, fix)
	}
}
