// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// meshes makes meshes out of few names, so that hosts, gateways and ports meet.
type meshes struct{ *rand.Rand }

func (m meshes) of(list ...string) string { return list[m.IntN(len(list))] }

func (m meshes) host() string {
	return m.of("a.ns1.svc.cluster.local", "b.ns2.svc.cluster.local", "x.example", "y.x.example", "*.example",
		"*.x.example", "*", "a.ns1", "lonely")
}

func (m meshes) port() uint32 { return []uint32{0, 80, 81, 8080, 65535, 70000}[m.IntN(6)] }

func (m meshes) namespace() string { return m.of("ns1", "ns2", "default") }

func (m meshes) ref(kind string) mesh.Ref {
	return mesh.Ref{Kind: kind, Namespace: m.namespace(), Name: m.of("p", "q"), File: "f.yaml", Line: m.IntN(9)}
}

func (m meshes) config() (mesh.Config, mesh.Endpoints) {
	var c mesh.Config
	e := mesh.Endpoints{}
	for range m.IntN(5) {
		s := &mesh.Service{
			Origin: m.ref("Service"), Host: m.host(), Namespace: m.namespace(), Kubernetes: m.IntN(2) == 0,
		}
		for range m.IntN(4) {
			s.Ports = append(s.Ports, mesh.Port{Number: m.port(), Protocol: m.of("HTTP", "TCP", "GRPC")})
		}
		for _, name := range []string{"v1", "v2"}[m.IntN(3):] {
			s.Subsets = append(s.Subsets, mesh.Subset{Name: name, Labels: m.labels()})
		}
		c.Services = append(c.Services, s)
		for range m.IntN(4) {
			e[s.Host] = append(e[s.Host], mesh.Endpoint{
				Address: m.of("10.0.0.1", "127.0.0.1", "::1", "not an address"),
				Ports:   map[uint32]uint32{80: m.port() % 65536, m.port(): 8080},
				Labels:  m.labels(),
				Weight:  uint32(m.IntN(3)),
			})
		}
	}
	for range m.IntN(4) {
		g := &mesh.Gateway{Origin: m.ref("Gateway"), Name: m.of("ns1/g", "ns2/g")}
		for range m.IntN(3) {
			s := mesh.Server{Port: mesh.Port{Number: m.port(), Protocol: "HTTP"}, Bind: m.of("", "127.0.0.1", "nowhere")}
			for range m.IntN(3) {
				s.Hosts = append(s.Hosts, mesh.ServerHost{Namespace: m.of("*", "ns1"), Host: m.host()})
			}
			g.Servers = append(g.Servers, s)
		}
		c.Gateways = append(c.Gateways, g)
	}
	for range m.IntN(6) {
		vs := &mesh.VirtualService{
			Origin: m.ref("VirtualService"), Name: m.of("p", "q"), Namespace: m.namespace(),
			Hosts: []string{m.host(), m.host()}, Gateways: []string{m.of("ns1/g", "mesh"), m.of("ns2/g", "mesh")},
		}
		for range m.IntN(4) {
			vs.Rules = append(vs.Rules, m.rule())
		}
		c.VirtualServices = append(c.VirtualServices, vs)
	}
	return c, e
}

func (m meshes) labels() map[string]string {
	if m.IntN(3) == 0 {
		return nil
	}
	return map[string]string{"version": m.of("v1", "v2")}
}

func (m meshes) destination() mesh.Destination {
	return mesh.Destination{Host: m.host(), Subset: m.of("", "v1", "v3"), Port: m.port(), Weight: int32(m.IntN(4) - 1)}
}

func (m meshes) text() *mesh.StringMatch {
	if m.IntN(3) == 0 {
		return nil
	}
	return &mesh.StringMatch{Kind: mesh.MatchKind(m.IntN(3)), Value: m.of("/", "/a", ".*")}
}

func (m meshes) rule() mesh.Rule {
	r := mesh.Rule{Name: m.of("", "n"), Timeout: time.Duration(m.IntN(3)) * time.Second}
	for range m.IntN(3) {
		match := mesh.Match{Name: m.of("", "m"), URI: m.text(), Method: m.text()}
		for range m.IntN(3) {
			match.Headers = append(match.Headers, mesh.HeaderMatch{Name: m.of("x-a", "x-b"), Value: m.text()})
		}
		r.Matches = append(r.Matches, match)
	}
	for range m.IntN(3) {
		r.Route = append(r.Route, m.destination())
	}
	for range m.IntN(3) {
		r.Mirrors = append(r.Mirrors, mesh.Mirror{
			Destination: m.destination(), Numerator: uint32(m.IntN(101)), Denominator: mesh.Denominator(m.IntN(2)),
		})
	}
	return r
}

