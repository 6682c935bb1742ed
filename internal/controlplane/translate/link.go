// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"maps"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

// link is one putting together of what was read. It never writes to a reading: what it finds is its own.
type link struct {
	opts      Options
	gateways  []*gateway // these, as all, oldest first
	virtuals  []*virtualService
	rules     []*destinationRule
	services  []*service
	workloads []*workload
	slices    []*endpointSlice
	sidecars  []*sidecar

	unreadVirtual bool // a virtual service could not be read: what it names is not known
	// unread are gateways, as namespace/name, and hosts of Services that could not be read: that they are refused was said.
	unread map[string]bool

	remarks map[*report]*remarks // what linking finds, by the resource it is about
	wanted  map[string]bool      // see asked
	before  kept                 // by the last link
	kept    kept                 // by this one
}

// kept is what a link made that the next may use again: each with what it was made of.
type kept struct {
	services *services
	gateways []*gateway
	merged   map[*virtualService]*merged
	// resolved are virtual services that name nothing that is not among these services and gateways.
	resolved map[*virtualService]bool
	unread   map[string]bool
}

// newLink takes what was read, oldest first: the order of the input means nothing.
func newLink(opts Options, order []*entry, before kept) *link {
	l := &link{
		opts: opts, before: before, kept: kept{merged: map[*virtualService]*merged{}}, remarks: map[*report]*remarks{},
		unread: map[string]bool{},
	}
	var pods []*workload // behind WorkloadEntries
	for _, e := range order {
		if e.what == nil && e.failed {
			l.couldNotRead(e.resource)
		}
		switch x := e.what.(type) {
		case *gateway:
			l.gateways = append(l.gateways, x)
		case *virtualService:
			l.virtuals = append(l.virtuals, x)
		case *destinationRule:
			l.rules = append(l.rules, x)
		case *service:
			l.services = append(l.services, x)
		case *sidecar:
			l.sidecars = append(l.sidecars, x)
		case *endpointSlice:
			l.slices = append(l.slices, x)
		case *workload:
			if x.pod {
				pods = append(pods, x)
			} else {
				l.workloads = append(l.workloads, x)
			}
		}
	}
	l.workloads = append(l.workloads, pods...)
	return l
}

// couldNotRead remembers what others may name of a resource that could not be read.
func (l *link) couldNotRead(r *source.Resource) {
	switch r.Kind {
	case "VirtualService":
		l.unreadVirtual = true
	case "Gateway":
		l.unread[r.Namespace+"/"+r.Name] = true
	case "Service":
		l.unread[strings.ToLower(l.opts.serviceHost(r.Name, r.Namespace))] = true
	}
}

// on is where to say what linking finds wrong with a resource.
func (l *link) on(p *report) *remarks {
	r := l.remarks[p]
	if r == nil {
		r = &remarks{resource: p.resource, shape: p.shape}
		l.remarks[p] = r
	}
	return r
}

// problems is what reading and linking found, by resource and line.
func (l *link) problems(readings []*reading) []mesh.Problem {
	var all []mesh.Problem
	for _, r := range readings {
		from := len(all)
		all = append(all, r.problems...)
		if more := l.kept.services.remarks[r.report]; more != nil {
			all = append(all, more.problems...)
		}
		if more := l.remarks[r.report]; more != nil {
			all = append(all, more.problems...)
		}
		byLine(all[from:])
	}
	return all
}

// link joins what was read: endpoints and subsets to services, destinations to both.
func (l *link) link() (mesh.Config, mesh.Endpoints) {
	scope := l.sidecar()
	s := l.linkServices(scope)
	l.kept.services, l.kept.gateways, l.kept.unread, l.kept.resolved = s, l.gateways, l.unread, l.stillResolved(s)
	config := mesh.Config{Services: s.mesh}
	for _, j := range s.empty {
		l.withoutEndpoints(j)
	}
	l.linkGateways(&config)
	l.linkVirtualServices(&config, s.known)
	l.scope(&config, scope)
	return config, s.endpoints
}

// stillResolved are virtual services of which nothing that they name has changed since the last link.
func (l *link) stillResolved(s *services) map[*virtualService]bool {
	resolved, before := l.before.resolved, l.before.services
	if !slices.Equal(l.gateways, l.before.gateways) || !maps.Equal(l.unread, l.before.unread) || before == nil || len(resolved) > 2*len(l.virtuals) {
		return make(map[*virtualService]bool, len(l.virtuals))
	}
	changed := map[string]bool{}
	for host, f := range before.known {
		if s != before && s.known[host] != f {
			changed[host] = true
		}
	}
	if len(changed) == 0 { // what is new was not named by what was resolved
		return resolved
	}
	for v := range resolved {
		last := ""
		for i := range v.refs {
			host := v.refs[i].destination.Host
			if host != last && changed[host] {
				delete(resolved, v)
				break
			}
			last = host
		}
	}
	return resolved
}

// asked tells whether a route or a mirror names a host.
func (l *link) asked(host string) bool {
	if l.wanted == nil {
		l.wanted = map[string]bool{}
		for _, v := range l.virtuals {
			for _, ref := range v.refs {
				l.wanted[ref.destination.Host] = true
			}
		}
	}
	return l.wanted[host]
}

func labelString(labels map[string]string) string {
	var pairs []string
	for k, v := range labels {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}
