// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// gatewayListener is one address with all the servers, of any gateway, that are served there.
type gatewayListener struct {
	addr    netip.AddrPort
	routes  string // http.<port served>[.<bind>]
	servers []gatewayServer
}

type gatewayServer struct {
	gateway *mesh.Gateway
	server  *mesh.Server
}

// gatewayListeners groups the servers by the address they are served at, in the order of the first server of each.
func (k *compiler) gatewayListeners(gateways []*mesh.Gateway) []*gatewayListener {
	var list []*gatewayListener
	byAddr := map[netip.AddrPort]*gatewayListener{}
	for _, g := range gateways {
		for i := range g.Servers {
			s := &g.Servers[i]
			addr, routes, err := k.serve(s)
			if err == nil {
				err = k.free(s.Port.Number, addr)
			}
			if err != nil {
				k.problemAt(mesh.Error, g.Origin, s.Place, err.Error(), "serve it elsewhere")
				continue
			}
			l, ok := byAddr[addr]
			if !ok {
				l = &gatewayListener{addr: addr, routes: routes}
				byAddr[addr] = l
				list = append(list, l)
				k.own = append(k.own, ownListener{addr})
			}
			l.servers = append(l.servers, gatewayServer{g, s})
		}
	}
	return list
}

// free tells of a listener that does not leave room for one at addr: two at the very same address are one, but beside one
// on all addresses there is none on a single one.
func (k *compiler) free(port uint32, addr netip.AddrPort) error {
	for _, l := range k.own {
		switch {
		case addr == k.opts.Outbound:
			return fmt.Errorf("port %d would be served at %s, which is the outbound listener's address", port, addr)
		case l.addr != addr && (l.covers(addr) || ownListener{addr}.covers(l.addr)):
			return fmt.Errorf("port %d would be served at %s, but there is a listener at %s", port, addr, l.addr)
		}
	}
	return nil
}

// serve says where a server listens and what its route configuration is called.
func (k *compiler) serve(s *mesh.Server) (netip.AddrPort, string, error) {
	port := s.Port.Number
	if to, ok := k.opts.Ports[port]; ok {
		port = to
	}
	if port == 0 || port > 65535 {
		return netip.AddrPort{}, "", fmt.Errorf("port %d is not between 1 and 65535", port)
	}
	routes := fmt.Sprintf("http.%d", port)
	if s.Bind != "" {
		routes += "." + s.Bind
	}
	ip, err := netip.ParseAddr(cmp.Or(s.Bind, k.opts.Bind))
	if err != nil {
		return netip.AddrPort{}, "", fmt.Errorf("bind %q is not an IP address", cmp.Or(s.Bind, k.opts.Bind))
	}
	return netip.AddrPortFrom(ip, uint16(port)), routes, nil
}

// gatewayHost is a virtual host in the making: what a gateway answers for one domain.
type gatewayHost struct {
	domain  string
	port    uint32 // of the server, before any mapping
	origin  mesh.Ref
	sources []*mesh.VirtualService // their routes follow each other
}

// gatewayRoutes compiles the routes of one listener. Several virtual services may share a domain; domains with the
// same virtual services share a virtual host.
func (k *compiler) gatewayRoutes(l *gatewayListener) *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{
		Name:                     l.routes,
		ValidateClusters:         wrapperspb.Bool(false),
		IgnorePortInHostMatching: true,
	}
	hosts := k.gatewayHosts(l)
	for len(hosts) > 0 {
		first := hosts[0]
		var domains []string
		hosts = slices.DeleteFunc(hosts, func(h *gatewayHost) bool {
			same := h.port == first.port && slices.Equal(h.sources, first.sources)
			if same {
				domains = append(domains, domain(h.domain))
			}
			return same
		})
		routes := k.merge(first)
		if len(routes) == 0 {
			continue
		}
		rc.VirtualHosts = append(rc.VirtualHosts, &routev3.VirtualHost{
			Name:                       fmt.Sprintf("%s:%d", domain(first.domain), first.port),
			Domains:                    domains,
			Routes:                     routes,
			IncludeRequestAttemptCount: true,
		})
	}
	if len(rc.VirtualHosts) == 0 {
		rc.VirtualHosts = []*routev3.VirtualHost{{
			Name:    fmt.Sprintf("blackhole:%d", l.servers[0].server.Port.Number),
			Domains: []string{"*"},
		}}
	}
	slices.SortFunc(rc.VirtualHosts, func(a, b *routev3.VirtualHost) int { return strings.Compare(a.Name, b.Name) })
	return rc
}

