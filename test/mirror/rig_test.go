// SPDX-License-Identifier: Apache-2.0

// Package mirror_test proves the mirror's promises from outside: through the whole of Umbra against each way in which a
// mirror can be ill, with several mirrors of which one is, with a configuration that changes under copies, and with
// production's own far end ill; and through a data plane against a far end that is a process of its own, frozen.
package mirror_test

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/listener"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/resolve"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// rig is a data plane of one listener and one route: everything to cluster a, all of it mirrored to cluster b.
type rig struct {
	addr     string
	clusters *upstream.Directory
	mirrors  *mirror.Engine
	stats    *mirror.Stats
	target   *mirror.Target
}

func newRig(t *testing.T, limits mirror.Limits, a, b string) *rig {
	t.Helper()
	at := func(addr string) upstream.Config {
		return upstream.Config{Static: []upstream.Endpoint{{Addr: netip.MustParseAddrPort(addr)}}}
	}
	return newRigOf(t, limits, resolve.System(), at(a), at(b))
}

// newRigOf has the clusters' endpoints as given, and names looked up by lookup.
func newRigOf(t *testing.T, limits mirror.Limits, lookup resolve.Lookup, a, b upstream.Config) *rig {
	t.Helper()
	const n = 2
	registry, logger := stats.NewRegistry(n), slog.New(slog.DiscardHandler)
	var workers []*loop.Worker
	for i := range n {
		w, err := loop.New(loop.Config{Index: i, Publish: func() { registry.Publish(i) }, Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		workers = append(workers, w)
	}
	r := &rig{clusters: upstream.NewDirectoryWith(workers, registry, lookup)}
	for name, cfg := range map[string]upstream.Config{"a": a, "b": b} {
		cfg.Name, cfg.ConnectTimeout = name, 10*time.Second
		cfg.MaxConnections, cfg.MaxPending = upstream.Unlimited, upstream.Unlimited
		cfg.MaxRequests, cfg.MaxRetries = upstream.Unlimited, upstream.Unlimited
		r.clusters.Set(cfg)
	}
	r.mirrors = mirror.NewEngine(mirror.Config{Limits: limits, LocalIP: "192.0.2.1", Registry: registry, Logger: logger})
	r.stats = r.mirrors.Stats("test", "b")
	r.target = r.mirrors.Target(r.clusters.Slot("b"))
	host, err := route.NewHost(&route.VirtualHost[*proxy.Action]{
		Name: "all", Domains: []string{"*"},
		Routes: []route.Route[*proxy.Action]{{
			Path: route.PathMatch{Kind: route.PathPrefix, Value: "/"},
			Action: &proxy.Action{
				Name: "all", Clusters: []proxy.Weighted{{Slot: r.clusters.Slot("a"), Weight: 1}}, TotalWeight: 1,
				Mirrors: []mirror.Policy{{Target: r.target, Stats: r.stats, Numerator: 100, Denominator: 100}},
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	table, err := route.New(route.Config[*proxy.Action]{Hosts: []*route.Host[*proxy.Action]{host}})
	if err != nil {
		t.Fatal(err)
	}
	routes := &proxy.RouteSlot{Name: "test"}
	routes.Store(table)
	server := proxy.NewServer(proxy.Config{Workers: workers, Mirror: r.mirrors, Registry: registry, LocalIP: "192.0.2.1"})
	front := server.NewListener(proxy.ListenerConfig{
		Name: "test", StatPrefix: "test", Routes: routes, UseRemoteAddress: true,
		IdleTimeout: time.Minute, HeadTimeout: 10 * time.Second, StreamIdle: 5 * time.Minute,
	})
	l, err := listener.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	var wg sync.WaitGroup
	for _, w := range workers {
		wg.Go(func() {
			if err := w.Run(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() {
		l.Serve(workers, func(w *loop.Worker, fd int, peer, local netip.AddrPort) {
			server.Accept(w, front, fd, peer, local)
		})
	})
	t.Cleanup(func() {
		r.clusters.Close()
		l.Close()
		for _, w := range workers {
			w.Stop()
		}
		wg.Wait()
	})
	return r
}
