// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"sync"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/umbra-mesh/umbra/internal/dataplane/build"
	"github.com/umbra-mesh/umbra/internal/dataplane/listener"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	dataplane "github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
	"github.com/umbra-mesh/umbra/internal/xds"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

func TestDumpShowsTheRouteAsDocumented(t *testing.T) {
	m := crossCluster(t, "50")
	raw, err := os.ReadFile("testdata/route.json")
	if err != nil {
		t.Fatal(err)
	}
	var want any
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	var dump struct {
		Configs []struct {
			RouteConfig struct {
				VirtualHosts []any `json:"virtual_hosts"`
			} `json:"route_config"`
		}
	}
	page := m.a.page(t, "/config_dump?resource=dynamic_route_configs")
	if err := json.Unmarshal([]byte(page), &dump); err != nil {
		t.Fatal(err)
	}
	if len(dump.Configs) != 1 || len(dump.Configs[0].RouteConfig.VirtualHosts) != 1 {
		t.Fatalf("want one virtual host in\n%s", page)
	}
	if missing := lacks("", want, dump.Configs[0].RouteConfig.VirtualHosts[0]); missing != "" {
		t.Errorf("%s\nin %s", missing, page)
	}
}

// lacks tells what of want is not in got; objects may have more.
func lacks(path string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s: no object", path)
		}
		for k, v := range want {
			if missing := lacks(path+"."+k, v, object[k]); missing != "" {
				return missing
			}
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("%s: not a list of %d", path, len(want))
		}
		for i, v := range want {
			if missing := lacks(fmt.Sprintf("%s[%d]", path, i), v, list[i]); missing != "" {
				return missing
			}
		}
	default:
		if !reflect.DeepEqual(want, got) {
			return fmt.Sprintf("%s: %v, want %v", path, got, want)
		}
	}
	return ""
}

func TestDataPlaneBuiltFromTheDumpAloneBehavesTheSame(t *testing.T) {
	m := crossCluster(t, "50")
	const n = 2000
	m.a.load(t, n, "/headers", by("a-v1"))
	first := m.a.settled(t)
	within5Sigma(t, "copies by the first data plane", int(first.Delivered), n, 0.5)

	resources := parseDump(t, m.a.page(t, "/config_dump?include_eds"))
	m.a.App.Close()
	again := newDataPlane(t, resources)
	m.a = proxy{&meshtest.Umbra{Addr: m.a.Addr}}
	m.a.load(t, n, "/headers", by("a-v1"))
	if resp, _ := m.a.get(t, "shop.example", "/other"); resp.StatusCode != 404 {
		t.Errorf("a path without a route: %s", resp.Status)
	}
	again.stop()
	counts := again.engine.Stats("default/httpbin", "outbound|80||httpbin.mirror.cluster-b").Counts()
	within5Sigma(t, "copies by the second", int(counts.Delivered), n, 0.5)
	got, want := int64(m.workloadB.count()), first.Delivered+counts.Delivered
	if got != want || counts.Selected != counts.Delivered {
		t.Errorf("B saw %d, delivered were %d: %+v", got, want, counts)
	}
}

// parseDump reads back what the data plane accepted.
func parseDump(t *testing.T, page string) *xds.Resources {
	t.Helper()
	var dump adminv3.ConfigDump
	if err := protojson.Unmarshal([]byte(page), &dump); err != nil {
		t.Fatal(err)
	}
	r := &xds.Resources{Version: "from the dump"}
	for _, section := range dump.GetConfigs() {
		m, err := section.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *adminv3.ClustersConfigDump:
			for _, c := range m.GetDynamicActiveClusters() {
				r.Clusters = append(r.Clusters, unpack[*clusterv3.Cluster](t, c.GetCluster()))
			}
		case *adminv3.EndpointsConfigDump:
			for _, c := range m.GetDynamicEndpointConfigs() {
				r.Endpoints = append(r.Endpoints, unpack[*endpointv3.ClusterLoadAssignment](t, c.GetEndpointConfig()))
			}
		case *adminv3.ListenersConfigDump:
			for _, c := range m.GetDynamicListeners() {
				r.Listeners = append(r.Listeners, unpack[*listenerv3.Listener](t, c.GetActiveState().GetListener()))
			}
		case *adminv3.RoutesConfigDump:
			for _, c := range m.GetDynamicRouteConfigs() {
				r.Routes = append(r.Routes, unpack[*routev3.RouteConfiguration](t, c.GetRouteConfig()))
			}
		}
	}
	if len(r.Clusters) == 0 || len(r.Endpoints) == 0 || len(r.Listeners) != 1 || len(r.Routes) != 1 {
		t.Fatalf("%d clusters, %d endpoints, %d listeners, %d route configurations in\n%s",
			len(r.Clusters), len(r.Endpoints), len(r.Listeners), len(r.Routes), page)
	}
	return r
}

