// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// aHost makes a virtual host as a control plane would: prefixes, retries, metadata, and a mirror on the first.
func aHost(i, routes, edition int) *routev3.VirtualHost {
	v := &routev3.VirtualHost{
		Name: fmt.Sprintf("host-%05d.example:80", i), Domains: []string{fmt.Sprintf("host-%05d.example", i)},
		IncludeRequestAttemptCount: true,
	}
	cluster := fmt.Sprintf("outbound|80||service-%05d.example", i)
	meta, _ := structpb.NewStruct(map[string]any{
		"config": fmt.Sprintf("/apis/networking.istio.io/v1/namespaces/default/virtual-service/vs-%05d", i),
	})
	for k := range routes {
		a := &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}, Timeout: durationpb.New(0),
			MaxGrpcTimeout: durationpb.New(0),
			RetryPolicy: &routev3.RetryPolicy{
				RetryOn:    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
				NumRetries: wrapperspb.UInt32(2), HostSelectionRetryMaxAttempts: 5,
			},
		}
		if k == 0 {
			a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: cluster}}
		}
		v.Routes = append(v.Routes, &routev3.Route{
			Match: &routev3.RouteMatch{
				PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: fmt.Sprintf("/%d/%d", edition, k)},
				CaseSensitive: wrapperspb.Bool(true),
			},
			Metadata:  &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"istio": meta}},
			Decorator: &routev3.Decorator{Operation: cluster},
			Action:    &routev3.Route_Route{Route: a},
		})
	}
	return v
}

func manyHosts(hosts, routes int) *xds.Resources {
	rc := &routev3.RouteConfiguration{Name: "http.80", IgnorePortInHostMatching: true}
	r := &xds.Resources{Version: "1", Routes: []*routev3.RouteConfiguration{rc}}
	for i := range hosts {
		rc.VirtualHosts = append(rc.VirtualHosts, aHost(i, routes, 0))
		name := fmt.Sprintf("outbound|80||service-%05d.example", i)
		r.Clusters = append(r.Clusters, &clusterv3.Cluster{
			Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: &corev3.ConfigSource{
				ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			}},
		})
		r.Endpoints = append(r.Endpoints, &endpointv3.ClusterLoadAssignment{
			ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
				LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
					Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
						SocketAddress: &corev3.SocketAddress{
							Address: "10.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 80},
						},
					}}},
				}}},
			}},
		})
	}
	return r
}

// withHost is the set with one virtual host changed, sharing all else, as a control plane that keeps its messages does.
func withHost(r *xds.Resources, v *routev3.VirtualHost, at int) *xds.Resources {
	next := *r
	old := r.Routes[0]
	rc := shellOf(old)
	rc.VirtualHosts = append(rc.VirtualHosts, old.VirtualHosts...)
	rc.VirtualHosts[at] = v
	next.Routes = append([]*routev3.RouteConfiguration{rc}, r.Routes[1:]...)
	return &next
}

func TestOneChangedVirtualHostLinksThatOneOnly(t *testing.T) {
	f, b := newFar()
	r := manyHosts(50, 3)
	mustApply(t, b, r)
	f.takeCalls()
	before := b.routes["http.80"].linked
	next := withHost(r, aHost(7, 3, 1), 7)
	// Others are equal, if not the same.
	next.Routes[0].VirtualHosts[9] = proto.Clone(next.Routes[0].VirtualHosts[9]).(*routev3.VirtualHost)
	mustApply(t, b, next)
	wantCalls(t, f)
	after := b.routes["http.80"].linked
	for i := range after.order {
		if same := after.order[i] == before.order[i]; same != (i != 7) {
			t.Errorf("virtual host %d was taken over: %v", i, same)
		}
	}
	if got := ask(b, "http.80", "host-00007.example", "/1/0"); got != "outbound|80||service-00007.example" {
		t.Errorf("the changed host says %s", got)
	}
	if got := ask(b, "http.80", "host-00009.example", "/0/0"); got != "outbound|80||service-00009.example" {
		t.Errorf("an unchanged host says %s", got)
	}
	table := b.slots["http.80"].Load()
	mustApply(t, b, clone(next))
	if b.slots["http.80"].Load() != table || b.Accepted().Routes[0].Version != "1" {
		t.Error("an equal route configuration was put in force anew")
	}
}

