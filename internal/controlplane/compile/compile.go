// SPDX-License-Identifier: Apache-2.0

// Package compile turns the mesh into the Envoy resources of one proxy: listeners, route configurations, clusters and
// endpoints, named and shaped as Istio does (docs/semantics.md). The same input gives the same bytes, and what did not
// change from one configuration to the next is the same messages. It does not read files, does not resolve names of
// resources, and emits no field that the data plane does not carry out.
package compile

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

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
	Labels    map[string]string // the proxy's own, for matches on source labels and localities; nil: not known
	Locality  string            // the proxy's own, region/zone/subzone as far as known
	Local     []netip.Addr      // addresses of this machine besides loopback, to find mirrors that lead back here
	// OutboundPolicy says what becomes of requests for hosts that are not known, if no Sidecar does; unset: AllowAny.
	OutboundPolicy mesh.OutboundPolicy
	Paths          PathNormalization
	Clients        ClientLimits
}

func (o Options) withDefaults() Options {
	o.Bind = cmp.Or(o.Bind, "0.0.0.0")
	o.Namespace = cmp.Or(o.Namespace, "default")
	o.Domain = cmp.Or(o.Domain, "cluster.local")
	o.OutboundPolicy = cmp.Or(o.OutboundPolicy, mesh.AllowAny)
	return o
}

// Compile returns the proxy's resources, sorted and sealed, and what is wrong with the input beyond one resource. A
// problem never makes the resources unusable: what it is about is left out (a mirror that leads back here, a listener
// whose address is taken, a domain that another virtual service has).
func Compile(c mesh.Config, e mesh.Endpoints, opts Options) (xds.Resources, []mesh.Problem) {
	return New(opts).Compile(c, e)
}

// Compiler compiles one configuration after another and makes anew only what changed. It knows a resource of the mesh by
// its pointer: whoever changes one makes a new one. It is for one goroutine at a time.
type Compiler struct {
	opts       Options
	retries    *retryPolicies
	none       *durationpb.Duration // no timeout
	unknown    map[mesh.OutboundPolicy]*routev3.VirtualHost
	special    []*clusterv3.Cluster // of the outbound listener, besides those of services
	generation uint64

	// What the last configuration left. All of it is read by name or by pointer and holds published messages: nothing
	// in it is written to but by whoever makes it anew.
	index     *index // of all services
	scope     *index // of those that the outbound listener knows
	rules     map[rulesKey]*ruleRoutes
	hosts     map[*mesh.Server]*serverHosts
	gateways  map[string]*gatewayTable // by name of the route configuration
	outbound  *outboundTable
	clusters  map[string]*hostClusters // by host of the service
	usual     usualParts
	sealer    xds.Sealer
	listeners map[hcm]*listenerv3.Listener
}

// New returns a compiler that has seen nothing yet.
func New(opts Options) *Compiler {
	b := &Compiler{
		opts:      opts.withDefaults(),
		retries:   newRetryPolicies(opts.Profile),
		none:      durationpb.New(0),
		special:   []*clusterv3.Cluster{passthroughCluster(), blackHoleCluster()},
		rules:     map[rulesKey]*ruleRoutes{},
		hosts:     map[*mesh.Server]*serverHosts{},
		gateways:  map[string]*gatewayTable{},
		clusters:  map[string]*hostClusters{},
		usual:     newUsualParts(),
		listeners: map[hcm]*listenerv3.Listener{},
	}
	b.unknown = map[mesh.OutboundPolicy]*routev3.VirtualHost{mesh.AllowAny: b.allowAny(), mesh.RegistryOnly: blockAll()}
	return b
}

// Compile is as the function of that name. Messages that are in an earlier result too are the same ones.
func (b *Compiler) Compile(c mesh.Config, e mesh.Endpoints) (xds.Resources, []mesh.Problem) {
	b.generation++
	b.index = indexOf(c.Services, b.index)
	if c.Sidecar == nil {
		b.scope = b.index
	} else {
		b.scope = indexOf(c.Sidecar.Services, b.scope)
	}
	k := &compiler{
		Compiler:  b,
		services:  b.index.services,
		sorted:    b.index.sorted,
		endpoints: e,
		bound:     bound(c.VirtualServices),
		loops:     map[loopKey]string{},
		met:       map[*mesh.Gateway][]bool{},
		listening: map[hcm]*listenerv3.Listener{},
		policy:    cmp.Or(c.Outbound, b.opts.OutboundPolicy),
	}
	if c.Sidecar != nil {
		k.bound[meshGateway] = bound(c.Sidecar.VirtualServices)[meshGateway]
	}

	// Addresses come before routes: a mirror is held against all of them.
	if b.opts.Outbound.IsValid() {
		k.own = append(k.own, ownListener{b.opts.Outbound})
	}
	gateways := k.gatewayListeners(c.Gateways)
	k.unusedPorts(c.Gateways)

	var r xds.Resources
	for _, l := range gateways {
		r.Listeners = append(r.Listeners, k.gatewayListener(l))
		r.Routes = append(r.Routes, k.gatewayRoutes(l))
	}
	k.unused(c)
	if b.opts.Outbound.IsValid() {
		r.Listeners = append(r.Listeners, k.outboundListener())
		r.Routes = append(r.Routes, k.outboundRoutes())
		r.Clusters = append(r.Clusters, b.special...)
	}
	k.serviceClusters(&r)
	k.forget()
	b.sealer.Seal(&r)
	return r, k.sortedProblems()
}

// bound groups virtual services by the gateways they name, "mesh" being one.
func bound(list []*mesh.VirtualService) map[string][]*mesh.VirtualService {
	out := map[string][]*mesh.VirtualService{}
	for _, vs := range list {
		for _, name := range vs.Gateways {
			// A gateway that one resource names twice has it once.
			if has := out[name]; len(has) == 0 || has[len(has)-1] != vs {
				out[name] = append(has, vs)
			}
		}
	}
	return out
}

// compiler is one call of Compile: what the steps share.
type compiler struct {
	*Compiler
	services  map[string]*mesh.Service // by host
	sorted    []*mesh.Service          // by host
	endpoints mesh.Endpoints
	own       []ownListener
	bound     map[string][]*mesh.VirtualService // by gateway name or "mesh", in the order a consumer sees them
	loops     map[loopKey]string
	met       map[*mesh.Gateway][]bool     // which of a gateway's virtual services a server of it takes
	listening map[hcm]*listenerv3.Listener // all there are
	policy    mesh.OutboundPolicy
	problems  []mesh.Problem
}

// forget drops what this configuration did not ask for.
func (k *compiler) forget() {
	maps.DeleteFunc(k.rules, func(_ rulesKey, r *ruleRoutes) bool { return r.used != k.generation })
	maps.DeleteFunc(k.hosts, func(_ *mesh.Server, h *serverHosts) bool { return h.used != k.generation })
	maps.DeleteFunc(k.clusters, func(_ string, h *hostClusters) bool { return h.used != k.generation })
	maps.DeleteFunc(k.gateways, func(_ string, t *gatewayTable) bool { return t.used != k.generation })
	k.listeners = k.listening
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
			cmp.Compare(a.Resource.Kind, b.Resource.Kind),
			cmp.Compare(a.Resource.Namespace, b.Resource.Namespace),
			cmp.Compare(a.Resource.Name, b.Resource.Name),
			cmp.Compare(a.Field, b.Field),
			cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.Compact(k.problems)
}
