// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// maxDirectBody is the most that a direct response may hold, in bytes: what a resource may give.
const maxDirectBody = 1 << 20

// gatewayTable is what is known of a route configuration: which virtual hosts there are, and their messages. While no
// host is added or removed, a change of rules replaces the virtual hosts that have them and nothing else.
type gatewayTable struct {
	servers []gatewayServer
	inputs  []gatewayInput // in the order of servers, then of their virtual services
	groups  []gatewayGroup // by name
	used    uint64         // the last configuration that has it

	collisions []mesh.Problem
	blackhole  *routev3.VirtualHost // without routes; where there is no group
	made       *routev3.RouteConfiguration
}

// gatewayInput is a virtual service at a server. Routes are nil if the two have no host in common, or no route is left.
type gatewayInput struct {
	at     gatewayServer
	vs     *mesh.VirtualService
	meets  bool
	routes *ruleRoutes
}

// gatewayGroup is one virtual host: domains with the same routes.
type gatewayGroup struct {
	name       string
	domains    []string
	requireTLS bool
	sources    []int // of inputs: their routes follow each other
	made       []*ruleRoutes
	host       *routev3.VirtualHost // of made
}

// gatewayRoutes compiles the routes of one listener. Several virtual services may share a domain; domains with the
// same virtual services share a virtual host.
func (k *compiler) gatewayRoutes(l *gatewayListener) *routev3.RouteConfiguration {
	last := k.gateways[l.routes]
	t := k.gatewayInputs(l, last)
	if last != nil && last.sameHosts(t) {
		t.groups, t.collisions = last.groups, last.collisions
	} else {
		k.group(l, t, last)
	}
	if last != nil {
		t.blackhole, t.made = last.blackhole, last.made
	}
	t.used = k.generation
	k.gateways[l.routes] = t
	k.problems = append(k.problems, t.collisions...)

	hosts := make([]*routev3.VirtualHost, 0, len(t.groups))
	for i := range t.groups {
		g := &t.groups[i]
		k.twoCatchAlls(t, g)
		if !g.madeOf(t.inputs) {
			g.make(t.inputs)
		}
		hosts = append(hosts, g.host)
	}
	if len(hosts) == 0 {
		name := fmt.Sprintf("blackhole:%d", l.servers[0].server.Port.Number)
		if t.blackhole.GetName() != name {
			t.blackhole = &routev3.VirtualHost{Name: name, Domains: []string{"*"}}
		}
		hosts = append(hosts, t.blackhole)
	}
	if t.made == nil || !slices.Equal(t.made.GetVirtualHosts(), hosts) {
		t.made = &routev3.RouteConfiguration{
			Name:                           l.routes,
			VirtualHosts:                   hosts,
			ValidateClusters:               boolean(false),
			IgnorePortInHostMatching:       true,
			MaxDirectResponseBodySizeBytes: u32(maxDirectBody),
		}
	}
	return t.made
}

// gatewayInputs compiles the rules of all virtual services that the servers of a listener let in. What the last table
// found out of the same server and virtual service is taken from there.
func (k *compiler) gatewayInputs(l *gatewayListener, last *gatewayTable) *gatewayTable {
	t := &gatewayTable{servers: l.servers}
	if last != nil { // very likely as many
		t.inputs = make([]gatewayInput, 0, len(last.inputs))
	}
	for _, gs := range l.servers {
		hosts := k.serverHosts(gs.server)
		met := k.met[gs.gateway]
		if met == nil {
			met = make([]bool, len(k.bound[gs.gateway.Name]))
			k.met[gs.gateway] = met
		}
		for i, vs := range k.bound[gs.gateway.Name] {
			in := gatewayInput{at: gs, vs: vs}
			if old := last.input(len(t.inputs)); old.at == gs && old.vs == vs {
				in = old
			} else {
				in.meets = hosts.meet(vs)
			}
			if in.meets && (in.routes == nil || !k.again(in.routes)) {
				in.routes = k.routes(vs, gs.server.Port.Number, gs.gateway.Name)
				if len(in.routes.list) == 0 {
					in.routes = nil
				}
			}
			met[i] = met[i] || in.meets
			t.inputs = append(t.inputs, in)
		}
	}
	return t
}