func TestWhatStandsAboveTheVirtualHostsIsForAllOfThem(t *testing.T) {
	_, b := newFar()
	r := manyHosts(3, 1)
	mustApply(t, b, r)
	next := withHost(r, r.Routes[0].VirtualHosts[0], 0)
	next.Routes[0].RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "all"}}
	for _, v := range next.Routes[0].VirtualHosts {
		v.Routes[0].GetRoute().RequestMirrorPolicies = nil
	}
	mustApply(t, b, next)
	if got := len(b.Mirrors()); got != 3 || b.Mirrors()[0].To != "all" {
		t.Errorf("mirrors %v", b.Mirrors())
	}
}

func TestARefusedVirtualHostLeavesTheTableAndItsCountersAsTheyWere(t *testing.T) {
	f, b := newFar()
	r := manyHosts(4, 2)
	mustApply(t, b, r)
	copies, table := len(f.stats), b.slots["http.80"].Load()
	bad := aHost(2, 2, 1)
	bad.Routes[1].GetRoute().Timeout = durationpb.New(-1)
	bad.Routes[0].StatPrefix = "a"
	bad.Routes[0].Metadata = nil // counts under a name of its own
	mustApply(t, b, withHost(r, bad, 2),
		"RouteConfiguration http.80: virtual_hosts[2].routes[1].route.timeout: -1ns is negative")
	if b.slots["http.80"].Load() != table || len(f.stats) != copies || len(b.copies) != copies {
		t.Errorf("%d counters of copies, %d held, want %d", len(f.stats), len(b.copies), copies)
	}
}

func TestCountersOfMirrorsGoWithTheLastPolicyThatHasThem(t *testing.T) {
	f, b := newFar()
	r := manyHosts(2, 1)
	mustApply(t, b, r)
	if len(f.stats) != 2 {
		t.Fatalf("%d counters", len(f.stats))
	}
	renamed := aHost(1, 1, 0)
	renamed.Routes[0].Name = "new"
	mustApply(t, b, withHost(r, renamed, 1))
	ids := map[string]bool{}
	for s := range f.stats {
		ids[s.ID] = true
	}
	if diff := cmp.Diff(map[string]bool{"default/vs-00000": true, "default/vs-00001/new": true}, ids); diff != "" {
		t.Error(diff)
	}
	mustApply(t, b, &xds.Resources{})
	if len(f.stats)+len(b.copies) != 0 {
		t.Errorf("left %d counters, %d held", len(f.stats), len(b.copies))
	}
}

// TestAnUpdatedBuilderIsAsAFreshOne: after any edits the same is in force as if the last set had been the first one.
func TestAnUpdatedBuilderIsAsAFreshOne(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		f, b := newFar()
		r := manyHosts(8, 2)
		r.Routes = append(r.Routes, resourcesOf(t, minimal).Routes...)
		for range 12 {
			r = edited(rnd, r)
			got := printedBy(f, b, r)
			if diff := cmp.Diff(printed(r), got); diff != "" {
				t.Fatalf("seed %d: fresh (-), updated (+):\n%s", seed, diff)
			}
		}
	}
}