func (m meshes) options() compile.Options {
	o := compile.Options{
		Profile: compile.Profile(m.IntN(2)), Bind: m.of("", "127.0.0.1", "::1", "somewhere"), Namespace: m.of("", "ns1"),
	}
	if m.IntN(2) == 0 {
		o.Ports = map[uint32]uint32{80: m.port(), 81: 8080}
	}
	if m.IntN(3) > 0 {
		o.Outbound = netip.MustParseAddrPort(m.of("127.0.0.1:8080", "[::]:80"))
	}
	return o
}

// checkMesh compiles the mesh that a seed stands for, twice, and holds what is true of every mesh.
func checkMesh(t *testing.T, seed uint64) {
	t.Helper()
	config, endpoints := meshes{rand.New(rand.NewPCG(seed, 1))}.config()
	opts := meshes{rand.New(rand.NewPCG(seed, 2))}.options()
	first, problems := compile.Compile(config, endpoints, opts)
	second, again := compile.Compile(config, endpoints, opts)
	if first.Version != second.Version {
		t.Errorf("seed %d: two versions of one mesh:\n%s", seed, cmp.Diff(first, second, protocmp.Transform()))
	}
	if diff := cmp.Diff(problems, again); diff != "" {
		t.Errorf("seed %d: other problems the second time:\n%s", seed, diff)
	}
	if err := first.Validate(); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	for _, fault := range faults(first) {
		t.Errorf("seed %d: %s", seed, fault)
	}
}

// faults says what a proxy would refuse although each message is valid by itself: names and domains that are there
// twice, routes that nothing can reach, names that nothing stands behind.
func faults(r xds.Resources) []string {
	var out []string
	seen := map[string]bool{}
	once := func(kind, name string) {
		if seen[kind+name] {
			out = append(out, fmt.Sprintf("%s %q is there twice", kind, name))
		}
		seen[kind+name] = true
	}
	for _, l := range r.Listeners {
		once("listener", l.GetName())
	}
	if len(r.Listeners) != len(r.Routes) {
		out = append(out, fmt.Sprintf("%d listeners and %d route configurations", len(r.Listeners), len(r.Routes)))
	}
	for _, rc := range r.Routes {
		once("routes", rc.GetName())
		for _, h := range rc.GetVirtualHosts() {
			once("virtual host", rc.GetName()+" "+h.GetName())
			for _, d := range h.GetDomains() {
				once("domain", rc.GetName()+" "+d)
			}
		}
	}
	for _, c := range r.Clusters {
		once("cluster", c.GetName())
	}
	for _, a := range r.Endpoints {
		once("endpoints", a.GetClusterName())
		if !seen["cluster"+a.GetClusterName()] {
			out = append(out, fmt.Sprintf("endpoints %q are of no cluster", a.GetClusterName()))
		}
	}
	return out
}

func TestAnyMeshGivesOneValidSetOfResources(t *testing.T) {
	for seed := range uint64(300) {
		checkMesh(t, seed)
	}
}

func FuzzCompile(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(seed)
	}
	f.Fuzz(checkMesh)
}

func BenchmarkCompile1000Services(b *testing.B) {
	var c mesh.Config
	e := mesh.Endpoints{}
	for i := range 1000 {
		name := fmt.Sprintf("s%d", i)
		s := service(name, name+".default.svc.cluster.local", 80)
		s.Kubernetes = true
		e[s.Host] = []mesh.Endpoint{endpoint("10.0.0.1", 80, 80)}
		vs := virtualService(name, mesh.Rule{Route: []mesh.Destination{to(s.Host, 80)}})
		vs.Hosts, vs.Gateways = []string{s.Host}, []string{"default/gw", "mesh"}
		c.Services, c.VirtualServices = append(c.Services, s), append(c.VirtualServices, vs)
	}
	c.Gateways = []*mesh.Gateway{gateway(80)}
	opts := compile.Options{Outbound: netip.MustParseAddrPort("127.0.0.1:15080")}
	b.ReportAllocs()
	for b.Loop() {
		compile.Compile(c, e, opts)
	}
}
