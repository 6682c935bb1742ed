// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// drive8 sends requests from eight clients until stop says so; all must be answered 200.
func (r *rig) drive8(stop func(sent int64) bool) (sent int64) {
	var n atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !stop(n.Add(1)) && !r.t.Failed() {
				resp, err := r.client.Get("http://" + r.addr + "/")
				if err != nil {
					r.t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != 200 {
					r.t.Errorf("got %d", resp.StatusCode)
				}
			}
		})
	}
	wg.Wait()
	return n.Load()
}

func TestThreeHostsShareTheRequests(t *testing.T) {
	for name, policy := range map[string]upstream.Policy{
		"least request": upstream.LeastRequest, "round robin": upstream.RoundRobin, "random": upstream.Random,
	} {
		t.Run(name, func(t *testing.T) {
			r := setup{workers: 1}.rig(t)
			var served [3]atomic.Int64
			cfg := unlimited
			cfg.Name, cfg.Policy = "a", policy
			for i := range served {
				addr := paths(t, &served[i])
				cfg.Static = append(cfg.Static, upstream.Endpoint{Addr: netip.MustParseAddrPort(addr)})
			}
			r.clusters.Set(cfg)
			r.serve(r.to("a"))
			const n = 3000
			cl := r.raw()
			for range n {
				cl.send(get("/"))
				cl.answer()
			}
			for i := range served {
				// 1,000 of 3,000 at random: 7 sigma are 181. In turn: exactly.
				if got := served[i].Load(); got < 819 || got > 1181 || policy == upstream.RoundRobin && got != 1000 {
					t.Errorf("host %d: %d of %d", i, got, n)
				}
			}
			r.settledAfter(cl)
		})
	}
}

func TestWeightedClustersShareTheRequests(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served [3]atomic.Int64
	a := r.to("c0")
	a.Clusters, a.TotalWeight = nil, 0
	for i, weight := range []uint64{1, 3, 0} {
		name := fmt.Sprintf("c%d", i)
		r.cluster(name, paths(t, &served[i]))
		a.Clusters = append(a.Clusters, proxy.Weighted{Slot: r.clusters.Slot(name), Weight: weight})
		a.TotalWeight += weight
	}
	r.serve(a)
	cl := r.raw()
	for range 4000 {
		cl.send(get("/"))
		cl.answer()
	}
	// 1,000 of 4,000: 7 sigma are 192.
	if got := served[0].Load(); got < 808 || got > 1192 || served[2].Load() != 0 {
		t.Errorf("%d, %d, %d", got, served[1].Load(), served[2].Load())
	}
	r.settledAfter(cl)
}

func TestEndpointsChangeUnderLoad(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served [3]atomic.Int64
	var all []upstream.Endpoint
	for i := range served {
		all = append(all, upstream.Endpoint{Addr: netip.MustParseAddrPort(paths(t, &served[i]))})
	}
	cfg := unlimited
	cfg.Name, cfg.Discovery, cfg.ServiceName = "a", upstream.EDS, "svc"
	r.clusters.Set(cfg)
	r.clusters.SetEndpoints("svc", all)
	a := r.to("a")
	a.Retry = nil // nothing may hide a lost request
	r.serve(a)
	sent := r.drive8(func(n int64) bool {
		switch n % 20 {
		case 0:
			r.clusters.SetEndpoints("svc", all[n/20%3:][:1])
		case 10:
			r.clusters.SetEndpoints("svc", all)
		}
		return n > 2000
	})
	r.settled()
	total := served[0].Load() + served[1].Load() + served[2].Load()
	if want := int64(r.metric("envoy_http_downstream_rq_total")); total != want {
		t.Errorf("%d served, %d asked (%d sent)", total, want, sent)
	}
	// Hosts that left keep no connection.
	r.clusters.SetEndpoints("svc", nil)
	r.counted(0, "envoy_cluster_upstream_cx_active")
	if code, body := r.get("/"); code != 503 || body != "no healthy upstream" {
		t.Errorf("%d %q", code, body)
	}
	r.counted(1, "envoy_cluster_upstream_cx_none_healthy")
}

