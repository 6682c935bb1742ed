// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// meshGateway is the name virtual services use for sidecars.
const meshGateway = "mesh"

// meshRules finds the rules that sidecars have for a host.
type meshRules struct {
	list   []*hostRules // in the order of their first virtual service
	byHost map[string]*hostRules
	odd    []*hostRules // of wildcards such as "*-a.example", longest first
	shared []*hostRules // of several virtual services
}

// hostRules are the virtual services with one host, as places in the list they come from, in its order.
type hostRules struct {
	host    string
	sources []int
	used    map[int]bool // of several, those that a virtual host has
}

func newMeshRules(sources []*mesh.VirtualService) *meshRules {
	m := &meshRules{byHost: make(map[string]*hostRules, len(sources))}
	for i, vs := range sources {
		for _, host := range vs.Hosts {
			r, ok := m.byHost[host]
			switch {
			case !ok:
				r = &hostRules{host: host}
				m.byHost[host] = r
				m.list = append(m.list, r)
				if strings.HasPrefix(host, "*") && !wholeLabels(host) {
					m.odd = append(m.odd, r)
				}
			case r.sources[len(r.sources)-1] == i:
				continue // named twice
			case len(r.sources) == 1:
				r.used = map[int]bool{}
				m.shared = append(m.shared, r)
			}
			r.sources = append(r.sources, i)
		}
	}
	slices.SortFunc(m.odd, func(a, b *hostRules) int { return bySpecificity(a.host, b.host) })
	return m
}

// of finds the rules of a service: those for its own name, else for the longest wildcard over it.
func (m *meshRules) of(host string) *hostRules {
	if r := m.byHost[host]; r != nil {
		return r
	}
	var best *hostRules
	for wildcard := range wildcardsOver(host) {
		if best = m.byHost[wildcard]; best != nil {
			break
		}
	}
	for _, odd := range m.odd {
		if covers(odd.host, host) && (best == nil || bySpecificity(odd.host, best.host) < 0) {
			return odd
		}
	}
	return best
}

// use remembers that a virtual host has the rules of a source.
func (r *hostRules) use(source int) {
	if r.used != nil {
		r.used[source] = true
	}
}

// forget takes back what use remembered.
func (m *meshRules) forget() {
	for _, r := range m.shared {
		clear(r.used)
	}
}