func unpack[M proto.Message](t *testing.T, a *anypb.Any) M {
	t.Helper()
	m, err := a.UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	return m.(M)
}

// dataPlane is the data plane without anything around it: no control plane, no pages.
type dataPlane struct {
	workers []*loop.Worker
	server  *dataplane.Server
	engine  *mirror.Engine
	sockets []*listener.Listener
	running sync.WaitGroup
	cancel  context.CancelFunc
	stop    func() // drains, once
	t       *testing.T
}

func newDataPlane(t *testing.T, r *xds.Resources) *dataPlane {
	t.Helper()
	const workers = 2
	d := &dataPlane{t: t}
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(context.Background())
	d.stop = sync.OnceFunc(d.drain)
	t.Cleanup(d.stop)
	registry := stats.NewRegistry(workers)
	logger := slog.New(slog.DiscardHandler)
	for i := range workers {
		w, err := loop.New(loop.Config{Index: i, Logger: logger, Publish: func() { registry.Publish(i) }})
		if err != nil {
			t.Fatal(err)
		}
		d.workers = append(d.workers, w)
		d.running.Go(func() {
			if err := w.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	clusters := upstream.NewDirectory(d.workers, registry)
	d.engine = mirror.NewEngine(mirror.Config{
		Limits: mirror.Limits{ConnectTime: meshtest.Patience}, LocalIP: "192.0.2.9", Registry: registry, Logger: logger,
	})
	d.server = dataplane.NewServer(dataplane.Config{
		Workers: d.workers, Mirror: d.engine, Registry: registry, LocalIP: "192.0.2.9",
	})
	if nacks := build.New(build.Deps{Clusters: clusters, Mirrors: d.engine, Listeners: d}).Apply(r); len(nacks) > 0 {
		t.Fatal(nacks)
	}
	return d
}

// Set implements build.Listeners.
func (d *dataPlane) Set(cfg dataplane.ListenerConfig) error {
	socket, err := listener.Listen(cfg.Addr)
	if err != nil {
		return err
	}
	d.sockets = append(d.sockets, socket)
	front := d.server.NewListener(cfg)
	d.running.Go(func() {
		socket.Serve(d.workers, func(w *loop.Worker, fd int, peer, local netip.AddrPort) {
			d.server.Accept(w, front, fd, peer, local)
		})
	})
	return nil
}

// Settle implements build.Listeners.
func (d *dataPlane) Settle() {}

// Replace implements build.Listeners.
func (d *dataPlane) Replace(_ dataplane.ListenerConfig, others []string) error {
	return fmt.Errorf("listeners %v are in the way", others)
}

// Remove implements build.Listeners.
func (d *dataPlane) Remove(name string) { d.t.Errorf("listener %s removed", name) }

// drain lets copies end and stops everything.
func (d *dataPlane) drain() {
	for _, s := range d.sockets {
		s.Close()
	}
	quiet := make(chan struct{}, len(d.workers))
	d.server.Drain(meshtest.Patience, meshtest.Patience, func() { quiet <- struct{}{} })
	for range d.workers {
		<-quiet
	}
	d.cancel()
	d.running.Wait()
}
