// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/xds"
)

func ref(kind, name string) mesh.Ref {
	return mesh.Ref{Kind: kind, Namespace: "default", Name: name, File: "f.yaml", Line: 1}
}

func service(name, host string, ports ...uint32) *mesh.Service {
	s := &mesh.Service{Origin: ref("ServiceEntry", name), Host: host, Namespace: "default"}
	for _, p := range ports {
		s.Ports = append(s.Ports, mesh.Port{Number: p, Name: "http", Protocol: "HTTP"})
	}
	return s
}

func gateway(ports ...uint32) *mesh.Gateway {
	g := &mesh.Gateway{Origin: ref("Gateway", "gw"), Name: "default/gw"}
	for i, p := range ports {
		g.Servers = append(g.Servers, mesh.Server{
			Place: mesh.Place{Field: fmt.Sprintf("spec.servers[%d]", i), Line: 5 + i},
			Port:  mesh.Port{Number: p, Name: "http", Protocol: "HTTP"},
			Hosts: []mesh.ServerHost{{Namespace: "*", Host: "*"}},
		})
	}
	return g
}

func virtualService(name string, rules ...mesh.Rule) *mesh.VirtualService {
	for i := range rules {
		rules[i].Place = mesh.Place{Field: fmt.Sprintf("spec.http[%d]", i), Line: 7 + i}
	}
	return &mesh.VirtualService{
		Origin: ref("VirtualService", name), Name: name, Namespace: "default",
		Hosts: []string{"*"}, Gateways: []string{"default/gw"}, Rules: rules,
	}
}

func to(host string, port uint32) mesh.Destination { return mesh.Destination{Host: host, Port: port} }

func endpoint(ip string, port, number uint32) mesh.Endpoint {
	return mesh.Endpoint{Address: ip, Ports: map[uint32]uint32{port: number}}
}

func texts(problems []mesh.Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}

func names(r xds.Resources) (listeners []string) {
	for _, l := range r.Listeners {
		listeners = append(listeners, l.GetName())
	}
	return listeners
}

// elsewhere is what to do about a server whose address cannot be served.
const elsewhere = "give the server another port or bind, or map its port to another one with --port"

