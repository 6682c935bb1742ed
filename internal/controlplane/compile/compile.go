// SPDX-License-Identifier: Apache-2.0

// Package compile turns the mesh into the Envoy resources of one proxy: listeners, route configurations, clusters and
// endpoints, named and shaped as Istio does (docs/semantics.md). The same input gives the same bytes. It does not read
// files, does not resolve names of resources, and emits no field that the data plane does not carry out.
package compile

import (
	"cmp"
	"net/netip"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// Profile picks between two generations of Istio where they differ.
type Profile int

// ASM keeps the "-shadow" suffix on the Host of copies and retries on 503. Istio does neither, as current Istio.
const (
	ASM Profile = iota
	Istio
)

// Options is what the resources do not say: where and for whom this proxy serves. The zero value is a gateway on
// 0.0.0.0 in profile ASM.
type Options struct {
	Profile   Profile
	Bind      string            // IP of Gateway listeners that name none; empty: 0.0.0.0
	Ports     map[uint32]uint32 // Gateway port -> port served, as a Service's targetPort in front of a gateway
	Outbound  netip.AddrPort    // a sidecar's outbound HTTP listener; the zero value: none
	Namespace string            // the proxy's own: bare service names resolve in it; empty: default
	Domain    string            // of the cluster; empty: cluster.local
	Local     []netip.Addr      // addresses of this machine besides loopback, to find mirrors that lead back here
}

func (o Options) withDefaults() Options {
	o.Bind = cmp.Or(o.Bind, "0.0.0.0")
	o.Namespace = cmp.Or(o.Namespace, "default")
	o.Domain = cmp.Or(o.Domain, "cluster.local")
	return o
}

// Compile returns the proxy's resources, sorted and sealed, and what is wrong with the input beyond one resource. A
// problem never makes the resources unusable: what it is about is left out (a mirror that leads back here, a listener
// whose address is taken, a domain that another virtual service has).
func Compile(c mesh.Config, e mesh.Endpoints, opts Options) (xds.Resources, []mesh.Problem) {
	k := &compiler{
		opts:      opts.withDefaults(),
		endpoints: e,
		rules:     map[rulesKey]ruleRoutes{},
		bound:     map[string][]*mesh.VirtualService{},
		retry:     retryPolicy(opts.Profile),
	}
	k.index(c.Services)
	for _, vs := range c.VirtualServices {
		for _, name := range vs.Gateways {
			// A gateway that one resource names twice has it once.
			if list := k.bound[name]; len(list) == 0 || list[len(list)-1] != vs {
				k.bound[name] = append(list, vs)
			}
		}
	}

	// Addresses come before routes: a mirror is held against all of them.
	if k.opts.Outbound.IsValid() {
		k.own = append(k.own, ownListener{k.opts.Outbound})
	}
	gateways := k.gatewayListeners(c.Gateways)
	k.unusedPorts(c.Gateways)

	var r xds.Resources
	for _, l := range gateways {
		r.Listeners = append(r.Listeners, k.gatewayListener(l))
		r.Routes = append(r.Routes, k.gatewayRoutes(l))
	}
	k.unused(c)
	if k.opts.Outbound.IsValid() {
		r.Listeners = append(r.Listeners, k.outboundListener())
		r.Routes = append(r.Routes, k.outboundRoutes())
	}
	for _, s := range k.sorted {
		for _, p := range httpPorts(s) {
			k.cluster(&r, s, p, nil)
			for i := range s.Subsets {
				k.cluster(&r, s, p, &s.Subsets[i])
			}
		}
	}
	r.Seal()
	return r, k.sortedProblems()
}

// compiler holds what the steps share. It lives for one call of Compile.
type compiler struct {
	opts      Options
	endpoints mesh.Endpoints
	services  map[string]*mesh.Service // by host
	sorted    []*mesh.Service          // by host
	own       []ownListener
	bound     map[string][]*mesh.VirtualService // by gateway name or "mesh", oldest first
	rules     map[rulesKey]ruleRoutes           // compiled once a port, shared between virtual hosts
	retry     *routev3.RetryPolicy
	problems  []mesh.Problem
}

func (k *compiler) problem(p mesh.Problem) { k.problems = append(k.problems, p) }

// problemAt is for what stands at a place in a resource.
func (k *compiler) problemAt(s mesh.Severity, origin mesh.Ref, at mesh.Place, message, fix string) {
	k.problem(mesh.Problem{
		Severity: s, Resource: origin, Line: at.Line, Field: at.Field, Message: message, Fix: fix,
	})
}

// sortedProblems orders by place. One rule is compiled for every port it serves: what is wrong with it is said once.
func (k *compiler) sortedProblems() []mesh.Problem {
	slices.SortStableFunc(k.problems, func(a, b mesh.Problem) int {
		return cmp.Or(
			cmp.Compare(a.Resource.File, b.Resource.File),
			cmp.Compare(a.Resource.Line, b.Resource.Line),
			cmp.Compare(a.Resource.String(), b.Resource.String()),
			cmp.Compare(a.Field, b.Field),
			cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.Compact(k.problems)
}
