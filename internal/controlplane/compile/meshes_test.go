// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
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
		s := m.service()
		c.Services = append(c.Services, s)
		e[s.Host] = append(e[s.Host], m.endpoints()...)
	}
	for range m.IntN(4) {
		c.Gateways = append(c.Gateways, m.gateway())
	}
	for range m.IntN(6) {
		c.VirtualServices = append(c.VirtualServices, m.virtualService())
	}
	c.Outbound = mesh.OutboundPolicy(m.IntN(3))
	c.Sidecar = m.sidecar(c)
	return c, e
}

// sidecar lets the outbound listener know a part of a mesh.
func (m meshes) sidecar(c mesh.Config) *mesh.SidecarScope {
	if m.IntN(3) > 0 {
		return nil
	}
	s := &mesh.SidecarScope{}
	for _, service := range c.Services {
		if m.IntN(2) == 0 {
			s.Services = append(s.Services, service)
		}
	}
	for _, vs := range c.VirtualServices {
		if m.IntN(2) == 0 {
			s.VirtualServices = append(s.VirtualServices, vs)
		}
	}
	return s
}

func (m meshes) service() *mesh.Service {
	s := &mesh.Service{
		Origin: m.ref("Service"), Host: m.host(), Namespace: m.namespace(), Kubernetes: m.IntN(2) == 0,
		Headless: m.IntN(4) == 0, Policy: m.policy(),
	}
	if m.IntN(3) == 0 {
		s.Aliases = []mesh.Alias{{Host: m.host(), Namespace: m.namespace()}}
	}
	for range m.IntN(3) {
		s.Addresses = append(s.Addresses, m.of("10.9.0.1", "10.9.0.2", "::9", "10.0.0.0/8", "10.9.0.1/32", "what", "0.0.0.0"))
	}
	for range m.IntN(4) {
		s.Ports = append(s.Ports, mesh.Port{Number: m.port(), Protocol: m.of("HTTP", "TCP", "GRPC")})
	}
	for _, name := range []string{"v1", "v2"}[m.IntN(3):] {
		s.Subsets = append(s.Subsets, mesh.Subset{Name: name, Labels: m.labels(), Policy: m.policy()})
	}
	return s
}

// policy spreads by hash, if at all: routes have a part in that.
func (m meshes) policy() *mesh.TrafficPolicy {
	hash := func() *mesh.TrafficPolicy {
		ttl := time.Duration(m.IntN(2)) * time.Second
		return &mesh.TrafficPolicy{LoadBalancer: &mesh.LoadBalancer{Hash: []*mesh.ConsistentHash{
			nil, {Header: "x-user"}, {SourceIP: true}, {Query: "q"}, {Cookie: &mesh.HashCookie{Name: "c", TTL: &ttl}},
		}[m.IntN(5)]}}
	}
	switch m.IntN(4) {
	case 0:
		return hash()
	case 1:
		p := hash()
		p.Ports = map[uint32]*mesh.TrafficPolicy{80: hash()}
		return p
	}
	return nil
}

func (m meshes) endpoints() (list []mesh.Endpoint) {
	for range m.IntN(4) {
		list = append(list, mesh.Endpoint{
			Address: m.of("10.0.0.1", "127.0.0.1", "::1", "not an address"),
			Ports:   map[uint32]uint32{80: m.port() % 65536, m.port(): 8080},
			Labels:  m.labels(),
			Weight:  uint32(m.IntN(3)),
		})
	}
	return list
}

func (m meshes) gateway() *mesh.Gateway {
	g := &mesh.Gateway{Origin: m.ref("Gateway"), Name: m.of("ns1/g", "ns2/g")}
	for range m.IntN(3) {
		s := mesh.Server{
			Port: mesh.Port{Number: m.port(), Protocol: "HTTP"}, Bind: m.of("", "127.0.0.1", "nowhere"),
			HTTPSRedirect: m.IntN(4) == 0,
		}
		for range 1 + m.IntN(3) {
			s.Hosts = append(s.Hosts, mesh.ServerHost{Namespace: m.of("*", "ns1"), Host: m.host()})
		}
		g.Servers = append(g.Servers, s)
	}
	return g
}

func (m meshes) virtualService() *mesh.VirtualService {
	vs := &mesh.VirtualService{
		Origin: m.ref("VirtualService"), Name: m.of("p", "q"), Namespace: m.namespace(),
		Hosts: []string{m.host(), m.host()}, Gateways: []string{m.of("ns1/g", "mesh"), m.of("ns2/g", "mesh")},
	}
	for range m.IntN(4) {
		vs.Rules = append(vs.Rules, m.rule())
	}
	return vs
}