// edited changes something of a set, sharing most messages with it.
func edited(rnd *rand.Rand, r *xds.Resources) *xds.Resources {
	next := *r
	next.Version += "'"
	rc := r.Routes[0]
	n := len(rc.GetVirtualHosts())
	switch rnd.IntN(9) {
	case 0: // one host is another
		return withHost(&next, aHost(rnd.IntN(1000), 1+rnd.IntN(3), rnd.IntN(3)), rnd.IntN(n))
	case 1: // one goes
		c := shellOf(rc)
		c.VirtualHosts = append(append(c.VirtualHosts, rc.VirtualHosts[:n-1]...), aHost(rnd.IntN(1000), 1, 0))
		next.Routes = append([]*routev3.RouteConfiguration{c}, r.Routes[1:]...)
	case 2: // all are equal only
		return clone(&next)
	case 3: // in another order
		c := shellOf(rc)
		c.VirtualHosts = append(c.VirtualHosts, rc.VirtualHosts...)
		rnd.Shuffle(n, func(i, k int) {
			c.VirtualHosts[i], c.VirtualHosts[k] = c.VirtualHosts[k], c.VirtualHosts[i]
		})
		next.Routes = append([]*routev3.RouteConfiguration{c}, r.Routes[1:]...)
	case 4: // what stands above them
		c := shellOf(rc)
		c.VirtualHosts = rc.VirtualHosts
		c.IgnorePortInHostMatching = !rc.IgnorePortInHostMatching
		c.ResponseHeadersToRemove = []string{fmt.Sprint("x-", rnd.IntN(3))}
		next.Routes = append([]*routev3.RouteConfiguration{c}, r.Routes[1:]...)
	case 5: // a cluster goes
		next.Clusters = r.Clusters[:len(r.Clusters)-1]
		if len(next.Clusters) == 0 {
			next.Clusters = manyHosts(5, 1).Clusters
		}
	case 6: // a cluster is another
		c := proto.Clone(r.Clusters[0]).(*clusterv3.Cluster)
		c.ConnectTimeout = durationpb.New(time.Duration(1+rnd.IntN(5)) * time.Second)
		next.Clusters = append([]*clusterv3.Cluster{c}, r.Clusters[1:]...)
	case 7: // endpoints are others
		a := proto.Clone(r.Endpoints[0]).(*endpointv3.ClusterLoadAssignment)
		a.Endpoints[0].Priority = uint32(rnd.IntN(3))
		next.Endpoints = append([]*endpointv3.ClusterLoadAssignment{a}, r.Endpoints[1:]...)
	case 8: // a whole route configuration comes and goes
		if len(r.Routes) > 1 {
			next.Routes = r.Routes[:1]
		} else {
			next.Routes = append(append([]*routev3.RouteConfiguration{}, r.Routes...), manyHosts(1, 1).Routes[0])
			next.Routes[1].Name = "other"
		}
	}
	return &next
}

func benchmarked(workers int) *Builder {
	registry := stats.NewRegistry(workers)
	server := proxy.NewServer(proxy.Config{Registry: registry})
	return New(Deps{
		Clusters: upstream.NewDirectory(nil, registry), Mirrors: mirror.NewEngine(mirror.Config{Registry: registry}),
		Listeners: farListeners{}, RouteStats: server.NewRouteStats,
	})
}

// BenchmarkApply: 10,000 virtual hosts of 10 routes each, with as many clusters.
func BenchmarkApply(b *testing.B) {
	r := manyHosts(10_000, 10)
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			if nacks := benchmarked(1).Apply(r); len(nacks) > 0 {
				b.Fatal(nacks[0])
			}
		}
	})
	builder := benchmarked(1)
	builder.Apply(r)
	b.Run("nothing", func(b *testing.B) {
		for b.Loop() {
			builder.Apply(r)
		}
	})
	b.Run("one virtual host", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			builder.Apply(withHost(r, aHost(5000, 10, 1+i%2), 5000))
		}
	})
	b.Run("one cluster", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			next := *r
			c := proto.Clone(r.Clusters[5000]).(*clusterv3.Cluster)
			c.ConnectTimeout = durationpb.New(time.Duration(1+i%2) * time.Second)
			next.Clusters = append(append(append([]*clusterv3.Cluster{}, r.Clusters[:5000]...), c), r.Clusters[5001:]...)
			builder.Apply(&next)
		}
	})
	b.Run("one endpoint", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			next := *r
			a := proto.Clone(r.Endpoints[5000]).(*endpointv3.ClusterLoadAssignment)
			a.Endpoints[0].Priority = uint32(i % 2)
			next.Endpoints = append(append(append([]*endpointv3.ClusterLoadAssignment{}, r.Endpoints[:5000]...), a),
				r.Endpoints[5001:]...)
			builder.Apply(&next)
		}
	})
}
