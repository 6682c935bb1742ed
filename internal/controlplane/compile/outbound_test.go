// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// outboundHosts lists the virtual hosts of the outbound listener with the destinations of their routes, but for those
// that answer for unknown ports and hosts.
func outboundHosts(t *testing.T, c mesh.Config) ([]string, []mesh.Problem) {
	t.Helper()
	r, problems := compile.Compile(c, nil, compile.Options{Outbound: netip.MustParseAddrPort("127.0.0.1:15080")})
	if len(r.Routes) != 1 {
		t.Fatalf("got %d route configurations, want 1", len(r.Routes))
	}
	var list []string
	for _, h := range r.Routes[0].GetVirtualHosts() {
		if strings.HasSuffix(h.GetName(), ":*") || h.GetName() == "allow_any" {
			continue
		}
		s := h.GetName()
		for _, route := range h.GetRoutes() {
			s += " " + route.GetRoute().GetCluster()
		}
		list = append(list, s)
	}
	return list, problems
}

func forSidecars(name string, hosts []string, rules ...mesh.Rule) *mesh.VirtualService {
	vs := virtualService(name, rules...)
	vs.Hosts, vs.Gateways = hosts, []string{"mesh"}
	return vs
}

func onPort(port uint32, rule mesh.Rule) mesh.Rule {
	rule.Matches = []mesh.Match{{Port: port}}
	return rule
}

func TestAHostThatNoServiceHasIsServedOnPortsOfItsVirtualServicesServices(t *testing.T) {
	toX := mesh.Rule{Route: []mesh.Destination{to("x.example", 8000)}}
	f := func(hosts []string, rule mesh.Rule, want ...string) {
		t.Helper()
		got, _ := outboundHosts(t, mesh.Config{
			Services:        []*mesh.Service{service("x", "x.example", 8000)},
			VirtualServices: []*mesh.VirtualService{forSidecars("v", hosts, rule)},
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", hosts, diff)
		}
	}
	x, own := "outbound|8000||x.example", "x.example:8000 outbound|8000||x.example"
	f([]string{"alias"}, toX, "alias:80 "+x, own)
	f([]string{"alias", "x.example"}, toX, "alias:80 "+x, "alias:8000 "+x, own)
	f([]string{"alias", "*.example"}, toX, "*.example:80 "+x, "alias:80 "+x, "alias:8000 "+x, own)
	f([]string{"*.other"}, toX, "*.other:80 "+x, own)
	f([]string{"alias"}, onPort(8000, toX), own)
	f([]string{"alias", "x.example"}, onPort(8000, toX), "alias:8000 "+x, own)
}

func TestAPortForWhichTheFirstRulesSayNothingHasTheNext(t *testing.T) {
	rule := func(to string) mesh.Rule { return mesh.Rule{Route: []mesh.Destination{{Host: to, Port: 1}}} }
	x := []string{"x.example"}
	c := mesh.Config{
		Services: []*mesh.Service{service("x", "x.example", 80, 81, 82)},
		VirtualServices: []*mesh.VirtualService{
			forSidecars("first", x, onPort(80, rule("first"))), forSidecars("second", x, onPort(81, rule("second"))),
			forSidecars("third", x, onPort(80, rule("third"))),
		},
	}
	got, problems := outboundHosts(t, c)
	if diff := cmp.Diff([]string{
		"x.example:80 outbound|1||first", "x.example:81 outbound|1||second", "x.example:82 outbound|82||x.example",
	}, got); diff != "" {
		t.Errorf("virtual hosts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{`f.yaml:1: warning: VirtualService default/third: host "x.example" already has the ` +
		"rules of VirtualService default/first, which comes first: these are not used; put the rules of a host into one " +
		"virtual service"}, texts(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestADomainThatTwoServicesWouldHaveIsSaid(t *testing.T) {
	a, b := service("a", "a.example", 80), service("b", "b.example", 80)
	a.Addresses, b.Addresses = []string{"10.0.0.1"}, []string{"10.0.0.2", "10.0.0.1"}
	_, problems := outboundHosts(t, mesh.Config{Services: []*mesh.Service{a, b}})
	var want []string
	for _, d := range []string{"10.0.0.1", "10.0.0.1:*", "10.0.0.1:80"} {
		host := "b.example:80"
		if strings.HasSuffix(d, "*") {
			host = "b.example:*"
		}
		want = append(want, fmt.Sprintf(`f.yaml:1: warning: ServiceEntry default/b: requests for %q go to `+
			"ServiceEntry default/a, not to %s; use the full name in the request", d, host))
	}
	if diff := cmp.Diff(want, texts(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestAnAliasIsServedByTheServiceUnlessItHasRulesOfItsOwn(t *testing.T) {
	s := service("x", "x.example", 80)
	s.Aliases = []mesh.Alias{
		{Host: "plain.default.svc.cluster.local", Namespace: "default"},
		{Host: "ruled.default.svc.cluster.local", Namespace: "default"},
	}
	rules := forSidecars("v", []string{"ruled.default.svc.cluster.local"},
		mesh.Rule{Name: "own", Route: []mesh.Destination{to("plain.default.svc.cluster.local", 0)}})
	r, problems := compile.Compile(mesh.Config{
		Services: []*mesh.Service{s}, VirtualServices: []*mesh.VirtualService{rules},
	}, nil, compile.Options{Outbound: netip.MustParseAddrPort("127.0.0.1:15080")})
	owner := map[string]string{}
	for _, h := range r.Routes[0].GetVirtualHosts() {
		for _, d := range h.GetDomains() {
			owner[d] = h.GetName() + " " + h.GetRoutes()[0].GetName() + " " + h.GetRoutes()[0].GetRoute().GetCluster()
		}
	}
	for domain, want := range map[string]string{
		"x.example": "x.example:80 default outbound|80||x.example",
		"plain":     "x.example:80 default outbound|80||x.example",
		"ruled":     "ruled.default.svc.cluster.local:80 own outbound|80||x.example",
	} {
		if owner[domain] != want {
			t.Errorf("%s: got %s, want %s", domain, owner[domain], want)
		}
	}
	if len(problems) > 0 {
		t.Errorf("problems %q", texts(problems))
	}
}

func TestASidecarsPolicyGoesBeforeTheProxys(t *testing.T) {
	for _, c := range []struct {
		sidecar, proxy mesh.OutboundPolicy
		want           string
	}{
		{mesh.OutboundUnset, mesh.OutboundUnset, "allow_any"}, {mesh.OutboundUnset, mesh.RegistryOnly, "block_all"},
		{mesh.AllowAny, mesh.RegistryOnly, "allow_any"}, {mesh.RegistryOnly, mesh.AllowAny, "block_all"},
	} {
		r, _ := compile.Compile(mesh.Config{Outbound: c.sidecar}, nil, compile.Options{
			Outbound: netip.MustParseAddrPort("127.0.0.1:15080"), OutboundPolicy: c.proxy,
		})
		if got := r.Routes[0].GetVirtualHosts()[0].GetName(); got != c.want {
			t.Errorf("Sidecar %d, proxy %d: got %s, want %s", c.sidecar, c.proxy, got, c.want)
		}
	}
}