// gatewayHosts finds the domains of a listener with their virtual services, the most specific domain first.
func (k *compiler) gatewayHosts(l *gatewayListener) []*gatewayHost {
	byDomain := map[string]*gatewayHost{}
	for _, gs := range l.servers {
		for _, vs := range k.bound[gs.gateway.Name] {
			for _, name := range intersection(gs.server.Hosts, vs) {
				h, ok := byDomain[name]
				if !ok {
					h = &gatewayHost{domain: name, port: gs.server.Port.Number, origin: gs.gateway.Origin}
					byDomain[name] = h
				}
				if h.port != gs.server.Port.Number {
					k.problem(mesh.Problem{
						Severity: mesh.Warning,
						Resource: gs.gateway.Origin,
						Message: fmt.Sprintf(
							"port %d and port %d of %s are both served at %s: host %q answers for port %d only",
							gs.server.Port.Number, h.port, h.origin, l.addr, name, h.port),
						Fix: "serve them at different ports",
					})
					continue
				}
				if !slices.Contains(h.sources, vs) {
					h.sources = append(h.sources, vs)
				}
			}
		}
	}
	hosts := make([]*gatewayHost, 0, len(byDomain))
	for _, h := range byDomain {
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(a, b *gatewayHost) int { return bySpecificity(a.domain, b.domain) })
	return hosts
}

// merge concatenates the routes of a domain's virtual services, oldest first, with all catch-alls moved to the end.
func (k *compiler) merge(h *gatewayHost) []*routev3.Route {
	var routes, last []*routev3.Route
	var catcher *mesh.VirtualService
	for _, vs := range h.sources {
		rules := k.routes(vs, h.port)
		for _, r := range rules.list {
			if !catchAll(r) {
				routes = append(routes, r)
				continue
			}
			last = append(last, r)
			if catcher != nil {
				k.problemAt(mesh.Warning, vs.Origin, rules.catchAll,
					fmt.Sprintf("is never reached on host %q: that of %s takes all requests before it",
						h.domain, catcher.Origin),
					"give only one of them a rule without conditions")
			}
			catcher = vs
		}
	}
	return append(routes, last...)
}

// unused tells of virtual services that nothing here serves: no server of their gateways lets them in, or they are for
// sidecars and there is no outbound listener.
func (k *compiler) unused(c mesh.Config) {
	if !k.opts.Outbound.IsValid() {
		for _, vs := range k.bound[meshGateway] {
			k.problem(mesh.Problem{
				Severity: mesh.Note,
				Resource: vs.Origin,
				Field:    "spec.gateways",
				Message:  "is for sidecars, and there is no outbound listener: it is not served there",
				Fix:      "run with --outbound",
			})
		}
	}
	for _, g := range c.Gateways {
		for _, vs := range k.bound[g.Name] {
			if !slices.ContainsFunc(g.Servers, func(s mesh.Server) bool { return len(intersection(s.Hosts, vs)) > 0 }) {
				k.problemAt(mesh.Warning, vs.Origin, vs.HostsAt,
					fmt.Sprintf("no server of %s takes any of the hosts %s", g.Origin, strings.Join(vs.Hosts, ", ")),
					"add a host to the gateway's server, or correct the virtual service's")
			}
		}
	}
}

// unusedPorts warns of a --port that serves the port of no Gateway: most likely a typing error.
func (k *compiler) unusedPorts(gateways []*mesh.Gateway) {
	asked := map[uint32]bool{}
	for _, g := range gateways {
		for _, s := range g.Servers {
			asked[s.Port.Number] = true
		}
	}
	for _, port := range slices.Sorted(maps.Keys(k.opts.Ports)) {
		if !asked[port] {
			k.problem(mesh.Problem{
				Severity: mesh.Warning, Resource: mesh.Ref{File: fmt.Sprintf("--port %d=%d", port, k.opts.Ports[port])},
				Message: fmt.Sprintf("no Gateway has port %d", port), Fix: "name the port of a Gateway's server",
			})
		}
	}
}
