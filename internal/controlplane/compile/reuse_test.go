// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// messages names every message that is handed on by itself.
func messages(r xds.Resources) map[string]proto.Message {
	out := map[string]proto.Message{}
	for _, l := range r.Listeners {
		out["listener "+l.GetName()] = l
	}
	for _, rc := range r.Routes {
		out["routes "+rc.GetName()] = rc
		for _, h := range rc.GetVirtualHosts() {
			out[rc.GetName()+" "+h.GetName()] = h
		}
	}
	for _, c := range r.Clusters {
		out["cluster "+c.GetName()] = c
	}
	for _, a := range r.Endpoints {
		out["endpoints "+a.GetClusterName()] = a
	}
	return out
}

// remade lists what of before is another message in after, or not there.
func remade(before, after xds.Resources) []string {
	now := messages(after)
	var list []string
	for name, m := range messages(before) {
		if now[name] != m {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// both serves three hosts at a gateway and on the outbound listener.
func both() (mesh.Config, mesh.Endpoints, *compile.Compiler) {
	c, e := large(3, 2, "default/gw", "mesh")
	c.Gateways = []*mesh.Gateway{gateway(80, 81)}
	return c, e, compile.New(compile.Options{
		Outbound: netip.MustParseAddrPort("127.0.0.1:15080"), OutboundPolicy: mesh.RegistryOnly,
	})
}

func TestOtherRulesRemakeOnlyTheVirtualHostsThatHaveThem(t *testing.T) {
	c, e, compiler := both()
	before, _ := compiler.Compile(c, e)
	c.VirtualServices = slices.Clone(c.VirtualServices)
	c.VirtualServices[1] = largeVirtualService(1, 3, []string{"default/gw", "mesh"})
	after, _ := compiler.Compile(c, e)
	host := "s1.default.svc.cluster.local"
	want := []string{
		"http.80 " + host + ":80", "http.81 " + host + ":81", "http_proxy " + host + ":80",
		"routes http.80", "routes http.81", "routes http_proxy",
	}
	if diff := cmp.Diff(want, remade(before, after)); diff != "" {
		t.Errorf("remade (-want +got):\n%s", diff)
	}
	if before.Version == after.Version {
		t.Error("the version is the same")
	}
}

func TestAnotherHostLeavesTheVirtualHostsOfOthers(t *testing.T) {
	c, e, compiler := both()
	before, _ := compiler.Compile(c, e)
	more, _ := large(4, 2, "default/gw", "mesh")
	c.Services = append(slices.Clone(c.Services), more.Services[3])
	c.VirtualServices = append(slices.Clone(c.VirtualServices), more.VirtualServices[3])
	after, _ := compiler.Compile(c, e)
	want := []string{"routes http.80", "routes http.81", "routes http_proxy"}
	if diff := cmp.Diff(want, remade(before, after)); diff != "" {
		t.Errorf("remade (-want +got):\n%s", diff)
	}
}

func TestOtherEndpointsLeaveTheRoutes(t *testing.T) {
	c, e, compiler := both()
	before, _ := compiler.Compile(c, e)
	e = maps.Clone(e)
	host := c.Services[2].Host
	e[host] = []mesh.Endpoint{endpoint("10.0.0.9", 80, 80)}
	after, _ := compiler.Compile(c, e)
	want := []string{"endpoints outbound|80||" + host}
	if diff := cmp.Diff(want, remade(before, after)); diff != "" {
		t.Errorf("remade (-want +got):\n%s", diff)
	}
}

// TestWhatRulesLookedUpIsAskedAgain changes what the routes of a virtual service depend on beside itself.
func TestWhatRulesLookedUpIsAskedAgain(t *testing.T) {
	portless := virtualService("v", mesh.Rule{
		Route:   []mesh.Destination{to("x.example", 0)},
		Mirrors: []mesh.Mirror{{Destination: to("m.example", 0), Numerator: 100}},
	})
	c := mesh.Config{
		Services: []*mesh.Service{service("x", "x.example", 8000), service("m", "m.example", 9000)},
		Gateways: []*mesh.Gateway{gateway(80)}, VirtualServices: []*mesh.VirtualService{portless},
	}
	e := mesh.Endpoints{"m.example": {endpoint("10.0.0.1", 9000, 80), endpoint("10.0.0.1", 9001, 80)}}
	compiler := compile.New(compile.Options{})
	action := func() string {
		r, problems := compiler.Compile(c, e)
		a := r.Routes[0].GetVirtualHosts()[0].GetRoutes()[0].GetRoute()
		s := a.GetCluster()
		for _, m := range a.GetRequestMirrorPolicies() {
			s += " + " + m.GetCluster()
		}
		for _, p := range a.GetHashPolicy() {
			s += " by " + p.GetHeader().GetHeaderName()
		}
		return fmt.Sprintf("%s, %d problems", s, len(problems))
	}
	check := func(what, want string) {
		t.Helper()
		if got := action(); got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	check("first", "outbound|8000||x.example + outbound|9000||m.example, 0 problems")

	c.Services = []*mesh.Service{service("x", "x.example", 8001), c.Services[1]}
	check("the destination's only port is another", "outbound|8001||x.example + outbound|9000||m.example, 0 problems")

	hashed := service("x", "x.example", 8001)
	hashed.Policy = &mesh.TrafficPolicy{LoadBalancer: &mesh.LoadBalancer{Hash: &mesh.ConsistentHash{Header: "user"}}}
	c.Services = []*mesh.Service{hashed, c.Services[1]}
	check("the destination is chosen by hash", "outbound|8001||x.example + outbound|9000||m.example by user, 0 problems")

	c.Services = []*mesh.Service{hashed, service("m", "m.example", 9001)}
	check("the mirror's only port is another", "outbound|8001||x.example + outbound|9001||m.example by user, 0 problems")

	e = mesh.Endpoints{"m.example": {endpoint("127.0.0.1", 9001, 80)}}
	check("the mirror has come to lead back", "outbound|8001||x.example by user, 1 problems")

	e = mesh.Endpoints{"m.example": {endpoint("127.0.0.1", 9001, 81)}}
	check("the mirror does not lead back", "outbound|8001||x.example + outbound|9001||m.example by user, 0 problems")

	c.Gateways = []*mesh.Gateway{gateway(80, 81)}
	check("a listener has come where the mirror leads", "outbound|8001||x.example by user, 1 problems")

	c.Services = c.Services[:1]
	check("the mirror's service is gone", "outbound|8001||x.example + outbound|80||m.example by user, 0 problems")
}

func TestAProblemIsSaidAgainWhileItIsThere(t *testing.T) {
	v := virtualService("v", mesh.Rule{Route: []mesh.Destination{to("x.example", 80)}},
		mesh.Rule{Route: []mesh.Destination{to("x.example", 80)}})
	w := virtualService("w", mesh.Rule{Route: []mesh.Destination{to("x.example", 80)}})
	v.Gateways, w.Gateways = []string{"default/gw", "mesh"}, []string{"default/gw", "mesh"}
	c := mesh.Config{
		Services: []*mesh.Service{service("x", "x.example", 80), service("y", "y.x.example", 80)},
		Gateways: []*mesh.Gateway{gateway(80)}, VirtualServices: []*mesh.VirtualService{v, w},
	}
	compiler := compile.New(compile.Options{Outbound: netip.MustParseAddrPort("127.0.0.1:15080")})
	_, first := compiler.Compile(c, nil)
	_, again := compiler.Compile(c, nil)
	if len(first) != 3 {
		t.Errorf("got %q, want three problems", texts(first))
	}
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("other problems the second time:\n%s", diff)
	}
	c.VirtualServices = c.VirtualServices[1:]
	if _, problems := compiler.Compile(c, nil); len(problems) > 0 {
		t.Errorf("got %q, want none", texts(problems))
	}
}

// TestWhoHasAHostIsFoundAnew changes whom the hosts of a virtual service are for without changing the hosts.
func TestWhoHasAHostIsFoundAnew(t *testing.T) {
	rule := func(name string, gateways ...string) mesh.Rule {
		return mesh.Rule{Name: name, Matches: []mesh.Match{{Gateways: gateways}}, Route: []mesh.Destination{to("x", 80)}}
	}
	at := func(namespace string, rules ...mesh.Rule) *mesh.VirtualService {
		vs := virtualService("v", rules...)
		vs.Namespace, vs.Gateways = namespace, []string{"default/gw", "default/other"}
		return vs
	}
	first, other := gateway(80), gateway(80)
	other.Name = "default/other"
	other.Servers[0].Hosts = []mesh.ServerHost{{Namespace: "default", Host: "*"}}
	compiler := compile.New(compile.Options{})
	for _, step := range []struct {
		vs   *mesh.VirtualService
		want string
	}{
		{at("default", rule("a"), rule("b")), "a"},
		{at("default", rule("a", "default/gw"), rule("b", "default/other")), "a b"},
		{at("elsewhere", rule("a", "default/gw"), rule("b", "default/other")), "a"},
		{at("default", rule("a", "default/gw"), rule("b", "default/other")), "a b"},
	} {
		r, _ := compiler.Compile(mesh.Config{
			Gateways: []*mesh.Gateway{first, other}, VirtualServices: []*mesh.VirtualService{step.vs},
		}, nil)
		var names []string
		for _, route := range r.Routes[0].GetVirtualHosts()[0].GetRoutes() {
			names = append(names, route.GetName())
		}
		if got := strings.Join(names, " "); got != step.want {
			t.Errorf("namespace %s: got routes %q, want %q", step.vs.Namespace, got, step.want)
		}
	}
}

func TestRulesThatCameToBeUnusedAreSaid(t *testing.T) {
	x := []string{"x.example"}
	rule := mesh.Rule{Route: []mesh.Destination{to("x.example", 80)}}
	s, second := service("x", "x.example", 80, 81), forSidecars("second", x, rule)
	compiler := compile.New(compile.Options{Outbound: netip.MustParseAddrPort("127.0.0.1:15080")})
	for _, step := range []struct {
		first mesh.Rule
		want  int
	}{{onPort(80, rule), 0}, {rule, 1}, {onPort(80, rule), 0}} {
		_, problems := compiler.Compile(mesh.Config{
			Services: []*mesh.Service{s}, VirtualServices: []*mesh.VirtualService{forSidecars("first", x, step.first), second},
		}, nil)
		if len(problems) != step.want {
			t.Errorf("got problems %q, want %d", texts(problems), step.want)
		}
	}
}

func TestAnotherNamespaceMayLoseAHost(t *testing.T) {
	g := gateway(80)
	g.Servers[0].Hosts = []mesh.ServerHost{{Namespace: "*", Host: "a"}, {Namespace: "default", Host: "b"}}
	compiler := compile.New(compile.Options{})
	for namespace, want := range map[string]string{"default": "a b", "elsewhere": "a"} {
		vs := virtualService("v", mesh.Rule{Route: []mesh.Destination{to("x", 80)}})
		vs.Namespace, vs.Hosts = namespace, []string{"a", "b"}
		r, _ := compiler.Compile(mesh.Config{
			Gateways: []*mesh.Gateway{g}, VirtualServices: []*mesh.VirtualService{vs},
		}, nil)
		if got := strings.Join(r.Routes[0].GetVirtualHosts()[0].GetDomains(), " "); got != want {
			t.Errorf("namespace %s: got domains %q, want %q", namespace, got, want)
		}
	}
}

func TestAListenerIsTheSameMessageWhileItIsThereAndForgottenAfter(t *testing.T) {
	b := compile.New(compile.Options{})
	listener := func(ports ...uint32) proto.Message {
		r, problems := b.Compile(mesh.Config{Gateways: []*mesh.Gateway{gateway(ports...)}}, nil)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return messages(r)["listener 0.0.0.0_80"]
	}
	first := listener(80)
	if listener(80, 81) != first {
		t.Error("the listener that stays is made anew")
	}
	if listener(81) != nil {
		t.Fatal("the listener that goes is there")
	}
	if again := listener(80); again == first || !proto.Equal(again, first) {
		t.Error("a listener that was gone is kept, or is another one")
	}
}