func TestGatewayAtTheOutboundAddressIsAnErrorAndLeftOut(t *testing.T) {
	r, problems := compile.Compile(mesh.Config{Gateways: []*mesh.Gateway{gateway(80, 81)}}, nil, compile.Options{
		Bind:     "127.0.0.1",
		Outbound: netip.MustParseAddrPort("127.0.0.1:80"),
	})
	if diff := cmp.Diff([]string{"127.0.0.1_80", "127.0.0.1_81"}, names(r)); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"f.yaml:5: error: Gateway default/gw: spec.servers[0]: port 80 would be served at " +
		"127.0.0.1:80, which is the outbound listener's address; " + elsewhere}, texts(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestServerOnAnAddressThatIsCoveredIsAnErrorAndLeftOut(t *testing.T) {
	f := func(binds, want, problem string) {
		t.Helper()
		var ports []uint32
		for range strings.Fields(binds) {
			ports = append(ports, 80)
		}
		g := gateway(ports...)
		for i, b := range strings.Fields(binds) {
			g.Servers[i].Bind = b
		}
		r, problems := compile.Compile(mesh.Config{Gateways: []*mesh.Gateway{g}}, nil, compile.Options{
			Outbound: netip.MustParseAddrPort("127.0.0.1:81"),
		})
		if got := strings.Join(names(r), " "); got != want {
			t.Errorf("%s: listeners %s, want %s", binds, got, want)
		}
		if got := strings.Join(texts(problems), "\n"); !strings.Contains(got, problem) || (got == "") != (problem == "") {
			t.Errorf("%s: problems %s, want %s", binds, got, problem)
		}
	}
	f("0.0.0.0 127.0.0.1", "0.0.0.0_80 127.0.0.1_81",
		"spec.servers[1]: port 80 would be served at 127.0.0.1:80, but there is a listener at 0.0.0.0:80")
	f("127.0.0.1 ::", "127.0.0.1_80 127.0.0.1_81",
		"spec.servers[1]: port 80 would be served at [::]:80, but there is a listener at 127.0.0.1:80")
	f("127.0.0.1 127.0.0.1 10.0.0.1", "10.0.0.1_80 127.0.0.1_80 127.0.0.1_81", "")
	f("0.0.0.0 ::1", "0.0.0.0_80 127.0.0.1_81 ::1_80", "")
}

func TestServerWithoutAnAddressIsAnErrorAndLeftOut(t *testing.T) {
	g := gateway(80, 81, 82)
	g.Servers[1].Bind = "unix:///x"
	r, problems := compile.Compile(mesh.Config{Gateways: []*mesh.Gateway{g}}, nil, compile.Options{
		Ports: map[uint32]uint32{82: 70000},
	})
	if diff := cmp.Diff([]string{"0.0.0.0_80"}, names(r)); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		`f.yaml:6: error: Gateway default/gw: spec.servers[1]: bind "unix:///x" is not an IP address; ` + elsewhere,
		`f.yaml:7: error: Gateway default/gw: spec.servers[2]: port 70000 is not between 1 and 65535; ` + elsewhere,
	}, texts(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestServersBindNamesListenerAndRoutes(t *testing.T) {
	g := gateway(80)
	g.Servers[0].Bind = "10.0.0.1"
	r, _ := compile.Compile(mesh.Config{Gateways: []*mesh.Gateway{g}}, nil, compile.Options{})
	if diff := cmp.Diff([]string{"10.0.0.1_80"}, names(r)); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	if len(r.Routes) != 1 || r.Routes[0].GetName() != "http.80.10.0.0.1" {
		t.Errorf("got routes %v, want http.80.10.0.0.1", r.Routes)
	}
}

func TestRuleWhoseWeightsDoNotAddUpIsAnErrorAndLeftOut(t *testing.T) {
	const most = 1<<31 - 1
	for _, weights := range [][]int32{{0, 0}, {-1, 0}, {most, most, most}} {
		var route []mesh.Destination
		for _, w := range weights {
			route = append(route, mesh.Destination{Host: "x.example", Port: 80, Weight: w})
		}
		vs := virtualService("v", mesh.Rule{Route: route})
		r, problems := compile.Compile(mesh.Config{
			Services: []*mesh.Service{service("x", "x.example", 80)},
			Gateways: []*mesh.Gateway{gateway(80)}, VirtualServices: []*mesh.VirtualService{vs},
		}, nil, compile.Options{})
		if len(problems) != 1 || problems[0].Severity != mesh.Error || problems[0].Field != "spec.http[0].route" {
			t.Errorf("%v: got problems %v, want one error at spec.http[0].route", weights, texts(problems))
		}
		if host := r.Routes[0].GetVirtualHosts()[0]; host.GetName() != "blackhole:80" {
			t.Errorf("%v: got virtual host %v, want blackhole:80", weights, host)
		}
		if err := r.Validate(); err != nil {
			t.Errorf("%v: %v", weights, err)
		}
	}
}

func TestAnswerForUnknownPortsFitsADirectResponse(t *testing.T) {
	var ports []uint32
	for p := range uint32(1000) {
		ports = append(ports, 60000+p)
	}
	s := service("many", strings.Repeat("long.", 49)+"example", ports...)
	r, _ := compile.Compile(mesh.Config{Services: []*mesh.Service{s}}, nil, compile.Options{
		Outbound: netip.MustParseAddrPort("127.0.0.1:15080"),
	})
	var host *routev3.VirtualHost
	for _, h := range r.Routes[0].GetVirtualHosts() {
		if strings.HasSuffix(h.GetName(), ":*") {
			host = h
		}
	}
	body := host.GetRoutes()[0].GetDirectResponse().GetBody().GetInlineString()
	// envoy.config.route.v3.RouteConfiguration.max_direct_response_body_size_bytes, its default
	if len(body) > 4096 || !strings.Contains(body, "60000") {
		t.Errorf("got a body of %d bytes, want at most 4096 with the first ports: %.80s", len(body), body)
	}
}

func TestMirrorThatLeadsBackIsFoundByAddressAndPort(t *testing.T) {
	loops := func(t *testing.T, listen, target string, local ...netip.Addr) bool {
		l, a := netip.MustParseAddrPort(listen), netip.MustParseAddrPort(target)
		vs := virtualService("v", mesh.Rule{
			Route:   []mesh.Destination{to("prod.example", 80)},
			Mirrors: []mesh.Mirror{{Destination: to("test.example", 80), Numerator: 100}},
		})
		r, problems := compile.Compile(mesh.Config{
			Services:        []*mesh.Service{service("prod", "prod.example", 80), service("test", "test.example", 80)},
			Gateways:        []*mesh.Gateway{gateway(80)},
			VirtualServices: []*mesh.VirtualService{vs},
		}, mesh.Endpoints{"test.example": {endpoint("10.9.9.9", 80, 1), endpoint(a.Addr().String(), 80, uint32(a.Port()))}},
			compile.Options{Bind: l.Addr().String(), Ports: map[uint32]uint32{80: uint32(l.Port())}, Local: local})
		mirrors := r.Routes[0].GetVirtualHosts()[0].GetRoutes()[0].GetRoute().GetRequestMirrorPolicies()
		switch {
		case len(problems) == 0 && len(mirrors) == 1:
			return false
		case len(problems) == 1 && len(mirrors) == 0 && problems[0].Severity == mesh.Error &&
			strings.Contains(problems[0].Message, fmt.Sprintf("sends copies back to listener %s_%d", l.Addr(), l.Port())):
			return true
		}
		t.Fatalf("%s to %s: got %d mirrors and problems %v", target, listen, len(mirrors), texts(problems))
		return false
	}
	own := netip.MustParseAddr("10.0.0.7")
	for _, c := range []struct {
		listen, target string
		local          []netip.Addr
	}{
		{"127.0.0.1:8080", "127.0.0.1:8080", nil},
		{"127.0.0.1:8080", "0.0.0.0:8080", nil},
		{"127.0.0.1:8080", "[::ffff:127.0.0.1]:8080", nil},
		{"0.0.0.0:8080", "127.0.0.9:8080", nil},
		{"0.0.0.0:8080", "10.0.0.7:8080", []netip.Addr{own}},
		{"[::]:8080", "[::1]:8080", nil},
		{"10.0.0.7:8080", "10.0.0.7:8080", nil},
	} {
		if !loops(t, c.listen, c.target, c.local...) {
			t.Errorf("%s: a mirror to %s was not seen as leading back", c.listen, c.target)
		}
	}
	for _, c := range []struct {
		listen, target string
		local          []netip.Addr
	}{
		{"127.0.0.1:8080", "127.0.0.1:8081", nil},
		{"127.0.0.1:8080", "127.0.0.2:8080", nil},
		{"0.0.0.0:8080", "10.0.0.7:8080", nil},
		{"10.0.0.7:8080", "127.0.0.1:8080", []netip.Addr{own}},
		{"10.0.0.7:8080", "0.0.0.0:8080", nil},
	} {
		if loops(t, c.listen, c.target, c.local...) {
			t.Errorf("%s: a mirror to %s was seen as leading back", c.listen, c.target)
		}
	}
}

func TestMirrorToASubsetLeadsBackOnlyByTheSubsetsEndpoints(t *testing.T) {
	s := service("x", "x.example", 80)
	s.Subsets = []mesh.Subset{
		{Name: "self", Labels: map[string]string{"at": "home"}},
		{Name: "away", Labels: map[string]string{"at": "away"}},
	}
	home, away := endpoint("127.0.0.1", 80, 80), endpoint("10.0.0.1", 80, 80)
	home.Labels, away.Labels = map[string]string{"at": "home"}, map[string]string{"at": "away"}
	for subset, want := range map[string]int{"self": 1, "away": 0, "unknown": 0, "": 1} {
		vs := virtualService("v", mesh.Rule{
			Route:   []mesh.Destination{to("x.example", 80)},
			Mirrors: []mesh.Mirror{{Destination: mesh.Destination{Host: "x.example", Subset: subset}, Numerator: 100}},
		})
		_, problems := compile.Compile(mesh.Config{
			Services: []*mesh.Service{s}, Gateways: []*mesh.Gateway{gateway(80)}, VirtualServices: []*mesh.VirtualService{vs},
		}, mesh.Endpoints{"x.example": {home, away}}, compile.Options{})
		if len(problems) != want {
			t.Errorf("subset %q: got %v, want %d problems", subset, texts(problems), want)
		}
	}
}

func TestProblemOfARuleIsSaidOnceHoweverManyHostsItServes(t *testing.T) {
	d := to("x.example", 0)
	d.Place = mesh.Place{Field: "spec.http[0].route[0].destination", Line: 9}
	vs := virtualService("v", mesh.Rule{Route: []mesh.Destination{d}})
	vs.Hosts = []string{"one.example", "two.example"}
	g := gateway(80)
	g.Servers[0].Hosts = append(g.Servers[0].Hosts, mesh.ServerHost{Namespace: "*", Host: "one.example"})
	_, problems := compile.Compile(mesh.Config{
		Services: []*mesh.Service{service("x", "x.example", 8001, 8002)},
		Gateways: []*mesh.Gateway{g, g}, VirtualServices: []*mesh.VirtualService{vs},
	}, nil, compile.Options{})
	if diff := cmp.Diff([]string{"f.yaml:9: error: VirtualService default/v: spec.http[0].route[0].destination: " +
		"without a port it goes to port 80, which is none of x.example that carries HTTP; give a port.number: 8001, 8002",
	}, texts(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if problems[0].Severity != mesh.Unresolved {
		t.Errorf("got severity %d, want unresolved: run goes on", problems[0].Severity)
	}
}

func TestSidecarRulesWithoutAnOutboundListenerAreNoted(t *testing.T) {
	vs := virtualService("v", mesh.Rule{Route: []mesh.Destination{to("x.example", 80)}})
	vs.Hosts, vs.Gateways = []string{"x.example"}, []string{"mesh"}
	c := mesh.Config{
		Services: []*mesh.Service{service("x", "x.example", 80)}, VirtualServices: []*mesh.VirtualService{vs},
	}
	_, problems := compile.Compile(c, nil, compile.Options{})
	if diff := cmp.Diff([]string{"f.yaml:1: note: VirtualService default/v: spec.gateways: is for sidecars, and " +
		"there is no outbound listener: it is not served there; name a gateway too, or run with --outbound"}, texts(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	_, problems = compile.Compile(c, nil, compile.Options{Outbound: netip.MustParseAddrPort("127.0.0.1:15080")})
	if len(problems) > 0 {
		t.Errorf("with an outbound listener: got problems %v, want none", texts(problems))
	}
}

func TestAPortThatNoGatewayHasIsWarnedOf(t *testing.T) {
	gateway := &mesh.Gateway{Name: "default/g", Servers: []mesh.Server{{
		Port: mesh.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: []mesh.ServerHost{{Namespace: "*", Host: "*"}},
	}}}
	_, problems := compile.Compile(mesh.Config{Gateways: []*mesh.Gateway{gateway}}, nil,
		compile.Options{Ports: map[uint32]uint32{80: 8080, 81: 8089}})
	if len(problems) != 1 ||
		problems[0].String() != "--port 81=8089: warning: no Gateway has port 81; name the port of a Gateway's server" {
		t.Errorf("%v", problems)
	}
}

func TestManyVirtualServicesOfOneHostKeepTheirOrderWhateverServersTheyComeBy(t *testing.T) {
	g := gateway(80, 80)
	var list []*mesh.VirtualService
	var want []string
	for i := range 40 {
		name := fmt.Sprintf("v%d", i)
		want = append(want, name)
		list = append(list, virtualService(name, mesh.Rule{
			Name: name, Matches: []mesh.Match{{URI: &mesh.StringMatch{Value: "/" + name}}},
			Route: []mesh.Destination{to("x.example", 80)},
		}))
	}
	r, _ := compile.Compile(mesh.Config{Gateways: []*mesh.Gateway{g}, VirtualServices: list}, nil, compile.Options{})
	var got []string
	for _, route := range r.Routes[0].GetVirtualHosts()[0].GetRoutes() {
		got = append(got, route.GetName())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestAMatchOnSourceLabelsIsNotedWhereTheProxysAreNotKnown(t *testing.T) {
	rule := mesh.Rule{
		Matches: []mesh.Match{{
			Place: mesh.Place{Field: "spec.http[0].match[0]", Line: 8}, SourceLabels: map[string]string{"app": "web"},
		}},
		Route: []mesh.Destination{to("x.example", 80)},
	}
	f := func(labels map[string]string, routes int, want ...string) {
		t.Helper()
		r, problems := compile.Compile(mesh.Config{
			Gateways: []*mesh.Gateway{gateway(80)}, VirtualServices: []*mesh.VirtualService{virtualService("v", rule)},
		}, nil, compile.Options{Labels: labels})
		if got := len(r.Routes[0].GetVirtualHosts()[0].GetRoutes()); got != routes {
			t.Errorf("labels %v: got %d routes, want %d", labels, got, routes)
		}
		if diff := cmp.Diff(want, texts(problems)); diff != "" {
			t.Errorf("labels %v: problems (-want +got):\n%s", labels, diff)
		}
	}
	f(nil, 0, "f.yaml:8: note: VirtualService default/v: spec.http[0].match[0]: is for proxies with certain labels, and "+
		"this one was given none: it never matches; run with --labels")
	f(map[string]string{}, 0)
	f(map[string]string{"app": "other"}, 0)
	f(map[string]string{"app": "web", "version": "v1"}, 1)
}

func TestAProblemOfADelegatesRuleIsTheDelegates(t *testing.T) {
	all := mesh.Rule{Route: []mesh.Destination{to("x.example", 80)}}
	vs := virtualService("root", all, all, all)
	vs.Rules[0].Origin, vs.Rules[2].Origin = ref("VirtualService", "one"), ref("VirtualService", "two")
	_, problems := compile.Compile(mesh.Config{
		Gateways: []*mesh.Gateway{gateway(80)}, VirtualServices: []*mesh.VirtualService{vs},
	}, nil, compile.Options{})
	if diff := cmp.Diff([]string{
		"f.yaml:8: warning: VirtualService default/root: spec.http[1]: is never reached: spec.http[0] of VirtualService " +
			"default/one takes every request before it; put it first, or remove it",
		"f.yaml:9: warning: VirtualService default/two: spec.http[2]: is never reached: spec.http[0] of VirtualService " +
			"default/one takes every request before it; put it first, or remove it",
	}, texts(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestACatchAllOnOnePortHidesNothingOnOthers(t *testing.T) {
	all := mesh.Rule{Route: []mesh.Destination{to("x.example", 80)}}
	vs := virtualService("v", onPort(80, all), all)
	_, problems := compile.Compile(mesh.Config{
		Gateways: []*mesh.Gateway{gateway(80)}, VirtualServices: []*mesh.VirtualService{vs},
	}, nil, compile.Options{})
	if len(problems) > 0 {
		t.Errorf("got problems %q, want none", texts(problems))
	}
}