func (m meshes) labels() map[string]string {
	if m.IntN(3) == 0 {
		return nil
	}
	return map[string]string{"version": m.of("v1", "v2")}
}

func (m meshes) destination() mesh.Destination {
	return mesh.Destination{
		Host: m.host(), Subset: m.of("", "v1", "v3"), Port: m.port(), Weight: int32(m.IntN(4) - 1), Headers: m.headers(),
	}
}

func (m meshes) headers() (h mesh.Headers) {
	ops := func() (o mesh.HeaderOps) {
		for range m.IntN(2) {
			o.Set = append(o.Set, mesh.HeaderValue{Name: m.of("x-a", "host", ":authority"), Value: m.of("v", "%REQ(x)%")})
			o.Add = append(o.Add, mesh.HeaderValue{Name: m.of("x-b", "Host"), Value: "w"})
			o.Remove = append(o.Remove, m.of("x-c", ":path"))
		}
		return o
	}
	return mesh.Headers{Request: ops(), Response: ops()}
}

func (m meshes) text() *mesh.StringMatch {
	if m.IntN(3) == 0 {
		return nil
	}
	return &mesh.StringMatch{Kind: mesh.MatchKind(m.IntN(3)), Value: m.of("/", "/a", ".*")}
}

func (m meshes) match() mesh.Match {
	match := mesh.Match{
		Name: m.of("", "m"), URI: m.text(), IgnoreURICase: m.IntN(3) == 0, StatPrefix: m.of("", "s"),
	}
	if m.IntN(3) == 0 {
		match.Method, match.Authority, match.Scheme = m.text(), m.text(), m.text()
	}
	for range m.IntN(3) {
		match.Headers = append(match.Headers, mesh.HeaderMatch{Name: m.of("x-a", "x-b"), Value: m.text()})
		match.WithoutHeaders = append(match.WithoutHeaders, mesh.HeaderMatch{Name: m.of("x-a", "x-b"), Value: m.text()})
		match.Query = append(match.Query, mesh.QueryMatch{Name: m.of("p", "q"), Value: m.text()})
	}
	switch m.IntN(9) {
	case 0:
		match.Port = m.port()
	case 1:
		match.Gateways = []string{m.of("ns1/g", "ns2/g", "mesh")}
	case 2:
		match.SourceNamespace = m.namespace()
	case 3:
		match.SourceLabels = m.labels()
	}
	return match
}

func (m meshes) rule() mesh.Rule {
	r := mesh.Rule{
		Name: m.of("", "n"), Timeout: time.Duration(m.IntN(3)) * time.Second, Headers: m.headers(),
		Place: mesh.Place{Field: "spec.http", Line: m.IntN(9)},
	}
	for range m.IntN(3) {
		r.Matches = append(r.Matches, m.match())
	}
	switch m.IntN(8) {
	case 0:
		r.Redirect = &mesh.Redirect{
			Code: 302, URI: m.of("", "/x"), PrefixRewrite: m.of("", "/y"), Scheme: m.of("", "https"), Port: m.port() % 65536,
			DerivePort: mesh.DerivePort(m.IntN(3)),
		}
	case 1:
		r.Direct = &mesh.DirectResponse{Status: 200, Body: []byte(m.of("", "b")), Bytes: m.IntN(2) == 0}
	default:
		for range m.IntN(3) {
			r.Route = append(r.Route, m.destination())
		}
	}
	m.rest(&r)
	for range m.IntN(3) {
		r.Mirrors = append(r.Mirrors, mesh.Mirror{
			Destination: m.destination(), Numerator: uint32(m.IntN(101)), Denominator: mesh.Denominator(m.IntN(2)),
		})
	}
	return r
}

