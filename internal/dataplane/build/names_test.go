// SPDX-License-Identifier: Apache-2.0

package build

import (
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/xds"
)

const byHeader = `
clusters: [{name: a}, {name: b}]
routes:
- name: r
  virtual_hosts:
  - name: v
    domains: ["*"]
    routes:
    - match: {prefix: /}
      route: {cluster_header: X-To, request_mirror_policies: [{cluster_header: x-copy}]}
`

func actionOf(t *testing.T, b *Builder, routes string) *proxy.Action {
	t.Helper()
	h := codec.Head{Method: []byte("GET"), Authority: []byte("h"), Target: []byte("/")}
	a, out := b.slots[routes].Load().Match(&h, 0)
	if out != route.Found {
		t.Fatal("no route")
	}
	return a
}

func TestRequestsFindTheClustersInForceByName(t *testing.T) {
	f, b := newFar()
	r := resourcesOf(t, byHeader)
	mustApply(t, b, r)
	a := actionOf(t, b, "r")
	if a.ClusterHeader != "x-to" || a.Mirrors[0].ClusterHeader != "x-copy" || a.Mirrors[0].Target != nil {
		t.Errorf("action %+v", a)
	}
	name, copies := []byte("b"), a.Mirrors[0].Named
	if got := a.Named(name); got != f.slots["b"] {
		t.Errorf("b is at %v", got)
	}
	if got := copies(name); got == nil || f.targets[got] != f.slots["b"] {
		t.Errorf("copies for b go to %v", got)
	}
	if a.Named([]byte("c")) != nil || copies([]byte("c")) != nil {
		t.Error("there is a cluster c")
	}
	if n := testing.AllocsPerRun(100, func() { a.Named(name); copies(name) }); n != 0 {
		t.Errorf("%v allocations", n)
	}

	next := resourcesOf(t, "clusters: [{name: c}]")
	next.Routes, next.Clusters = r.Routes, append(next.Clusters, r.Clusters[0])
	mustApply(t, b, next)
	if a.Named(name) != nil || copies(name) != nil {
		t.Error("b is still there")
	}
	if a.Named([]byte("c")) != f.slots["c"] || copies([]byte("c")) == nil {
		t.Error("c is not there")
	}
}

func TestARouteInForceFindsItsClustersFromItsFirstRequestOn(t *testing.T) {
	f, b := newFar()
	r := resourcesOf(t, minimal)
	r.Clusters = resourcesOf(t, byHeader).Clusters
	inline := proto.Clone(resourcesOf(t, byHeader).Routes[0]).(*routev3.RouteConfiguration)
	manager := &hcmv3.HttpConnectionManager{}
	filter := r.Listeners[0].GetFilterChains()[0].GetFilters()[0]
	if err := filter.GetTypedConfig().UnmarshalTo(manager); err != nil {
		t.Fatal(err)
	}
	manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: inline}
	packed, err := anypb.New(manager)
	if err != nil {
		t.Fatal(err)
	}
	filter.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: packed}
	heard := false
	f.listening = func(c proxy.ListenerConfig) {
		heard = true
		h := codec.Head{Method: []byte("GET"), Authority: []byte("h"), Target: []byte("/")}
		if a, out := c.Routes.Load().Match(&h, 0); out != route.Found || a.Named([]byte("a")) != f.slots["a"] {
			t.Error("the listener is in force and its route does not know cluster a")
		}
	}
	mustApply(t, b, r)
	if !heard {
		t.Error("no listener")
	}
}

func TestWithoutClusterHeadersNoNamesAreKept(t *testing.T) {
	_, b := newFar()
	mustApply(t, b, resourcesOf(t, minimal))
	if b.names.all.Load() != nil {
		t.Error("names are kept that nobody asks for")
	}
}

// TestMirrorPoliciesReplaceThoseOfLessSpecificLevels: route before virtual host before route configuration; a cluster's
// are kept with the cluster, and win when a request is sent.
func TestMirrorPoliciesReplaceThoseOfLessSpecificLevels(t *testing.T) {
	const from = `[{cluster: %, runtime_fraction: {default_value: {numerator: 1}}}, {cluster: %2}]`
	for _, c := range []struct{ rc, vhost, route, want string }{
		{"", "", "", ""},
		{"rc", "", "", "rc rc2"},
		{"rc", "vh", "", "vh vh2"},
		{"", "vh", "", "vh vh2"},
		{"rc", "vh", "r", "r r2"},
		{"rc", "", "r", "r r2"},
	} {
		r := resourcesOf(t, minimal)
		policies := func(name string) *xds.Resources {
			if name == "" {
				return nil
			}
			text := "routes: [{name: x, request_mirror_policies: " + strings.ReplaceAll(from, "%", name) + "}]"
			return resourcesOf(t, text)
		}
		rc := r.Routes[0]
		rc.VirtualHosts[0].Routes[0].GetRoute().RequestMirrorPolicies = nil
		rc.VirtualHosts[0].Routes[0].Match.Headers = nil
		if p := policies(c.rc); p != nil {
			rc.RequestMirrorPolicies = p.Routes[0].RequestMirrorPolicies
		}
		if p := policies(c.vhost); p != nil {
			rc.VirtualHosts[0].RequestMirrorPolicies = p.Routes[0].RequestMirrorPolicies
		}
		if p := policies(c.route); p != nil {
			rc.VirtualHosts[0].Routes[0].GetRoute().RequestMirrorPolicies = p.Routes[0].RequestMirrorPolicies
		}
		rc.VirtualHosts[0].Domains = []string{"*"}
		f, b := newFar()
		mustApply(t, b, r)
		got := ""
		for _, m := range actionOf(t, b, "r").Mirrors {
			if got != "" {
				got += " "
			}
			got += f.targets[m.Target].Name
		}
		if got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}