// input is number i, or none.
func (t *gatewayTable) input(i int) gatewayInput {
	if t == nil || i >= len(t.inputs) {
		return gatewayInput{}
	}
	return t.inputs[i]
}

// sameHosts reports whether the tables have the same domains from the same places, so that t's groups are those of next.
func (t *gatewayTable) sameHosts(next *gatewayTable) bool {
	return slices.Equal(t.servers, next.servers) &&
		slices.EqualFunc(t.inputs, next.inputs, func(a, b gatewayInput) bool {
			if a.at != b.at || (a.routes == nil) != (b.routes == nil) {
				return false
			}
			return a.vs == b.vs || a.vs.Namespace == b.vs.Namespace && slices.Equal(a.vs.Hosts, b.vs.Hosts) &&
				asksForGateway(a.vs) == asksForGateway(b.vs)
		})
}

// group finds the domains of a listener and puts those with the same routes together. Virtual hosts of the last table
// that come out the same are kept.
func (k *compiler) group(l *gatewayListener, t, last *gatewayTable) {
	kept := map[string]*gatewayGroup{}
	if last != nil {
		for i := range last.groups {
			kept[last.groups[i].name] = &last.groups[i]
		}
	}
	hosts := t.hosts(k, l)
	slices.SortFunc(hosts, func(a, b *gatewayHost) int { return bySpecificity(a.domain, b.domain) })
	groups := make(map[string]int, len(hosts)) // by what makes routes the same, to a place in t.groups
	for _, h := range hosts {
		same := h.routesKey(t)
		at, ok := groups[same]
		if !ok {
			at = len(t.groups)
			groups[same] = at
			t.groups = append(t.groups, gatewayGroup{
				name:       fmt.Sprintf("%s:%d", domain(h.domain), h.port),
				requireTLS: h.requireTLS,
				sources:    h.sources,
			})
		}
		t.groups[at].domains = append(t.groups[at].domains, domain(h.domain))
	}
	for i := range t.groups {
		g := &t.groups[i]
		if old := kept[g.name]; old != nil && old.requireTLS == g.requireTLS && slices.Equal(old.domains, g.domains) {
			g.made, g.host = old.made, old.host
		}
	}
	slices.SortFunc(t.groups, func(a, b gatewayGroup) int { return strings.Compare(a.name, b.name) })
}

// madeOf reports whether the virtual host is there and holds the routes of its sources.
func (g *gatewayGroup) madeOf(inputs []gatewayInput) bool {
	return g.host != nil && slices.EqualFunc(g.sources, g.made, func(i int, r *ruleRoutes) bool {
		return inputs[i].routes == r
	})
}

// make concatenates the routes of the virtual services, in their order, with all catch-alls moved to the end.
func (g *gatewayGroup) make(inputs []gatewayInput) {
	g.made = make([]*ruleRoutes, 0, len(g.sources))
	var routes, last []*routev3.Route
	for _, i := range g.sources {
		r := inputs[i].routes
		g.made = append(g.made, r)
		if len(g.sources) == 1 {
			routes = r.list
			break
		}
		if r.catchAll == nil {
			routes = append(routes, r.list...)
			continue
		}
		end := len(r.list) - 1
		routes = append(routes, r.list[:end]...)
		last = append(last, r.list[end])
	}
	g.host = &routev3.VirtualHost{
		Name:                       g.name,
		Domains:                    g.domains,
		Routes:                     append(routes, last...),
		IncludeRequestAttemptCount: true,
	}
	if g.requireTLS {
		g.host.RequireTls = routev3.VirtualHost_ALL
	}
}

// twoCatchAlls tells of virtual services whose route for every request comes behind another's.
func (k *compiler) twoCatchAlls(t *gatewayTable, g *gatewayGroup) {
	if len(g.sources) < 2 {
		return
	}
	var catcher *mesh.VirtualService
	for _, i := range g.sources {
		in := &t.inputs[i]
		rule := in.routes.catchAll
		if rule == nil {
			continue
		}
		if catcher != nil {
			k.problemAt(mesh.Warning, ruleOrigin(in.vs, rule), rule.Place,
				fmt.Sprintf("is never reached on host %q: that of %s takes all requests before it",
					strings.Trim(g.domains[0], "[]"), catcher.Origin),
				"give only one of them a rule without conditions")
		}
		catcher = in.vs
	}
}
