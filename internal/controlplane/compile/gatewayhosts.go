// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// gatewayHost is what a gateway answers for one domain.
type gatewayHost struct {
	domain     string
	port       uint32 // of the server, before any mapping
	origin     mesh.Ref
	requireTLS bool
	sources    []int                // of the table's inputs
	has        map[*ruleRoutes]bool // of sources, once they are many
}

// add puts an input's routes behind the others. A virtual service that comes by two servers is there once.
func (h *gatewayHost) add(t *gatewayTable, i int) {
	const few = 16
	routes := t.inputs[i].routes
	switch {
	case h.has != nil:
		if h.has[routes] {
			return
		}
		h.has[routes] = true
	case slices.ContainsFunc(h.sources, func(j int) bool { return t.inputs[j].routes == routes }):
		return
	case len(h.sources) == few:
		h.has = map[*ruleRoutes]bool{routes: true}
		for _, j := range h.sources {
			h.has[t.inputs[j].routes] = true
		}
	}
	h.sources = append(h.sources, i)
}

// hosts lists the domains of a listener. The servers' own hosts are among them where a server asks for TLS: what it has
// no routes for is redirected too.
func (t *gatewayTable) hosts(k *compiler, l *gatewayListener) []*gatewayHost {
	var list []*gatewayHost
	byDomain := make(map[string]*gatewayHost, len(t.inputs))
	at := func(name string, gs gatewayServer) *gatewayHost {
		h, ok := byDomain[name]
		if !ok {
			h = &gatewayHost{domain: name, port: gs.server.Port.Number, origin: gs.gateway.Origin}
			byDomain[name] = h
			list = append(list, h)
		}
		h.requireTLS = h.requireTLS || gs.server.HTTPSRedirect
		return h
	}
	next := 0
	for _, gs := range l.servers {
		for range k.bound[gs.gateway.Name] {
			i := next
			next++
			in := &t.inputs[i]
			if in.routes == nil {
				continue
			}
			for name := range k.serverHosts(gs.server).common(in.vs) {
				h := at(name, gs)
				if h.port != gs.server.Port.Number {
					t.collide(l, gs, h)
					continue
				}
				h.add(t, i)
			}
		}
		if gs.server.HTTPSRedirect {
			for _, sh := range gs.server.Hosts {
				at(sh.Host, gs)
			}
		}
	}
	return list
}

func (t *gatewayTable) collide(l *gatewayListener, gs gatewayServer, h *gatewayHost) {
	t.collisions = append(t.collisions, mesh.Problem{
		Severity: mesh.Warning,
		Resource: gs.gateway.Origin, Line: gs.server.Place.Line, Field: gs.server.Place.Field,
		Message: fmt.Sprintf("port %d and port %d of %s are both served at %s: host %q answers for port %d only",
			gs.server.Port.Number, h.port, h.origin, l.addr, h.domain, h.port),
		Fix: "serve them at different ports",
	})
}

// routesKey is the same for two hosts if their routes are, and what surrounds them.
func (h *gatewayHost) routesKey(t *gatewayTable) string {
	var b strings.Builder
	fmt.Fprint(&b, h.port, h.requireTLS)
	for _, i := range h.sources {
		fmt.Fprintf(&b, " %p", t.inputs[i].routes)
	}
	return b.String()
}
