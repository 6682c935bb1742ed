// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// Who waits for a connection, in line or for one that is dialled, is in envoy_cluster_upstream_rq_pending_active and
// counts against max_pending_requests, and in neither any more once the wait is over, whatever ended it.
func TestWhoWaitsForAConnectionIsCountedAsLong(t *testing.T) {
	elsewhere := netip.MustParseAddrPort("10.0.0.2:80") // nobody is there
	for name, c := range map[string]struct {
		change  func(*proxy.Action)
		happens func(s *simRig, clients []*simClient) // at 100 ms: clients[1] and [2] wait
		codes   []string                              // of clients[1], by then; nil: none
	}{
		"served": {nil, func(s *simRig, _ []*simClient) { s.far.answer(0, false) }, []string{"200"}},
		"clients gone": {nil, func(_ *simRig, clients []*simClient) {
			clients[1].p.Abort()
			clients[2].p.Abort()
		}, nil},
		"timeout": {
			func(a *proxy.Action) { a.Timeout = 150 * time.Millisecond },
			func(*simRig, []*simClient) {}, []string{"504"},
		},
		"host gone": {nil, func(s *simRig, _ []*simClient) {
			cfg := *s.clusters.Slot("a").Cluster().Config()
			cfg.Static = []upstream.Endpoint{{Addr: elsewhere}}
			s.clusters.Set(cfg)
			s.at(200*time.Millisecond, func() { s.far.answer(0, false) })
		}, []string{"200"}},
		"cluster gone": {nil, func(s *simRig, _ []*simClient) {
			s.clusters.Remove("a")
			s.at(200*time.Millisecond, func() { s.far.answer(0, false) })
		}, []string{"200"}},
		"connections refused": {nil, func(s *simRig, _ []*simClient) {
			s.sim.Listen(simOriginAddr, func(*loop.Peer) loop.Arrival { return loop.Arrival{Refuse: true} })
			s.far.conns[0].Abort()
		}, []string{"503"}},
		"drain": {nil, func(s *simRig, _ []*simClient) {
			s.server.Drain(time.Second, time.Minute, func() {})
			s.at(200*time.Millisecond, func() { s.far.answer(0, false) })
		}, []string{"200"}},
		"cut": {nil, func(s *simRig, _ []*simClient) { s.server.Cut(func() {}) }, nil},
		"listener cut": {nil, func(s *simRig, _ []*simClient) {
			s.listener.Retire(s.server)
			s.listener.Cut(s.server)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSimRig(t, 1, func(a *proxy.Action) {
				a.Retry = nil
				if c.change != nil {
					c.change(a)
				}
			})
			cfg := *s.clusters.Slot("a").Cluster().Config()
			cfg.MaxPending = 2
			s.clusters.Set(cfg)
			cluster := s.clusters.Slot("a").Cluster()
			waiting := func() int64 { return cluster.Stats(s.w).Get(upstream.RqPendingActive) }
			clients := []*simClient{s.dial(), s.dial(), s.dial(), s.dial()}
			s.at(10*time.Millisecond, func() { clients[0].send("/first") })
			s.at(20*time.Millisecond, func() {
				if n := waiting(); n != 0 {
					t.Errorf("%d wait while the first is served", n)
				}
				clients[1].send("/second")
				clients[2].send("/third")
			})
			s.at(50*time.Millisecond, func() {
				if n := waiting(); n != 2 {
					t.Errorf("%d wait, want 2", n)
				}
				clients[3].send("/too-many")
			})
			s.at(100*time.Millisecond, func() {
				clients[3].answers(t, "503")
				c.happens(s, clients)
			})
			for i := range 100 { // whatever is asked is answered
				s.at(300*time.Millisecond+time.Duration(i)*10*time.Millisecond, func() {
					if len(s.far.conns) > 1 && i < len(s.far.conns) && i > 0 {
						s.far.answer(i, false)
					}
				})
			}
			s.sim.Run(time.Minute)
			clients[1].answers(t, c.codes...)
			if n := waiting(); n != 0 {
				t.Errorf("%d wait in the end", n)
			}
			for want := range 2 {
				if !cluster.AcquirePending() {
					t.Errorf("max_pending_requests counts %d in the end", 2-want)
				}
			}
			if cluster.AcquirePending() {
				t.Error("max_pending_requests counts fewer than there are")
			}
			cluster.ReleasePending()
			cluster.ReleasePending()
		})
	}
}

func TestWhoWaitsForADialIsCountedAsLong(t *testing.T) {
	deaf := netip.MustParseAddrPort("10.0.0.3:80")
	for name, c := range map[string]struct {
		happens func(s *simRig, client *simClient)
		codes   []string
	}{
		"no answer in time": {func(*simRig, *simClient) {}, []string{"503"}},
		"client gone":       {func(_ *simRig, client *simClient) { client.p.Abort() }, nil},
		"cluster gone":      {func(s *simRig, _ *simClient) { s.clusters.Remove("a") }, []string{"503"}},
		"cut":               {func(s *simRig, _ *simClient) { s.server.Cut(func() {}) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSimRig(t, 1, func(a *proxy.Action) { a.Retry = nil })
			s.sim.Listen(deaf, func(*loop.Peer) loop.Arrival { return loop.Arrival{Never: true} })
			cfg := *s.clusters.Slot("a").Cluster().Config()
			cfg.MaxPending, cfg.Static = 1, []upstream.Endpoint{{Addr: deaf}}
			s.clusters.Set(cfg)
			cluster := s.clusters.Slot("a").Cluster()
			client := s.dial()
			s.at(10*time.Millisecond, func() { client.send("/") })
			s.at(50*time.Millisecond, func() {
				if n := cluster.Stats(s.w).Get(upstream.RqPendingActive); n != 1 {
					t.Errorf("%d wait, want 1", n)
				}
				c.happens(s, client)
			})
			s.sim.Run(time.Minute)
			client.answers(t, c.codes...)
			if n := cluster.Stats(s.w).Get(upstream.RqPendingActive); n != 0 {
				t.Errorf("%d wait in the end", n)
			}
			if !cluster.AcquirePending() {
				t.Error("max_pending_requests counts somebody in the end")
			}
			cluster.ReleasePending()
		})
	}
}
