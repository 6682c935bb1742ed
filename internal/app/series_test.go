// SPDX-License-Identifier: Apache-2.0

package app

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/umbra-mesh/umbra/internal/dataplane/build"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// still is a data plane without workers: all but traffic.
type still struct {
	listeners *listeners
	builder   *build.Builder
	gatherer  *prometheus.Registry
}

func newStill(t *testing.T) *still {
	t.Helper()
	registry := stats.NewRegistry(1)
	clusters := upstream.NewDirectory(nil, registry)
	t.Cleanup(clusters.Close)
	mirrors := mirror.NewEngine(mirror.Config{Registry: registry})
	server := proxy.NewServer(proxy.Config{Mirror: mirrors, Registry: registry})
	opts := Options{}.withDefaults()
	s := &still{listeners: newListeners(server, nil, &opts), gatherer: prometheus.NewRegistry()}
	t.Cleanup(func() { s.listeners.stop(); s.listeners.end() })
	s.builder = build.New(build.Deps{
		Clusters: clusters, Mirrors: mirrors, Listeners: s.listeners, RouteStats: server.NewRouteStats,
	})
	s.gatherer.MustRegister(registry)
	s.listeners.register(s.gatherer)
	return s
}

func (s *still) apply(t *testing.T, r *xds.Resources) {
	t.Helper()
	if nacks := s.builder.Apply(r); len(nacks) > 0 {
		t.Fatal(nacks)
	}
}

// series are the names of what is gathered, with labels.
func (s *still) series(t *testing.T) (names []string) {
	t.Helper()
	families, err := s.gatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// value is a series without labels.
func (s *still) value(t *testing.T, name string) float64 {
	t.Helper()
	families, err := s.gatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric[0].GetGauge().GetValue() + f.Metric[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no %s", name)
	return 0
}

// called is a set of which everything that is counted has that name.
func called(t *testing.T, name string) *xds.Resources {
	t.Helper()
	pack := func(m proto.Message) *anypb.Any {
		a, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	manager := pack(&hcmv3.HttpConnectionManager{
		StatPrefix: name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			RouteConfigName: name, ConfigSource: &corev3.ConfigSource{
				ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			},
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})},
		}},
	})
	cluster := func(name string) *clusterv3.Cluster {
		return &clusterv3.Cluster{
			Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: &corev3.ConfigSource{
				ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			}},
		}
	}
	return &xds.Resources{
		Version: name,
		Listeners: []*listenerv3.Listener{{
			Name: name,
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 0},
			}}},
			FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
				Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: manager},
			}}}},
		}},
		Routes: []*routev3.RouteConfiguration{{
			Name: name, VirtualHosts: []*routev3.VirtualHost{{
				Name: name, Domains: []string{"*"}, Routes: []*routev3.Route{{
					Match:      &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
					StatPrefix: name,
					Action: &routev3.Route_Route{Route: &routev3.RouteAction{
						ClusterSpecifier:      &routev3.RouteAction_Cluster{Cluster: name},
						RequestMirrorPolicies: []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: name + "-mirror"}},
					}},
				}},
			}},
		}},
		Clusters: []*clusterv3.Cluster{cluster(name), cluster(name + "-mirror")},
	}
}

func TestSeriesEndWithWhatTheyCountAfterTenThousandRenames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStill(t)
		s.apply(t, called(t, "first"))
		base := s.series(t)
		for i := range 10_000 {
			s.apply(t, called(t, fmt.Sprint("n", i)))
		}
		s.apply(t, called(t, "first"))
		<-time.After(2 * time.Minute) // those of mirrors stay for a last scrape
		synctest.Wait()
		if diff := cmp.Diff(base, s.series(t)); diff != "" {
			t.Errorf("series (-at first +at last):\n%.2000s", diff)
		}
	})
}

func TestSeriesOfAListenerStayAsLongAsItHasConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStill(t)
		s.apply(t, called(t, "first"))
		s.listeners.open["first"].front.Conns.Add(1) // it never ends
		s.apply(t, called(t, "second"))
		synctest.Wait()
		has := func(prefix string) bool {
			return slices.ContainsFunc(s.series(t), func(name string) bool {
				return name == "envoy_http_downstream_cx_active http_conn_manager_prefix="+prefix
			})
		}
		if !has("first") || !has("second") {
			t.Fatalf("series: %v", s.series(t))
		}
		if n := s.value(t, "envoy_listener_manager_total_listeners_draining"); n != 1 {
			t.Errorf("%v listeners are draining", n)
		}
		<-time.After(s.listeners.drain + time.Second)
		synctest.Wait()
		if n := s.value(t, "umbra_listener_drain_cut_total"); n != 1 {
			t.Errorf("%v connections were cut", n)
		}
		s.listeners.end()
		if has("first") || !has("second") {
			t.Errorf("series at the end: %v", s.series(t))
		}
		if n := s.value(t, "envoy_listener_manager_total_listeners_draining"); n != 0 {
			t.Errorf("%v listeners are draining at the end", n)
		}
	})
}
