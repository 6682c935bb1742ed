// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// defaultPort is that of a Host without one.
const defaultPort = 80

// outboundTable is what is known of the outbound listener's routes: which virtual hosts there are, who has which
// domain, and their messages. While services and the hosts of rules stay, a change of rules replaces the virtual hosts
// that have them and nothing else.
type outboundTable struct {
	index   *index
	sources []*mesh.VirtualService // for sidecars, in the order a consumer sees them
	rules   *meshRules             // of sources
	hosts   []*outboundHost        // by name
	lost    []lostDomain
	made    *routev3.RouteConfiguration
}

// outboundHost is one virtual host. Without routes on its port and without a service it is not there.
type outboundHost struct {
	name    string
	service *mesh.Service // nil: of rules whose host no service has
	port    uint32        // 0: it takes the ports that the service does not have
	rules   *hostRules    // nil: none for its name
	from    []int         // which virtual services of rules may be for this port, of the table's sources
	full    []string      // domains it would like
	short   []string      // the same, behind everybody's full ones
	domains []string      // those it has

	routes *ruleRoutes // what host was made of; nil: the service's default
	host   *routev3.VirtualHost
}

// lostDomain is one that two virtual hosts would like, and the first has.
type lostDomain struct {
	domain       string
	first, loser *outboundHost
}

// outboundRoutes compiles the routes of the outbound listener: a virtual host for each service and port, one for each
// host of a virtual service that is no service, and a last one for all else.
func (k *compiler) outboundRoutes() *routev3.RouteConfiguration {
	sources := k.bound[meshGateway]
	t := k.outbound
	if t == nil || !t.sameHosts(k.scope, sources) || !k.replace(t, sources) {
		t = k.layOut(sources, t)
	}
	k.outbound = t
	k.unusedRules(t)
	k.lostDomains(t)

	hosts := make([]*routev3.VirtualHost, 0, len(t.hosts)+1)
	for _, h := range t.hosts {
		if h.host != nil {
			hosts = append(hosts, h.host)
		}
	}
	hosts = append(hosts, k.unknown[k.policy])
	if t.made == nil || !slices.Equal(t.made.GetVirtualHosts(), hosts) {
		t.made = &routev3.RouteConfiguration{
			Name:                           outboundRoute,
			VirtualHosts:                   hosts,
			ValidateClusters:               boolean(false),
			MaxDirectResponseBodySizeBytes: u32(maxDirectBody),
		}
	}
	return t.made
}

// sameHosts reports whether services and the hosts of rules are those of the table.
func (t *outboundTable) sameHosts(x *index, sources []*mesh.VirtualService) bool {
	return t.index == x && slices.EqualFunc(t.sources, sources, func(a, b *mesh.VirtualService) bool {
		return a == b || slices.Equal(a.Hosts, b.Hosts)
	})
}

// replace gives the table's hosts the rules of today. It reports false if one comes to be or ends by that: then others
// may have its domains.
func (k *compiler) replace(t *outboundTable, sources []*mesh.VirtualService) bool {
	t.sources = sources
	t.rules.forget()
	for _, h := range t.hosts {
		routes := k.rulesFor(t, h)
		if h.service == nil && (routes == nil) != (h.routes == nil) {
			return false
		}
		if routes != h.routes {
			h.routes = routes
			k.makeHost(h)
		}
	}
	return true
}

// rulesFor compiles the rules that a host has on its port: those of the first virtual service that has any there.
func (k *compiler) rulesFor(t *outboundTable, h *outboundHost) *ruleRoutes {
	if h.rules == nil || h.port == 0 {
		return nil
	}
	if r := h.routes; r != nil && r.vs == t.sources[h.from[0]] && k.again(r) {
		h.rules.use(h.from[0])
		return r
	}
	for _, i := range h.from {
		if r := k.routes(t.sources[i], h.port, meshGateway); len(r.list) > 0 {
			h.rules.use(i)
			return r
		}
	}
	return nil
}

// layOut finds all virtual hosts and gives each its domains. What comes out as in the last table is kept.
func (k *compiler) layOut(sources []*mesh.VirtualService, last *outboundTable) *outboundTable {
	t := &outboundTable{index: k.scope, sources: sources, rules: newMeshRules(sources)}
	if last != nil {
		t.made = last.made
	}
	for _, s := range k.scope.sorted {
		names, rules := k.namesOf(s), t.rules.of(s.Host)
		for _, a := range s.Aliases {
			if k.scope.services[a.Host] != s {
				continue // there is a service of that name
			}
			alias := k.namesOfHost(a.Host, a.Namespace, true)
			if own := t.rules.of(a.Host); own != nil && own != rules {
				t.hosts = append(t.hosts, k.serviceHosts(s, alias, own)...)
				continue
			}
			names.full, names.short = append(names.full, alias.full...), append(names.short, alias.short...)
		}
		t.hosts = append(t.hosts, k.serviceHosts(s, names, rules)...)
	}
	for _, r := range t.rules.list {
		if k.scope.services[r.host] == nil {
			t.hosts = append(t.hosts, k.foreignHosts(r, sources)...)
		}
	}
	slices.SortStableFunc(t.hosts, func(a, b *outboundHost) int { return strings.Compare(a.name, b.name) })
	for _, h := range t.hosts {
		h.routes = k.rulesFor(t, h)
	}
	t.claim()

	kept := map[string]*outboundHost{}
	if last != nil {
		for _, h := range last.hosts {
			kept[h.name] = h
		}
	}
	for _, h := range t.hosts {
		old := kept[h.name]
		if old != nil && old.host != nil && old.service == h.service && old.routes == h.routes &&
			slices.Equal(old.domains, h.domains) {
			h.host = old.host
			continue
		}
		k.makeHost(h)
	}
	return t
}