func TestClusterComesAndGoesUnderLoad(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	addr := paths(t, &served)
	r.cluster("a", addr)
	r.serve(r.to("a"))
	var wg sync.WaitGroup
	var ok, none atomic.Int64
	for range 8 {
		wg.Go(func() {
			for i := range 300 {
				resp, err := r.client.Get("http://" + r.addr + "/")
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				switch resp.StatusCode {
				case 200:
					ok.Add(1)
				case 503:
					none.Add(1)
				default:
					t.Errorf("got %d", resp.StatusCode)
				}
				switch i % 30 {
				case 10:
					r.clusters.Remove("a")
				case 15:
					r.cluster("a", addr)
				}
			}
		})
	}
	wg.Wait()
	if ok.Load()+none.Load() != 2400 || ok.Load() != served.Load() {
		t.Errorf("%d answered, %d without a cluster, %d served", ok.Load(), none.Load(), served.Load())
	}
	r.settled()
}

// One that is over max_requests is answered at once; one over max_connections waits behind the one that has a connection,
// and a client that leaves meanwhile leaves the line too.
func TestCircuitBreakers(t *testing.T) {
	for name, change := range map[string]func(*upstream.Config){
		"requests": func(c *upstream.Config) { c.MaxRequests = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := setup{log: true}.rig(t)
			arrived, answer := make(chan bool, 9), make(chan bool, 9)
			r.cluster("a", scripted(t, func(w *wire, _ int) {
				w.head()
				arrived <- true
				<-answer
				w.send(empty200)
				w.head()
			}))
			cfg := *r.clusters.Slot("a").Cluster().Config()
			change(&cfg)
			r.clusters.Set(cfg)
			r.serve(r.to("a"))
			first := r.raw()
			first.send(get("/"))
			<-arrived
			if code, _ := r.get("/"); code != 503 {
				t.Errorf("got %d", code)
			}
			r.logs(503, "UO", "upstream_reset_before_response_started{overflow}")
			answer <- true
			if head, _ := first.answer(); status(head) != "200" {
				t.Errorf("%q", head)
			}
			r.settledAfter(first)
		})
	}
}

func TestClientThatLeavesTheLineForAConnectionHoldsNothing(t *testing.T) {
	r := setup{}.rig(t)
	arrived, answer := make(chan bool, 9), make(chan bool, 9)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		for range 3 {
			w.head()
			arrived <- true
			<-answer
			w.send(empty200)
		}
		w.head()
	}))
	cfg := *r.clusters.Slot("a").Cluster().Config()
	cfg.MaxConnections = 1
	r.clusters.Set(cfg)
	r.serve(r.to("a"))
	first, second, third := r.raw(), r.raw(), r.raw()
	first.send(get("/"))
	<-arrived
	second.send(get("/"))
	third.send(get("/"))
	second.Close()
	answer <- true
	if head, _ := first.answer(); status(head) != "200" {
		t.Errorf("%q", head)
	}
	answer <- true
	answer <- true // the second's request may have been on its way
	if head, _ := third.answer(); status(head) != "200" {
		t.Errorf("%q", head)
	}
	r.settledAfter(first, third)
}

func TestClientThatWasNotRedirectedHasNoOriginalDestination(t *testing.T) {
	r := setup{log: true}.rig(t)
	cfg := unlimited
	cfg.Name, cfg.Discovery, cfg.Policy = "a", upstream.OriginalDst, upstream.ClusterProvided
	r.clusters.Set(cfg)
	r.serve(r.to("a"))
	cl := r.raw()
	for range 2 { // the second does not ask the kernel again
		cl.send(get("/"))
		if head, body := cl.answer(); status(head) != "503" || body != "no healthy upstream" {
			t.Errorf("%q %q", head, body)
		}
	}
	for _, e := range r.logged(2) {
		if e.flags != "UH" || e.cluster != "a" {
			t.Errorf("%+v", e)
		}
	}
}
