// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

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
				k.problemAt(mesh.Error, g.Origin, s.Place, err.Error(),
					"give the server another port or bind, or map its port to another one with --port")
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
				Fix:      "name a gateway too, or run with --outbound",
			})
		}
	}
	for _, g := range c.Gateways {
		for i, vs := range k.bound[g.Name] {
			if !k.served(g, i) {
				k.problemAt(mesh.Warning, vs.Origin, vs.HostsAt,
					fmt.Sprintf("no server of %s takes any of the hosts %s", g.Origin, strings.Join(vs.Hosts, ", ")),
					"add a host to the gateway's server, or correct the virtual service's")
			}
		}
	}
}

// served reports whether any server of g takes a host of its virtual service number i.
func (k *compiler) served(g *mesh.Gateway, i int) bool {
	if met := k.met[g]; met != nil && met[i] {
		return true
	}
	// One that is left out for its address may take it.
	for j := range g.Servers {
		if k.serverHosts(&g.Servers[j]).meet(k.bound[g.Name][i]) {
			return true
		}
	}
	return false
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