// makeHost makes the message of a host from its routes; none if it has no domain.
func (k *compiler) makeHost(h *outboundHost) {
	h.host = nil
	if len(h.domains) == 0 {
		return
	}
	h.host = &routev3.VirtualHost{Name: h.name, Domains: h.domains, IncludeRequestAttemptCount: h.port != 0}
	switch {
	case h.routes != nil:
		h.host.Routes = h.routes.list
	case h.port != 0:
		h.host.Routes = []*routev3.Route{k.defaultRoute(h.service, h.port)}
	default:
		body := fmt.Sprintf("%s serves HTTP on these ports only: %s\n", h.service.Host, portList(httpPorts(h.service)))
		h.host.Routes = []*routev3.Route{directResponse("unknown_port", 404, body)}
	}
}

// serviceHosts makes a virtual host for each HTTP port of a service by some of its names, and one that answers 404 for
// all other ports.
func (k *compiler) serviceHosts(s *mesh.Service, names hostNames, rules *hostRules) []*outboundHost {
	ports := httpPorts(s)
	if len(ports) == 0 {
		return nil
	}
	hosts := make([]*outboundHost, 0, len(ports)+1)
	portless := false
	for _, p := range ports {
		h := &outboundHost{service: s, port: p.Number, rules: rules}
		if rules != nil {
			h.from = rules.sources
		}
		port := fmt.Sprint(p.Number)
		h.name = names.host + ":" + port
		alone := p.Number == defaultPort || len(ports) == 1
		portless = portless || alone
		h.want(names, port, alone)
		hosts = append(hosts, h)
	}
	other := &outboundHost{name: names.host + ":*", service: s}
	other.want(names, "*", !portless)
	return append(hosts, other)
}

// foreignHosts are the virtual hosts of rules whose host no service has: on the default port, and on those of the
// services that the same virtual service is for. A wildcard is for the services under it on the ports that they have.
func (k *compiler) foreignHosts(r *hostRules, sources []*mesh.VirtualService) []*outboundHost {
	var hosts []*outboundHost
	taken := k.scope.ports(r.host)
	for _, i := range r.sources {
		for _, number := range k.portsOf(sources[i]) {
			if slices.Contains(taken, number) {
				continue
			}
			at := slices.IndexFunc(hosts, func(h *outboundHost) bool { return h.port == number })
			if at >= 0 {
				hosts[at].from = append(hosts[at].from, i)
				continue
			}
			port := fmt.Sprint(number)
			h := &outboundHost{name: domain(r.host) + ":" + port, port: number, rules: r, from: []int{i}}
			h.want(hostNames{full: []string{domain(r.host)}}, port, number == defaultPort)
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// portsOf are the ports on which a virtual service's hosts are served that no service has.
func (k *compiler) portsOf(vs *mesh.VirtualService) []uint32 {
	ports := []uint32{defaultPort}
	for _, host := range vs.Hosts {
		for _, port := range k.scope.ports(host) {
			if !slices.Contains(ports, port) {
				ports = append(ports, port)
			}
		}
	}
	return ports
}

// origin is what a virtual host comes from: the virtual service whose rules it has, else the service.
func (t *outboundTable) origin(h *outboundHost) mesh.Ref {
	switch {
	case h.routes != nil:
		return h.routes.vs.Origin
	case h.service != nil:
		return h.service.Origin
	}
	return t.sources[h.from[0]].Origin
}

// unusedRules tells of virtual services that lose a host to another. Rules of several are not merged on sidecars.
func (k *compiler) unusedRules(t *outboundTable) {
	for _, r := range t.rules.shared {
		for _, i := range r.sources[1:] {
			if vs := t.sources[i]; !r.used[i] && vs != t.sources[r.sources[0]] {
				k.problemAt(mesh.Warning, vs.Origin, vs.HostsAt,
					fmt.Sprintf("host %q already has the rules of %s, which comes first: these are not used",
						r.host, t.sources[r.sources[0]].Origin),
					"put the rules of a host into one virtual service")
			}
		}
	}
}

func (k *compiler) lostDomains(t *outboundTable) {
	for _, l := range t.lost {
		var at mesh.Place
		if l.loser.routes != nil {
			at = l.loser.routes.vs.HostsAt
		}
		k.problem(mesh.Problem{
			Severity: mesh.Warning,
			Resource: t.origin(l.loser), Line: at.Line, Field: at.Field,
			Message: fmt.Sprintf("requests for %q go to %s, not to %s", l.domain, t.origin(l.first), l.loser.name),
			Fix:     "use the full name in the request",
		})
	}
}