// rest fills in what most rules do without.
func (m meshes) rest(r *mesh.Rule) {
	yes := m.IntN(2) == 0
	switch m.IntN(6) {
	case 0:
		r.Rewrite = &mesh.Rewrite{URI: m.of("", "/r"), Authority: m.of("", "other.example")}
	case 1:
		r.Rewrite = &mesh.Rewrite{Regex: "a(.*)", Sub: `\1`}
	case 2:
		r.Retries = &mesh.Retries{
			Attempts: int32(m.IntN(3)), RetryOn: m.of("", "5xx", "503, reset", "503"), IgnorePreviousHosts: &yes,
			RemoteLocalities: &yes, Backoff: time.Duration(m.IntN(2)) * time.Second,
			PerTryTimeout: time.Duration(m.IntN(2)) * time.Second,
		}
	case 3:
		r.Fault = &mesh.Fault{Delay: &mesh.Delay{Fixed: time.Second, Million: 1}}
		if yes {
			code := uint32(14)
			r.Fault.Abort = &mesh.Abort{GRPC: &code, Million: 1_000_000}
		} else {
			r.Fault.Abort = &mesh.Abort{Status: 503}
		}
	case 4:
		age := time.Minute
		r.CORS = &mesh.CORS{
			Origins: []mesh.StringMatch{{Kind: mesh.Exact, Value: "https://a.example"}}, Methods: []string{"GET", "PUT"},
			MaxAge: &age, Credentials: &yes, UnmatchedPreflights: mesh.UnmatchedPreflights(m.IntN(3)),
		}
	}
}

func (m meshes) options() compile.Options {
	o := compile.Options{
		Profile: compile.Profile(m.IntN(2)), Bind: m.of("", "127.0.0.1", "::1", "somewhere"), Namespace: m.of("", "ns1"),
		Labels: m.labels(), OutboundPolicy: mesh.OutboundPolicy(m.IntN(3)),
	}
	if m.IntN(2) == 0 {
		o.Ports = map[uint32]uint32{80: m.port(), 81: 8080}
	}
	if m.IntN(3) > 0 {
		o.Outbound = netip.MustParseAddrPort(m.of("127.0.0.1:8080", "[::]:80"))
	}
	return o
}

// edit makes another mesh that shares most with this one: whoever changes a resource makes a new one.
func (m meshes) edit(c mesh.Config, e mesh.Endpoints) (mesh.Config, mesh.Endpoints) {
	switch m.IntN(10) {
	case 0, 1:
		c.VirtualServices = change(m, c.VirtualServices, m.virtualService)
	case 2:
		c.VirtualServices = alter(m, c.VirtualServices, func(old, other *mesh.VirtualService) {
			switch m.IntN(4) {
			case 0:
				old.Hosts = other.Hosts
			case 1:
				old.Namespace = other.Namespace
			case 2:
				old.Gateways = other.Gateways
			case 3:
				old.Rules = other.Rules
			}
		}, m.virtualService)
	case 8:
		c.Services = alter(m, c.Services, func(old, other *mesh.Service) {
			switch m.IntN(4) {
			case 0:
				old.Ports = other.Ports
			case 1:
				old.Addresses, old.Aliases = other.Addresses, other.Aliases
			case 2:
				old.Policy, old.Subsets = other.Policy, other.Subsets
			case 3:
				old.Origin = other.Origin
			}
		}, m.service)
	case 9:
		c.Gateways = alter(m, c.Gateways, func(old, other *mesh.Gateway) {
			old.Servers = slices.Clone(old.Servers)
			for i := range min(len(old.Servers), len(other.Servers)) {
				switch m.IntN(3) {
				case 0:
					old.Servers[i].Hosts = other.Servers[i].Hosts
				case 1:
					old.Servers[i].HTTPSRedirect = other.Servers[i].HTTPSRedirect
				}
			}
		}, m.gateway)
	case 3:
		c.Services = change(m, c.Services, m.service)
	case 4:
		c.Gateways = change(m, c.Gateways, m.gateway)
	case 5:
		e = maps.Clone(e)
		e[m.host()] = m.endpoints()
	case 6:
		c.Outbound = mesh.OutboundPolicy(m.IntN(3))
	case 7:
		c.Sidecar = m.sidecar(c)
	}
	return c, e
}

// alter takes something over from another element into a copy of one.
func alter[T any](m meshes, list []*T, take func(old, other *T), another func() *T) []*T {
	list = slices.Clone(list)
	if len(list) > 0 {
		i := m.IntN(len(list))
		next := *list[i]
		take(&next, another())
		list[i] = &next
	}
	return list
}

// change adds, removes, replaces or moves an element.
func change[T any](m meshes, list []T, another func() T) []T {
	list = slices.Clone(list)
	if len(list) == 0 {
		return append(list, another())
	}
	i := m.IntN(len(list))
	switch m.IntN(4) {
	case 0:
		return slices.Insert(list, i, another())
	case 1:
		return slices.Delete(list, i, i+1)
	case 2:
		list[i] = another()
	case 3:
		j := m.IntN(len(list))
		list[i], list[j] = list[j], list[i]
	}
	return list
}
