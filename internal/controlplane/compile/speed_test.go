// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// large is a mesh of hosts, each with a service, an endpoint and a virtual service of so many routes.
func large(hosts, routes int, gateways ...string) (mesh.Config, mesh.Endpoints) {
	c := mesh.Config{Gateways: []*mesh.Gateway{gateway(80)}}
	e := mesh.Endpoints{}
	for i := range hosts {
		s := service(fmt.Sprintf("s%d", i), fmt.Sprintf("s%d.default.svc.cluster.local", i), 80)
		s.Kubernetes = true
		e[s.Host] = []mesh.Endpoint{endpoint("10.0.0.1", 80, 8080)}
		c.Services = append(c.Services, s)
		c.VirtualServices = append(c.VirtualServices, largeVirtualService(i, routes, gateways))
	}
	return c, e
}

func largeVirtualService(i, routes int, gateways []string) *mesh.VirtualService {
	host := fmt.Sprintf("s%d.default.svc.cluster.local", i)
	var rules []mesh.Rule
	for j := range routes {
		rules = append(rules, mesh.Rule{
			Matches: []mesh.Match{{URI: &mesh.StringMatch{Kind: mesh.Prefix, Value: fmt.Sprintf("/path%d/", j)}}},
			Route:   []mesh.Destination{to(host, 80)},
		})
	}
	vs := virtualService(fmt.Sprintf("v%d", i), rules...)
	vs.Hosts, vs.Gateways = []string{host}, gateways
	return vs
}

const (
	manyHosts  = 10_000
	manyRoutes = 10
)

var shapes = []struct {
	name          string
	hosts, routes int
	gateways      []string
	outbound      string
}{
	{name: "gateway", hosts: manyHosts, routes: manyRoutes, gateways: []string{"default/gw"}},
	{name: "outbound", hosts: manyHosts, routes: manyRoutes, gateways: []string{"mesh"}, outbound: "127.0.0.1:15080"},
	{name: "one-host", hosts: 1, routes: 1000, gateways: []string{"default/gw"}},
}

func sideOptions(outbound string) (opts compile.Options) {
	if outbound != "" {
		opts.Outbound = netip.MustParseAddrPort(outbound)
	}
	return opts
}

// BenchmarkFull compiles from nothing. retained-MB is what the resources and the compiler hold.
func BenchmarkFull(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			c, e := large(shape.hosts, shape.routes, shape.gateways...)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			compiler := compile.New(sideOptions(shape.outbound))
			kept, _ := compiler.Compile(c, e)
			runtime.GC()
			runtime.ReadMemStats(&after)
			runtime.KeepAlive(kept)
			runtime.KeepAlive(compiler)
			b.ReportAllocs()
			for b.Loop() {
				compile.Compile(c, e, sideOptions(shape.outbound))
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "retained-MB")
		})
	}
}

// BenchmarkOneChange compiles the same again after one virtual service became another.
func BenchmarkOneChange(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			c, e := large(shape.hosts, shape.routes, shape.gateways...)
			compiler := compile.New(sideOptions(shape.outbound))
			compiler.Compile(c, e)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				c.VirtualServices = slices.Clone(c.VirtualServices)
				at := i % shape.hosts
				c.VirtualServices[at] = largeVirtualService(at, shape.routes-i%2, shape.gateways)
				compiler.Compile(c, e)
			}
		})
	}
}
