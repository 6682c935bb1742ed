// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
)

func hosts(n, edition int) []*routev3.VirtualHost {
	var list []*routev3.VirtualHost
	for i := range n {
		v := &routev3.VirtualHost{Name: fmt.Sprint(i), Domains: []string{fmt.Sprint(i, ".", edition)}}
		for k := range 10 {
			v.Routes = append(v.Routes, &routev3.Route{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: fmt.Sprint("/", k)}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: fmt.Sprint("cluster", i)},
				}},
			})
		}
		list = append(list, v)
	}
	return list
}

func TestASealersVersionsAreThoseOfAFreshSeal(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var s Sealer
	r := Resources{
		Clusters: clusters("a", "b", "c"),
		Routes:   []*routev3.RouteConfiguration{{Name: "r", VirtualHosts: hosts(5, 0)}, {Name: "s"}},
	}
	seen := map[string]bool{}
	for i := range 200 {
		r.Routes, r.Clusters = slices.Clone(r.Routes), slices.Clone(r.Clusters)
		rc := proto.Clone(&routev3.RouteConfiguration{Name: r.Routes[0].Name}).(*routev3.RouteConfiguration)
		rc.VirtualHosts = slices.Clone(r.Routes[0].VirtualHosts)
		switch rnd.IntN(5) {
		case 0:
			rc.VirtualHosts[rnd.IntN(len(rc.VirtualHosts))] = hosts(1, i)[0]
		case 1:
			rc.IgnorePortInHostMatching = true
		case 2:
			r.Clusters[rnd.IntN(3)] = clusters(fmt.Sprint(i))[0]
		case 3:
			rc.VirtualHosts = append(rc.VirtualHosts, hosts(1, i)[0])
		case 4:
			rc.VirtualHosts = slices.Clone(rc.VirtualHosts[:1])
		}
		r.Routes[0] = rc
		s.Seal(&r)
		fresh := Resources{Routes: r.Routes, Clusters: r.Clusters}
		if fresh.Seal(); fresh.Version != r.Version {
			t.Fatalf("edit %d: version %s, a fresh one is %s", i, r.Version, fresh.Version)
		}
		seen[r.Version] = true
		if again := r; again.Version == "" {
			t.Fatal("no version")
		}
	}
	if len(seen) < 100 {
		t.Errorf("only %d versions of 200 edits", len(seen))
	}
	if want := len(r.Routes) + len(r.Routes[0].VirtualHosts) + len(r.Clusters); len(s.known) != want {
		t.Errorf("%d messages remembered, there are %d", len(s.known), want)
	}
	version := r.Version
	if s.Seal(&r); r.Version != version {
		t.Errorf("the same set has another version")
	}
}

func TestTheOrderOfVirtualHostsIsContent(t *testing.T) {
	h := hosts(2, 0)
	one := version(Resources{Routes: []*routev3.RouteConfiguration{{Name: "r", VirtualHosts: h}}})
	h[0], h[1] = h[1], h[0]
	other := version(Resources{Routes: []*routev3.RouteConfiguration{{Name: "r", VirtualHosts: h}}})
	if one == other {
		t.Error("another order has the same version")
	}
}

// BenchmarkSeal: 10,000 virtual hosts of 10 routes each.
func BenchmarkSeal(b *testing.B) {
	rc := &routev3.RouteConfiguration{Name: "r", VirtualHosts: hosts(10_000, 0)}
	r := Resources{Routes: []*routev3.RouteConfiguration{rc}}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			r.Seal()
		}
	})
	b.Run("one virtual host", func(b *testing.B) {
		var s Sealer
		s.Seal(&r)
		for i := 0; b.Loop(); i++ {
			next := &routev3.RouteConfiguration{Name: "r", VirtualHosts: slices.Clone(rc.VirtualHosts)}
			next.VirtualHosts[5000] = hosts(1, i)[0]
			s.Seal(&Resources{Routes: []*routev3.RouteConfiguration{next}})
		}
	})
}
