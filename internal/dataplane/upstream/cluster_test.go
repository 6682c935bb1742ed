// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ends is a list of endpoints, by the last byte of their address and their weight.
func ends(weights ...uint32) (es []Endpoint) {
	for i, w := range weights {
		es = append(es, Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 80), Weight: w})
	}
	return es
}

// worker is a worker that does not run, for what it holds.
func worker(t *testing.T) *loop.Worker {
	w, err := loop.New(loop.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Stop()
		if err := w.Run(context.Background()); err != nil { // gives the descriptors back
			t.Error(err)
		}
	})
	return w
}

func directory(t *testing.T) (*Directory, *loop.Worker) {
	w := worker(t)
	d := NewDirectory([]*loop.Worker{w}, stats.NewRegistry(1))
	t.Cleanup(d.Close)
	return d, w
}

// metrics runs what was posted to the worker, which ends it, and reads its part of the metrics.
func metrics(t *testing.T, c *Cluster, w *loop.Worker, want map[int]int64) {
	t.Helper()
	w.Stop()
	if err := w.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	for metric, n := range want {
		if got := c.Stats(w).Get(metric); got != n {
			t.Errorf("%s is %d, want %d", clusterStats.Metrics[metric].Name, got, n)
		}
	}
}

// picks is how often each host is picked.
func picks(c *Cluster, w *loop.Worker, n int) map[string]int {
	got := map[string]int{}
	for range n {
		got[c.Pick(w, &Choice{}).Name]++
	}
	return got
}

func TestRoundRobinFollowsTheWeightsExactly(t *testing.T) {
	d, w := directory(t)
	d.Set(Config{Name: "c", Policy: RoundRobin, Static: ends(1, 2, 0, 5)})
	got := picks(d.Slot("c").Cluster(), w, 900)
	want := map[string]int{"192.0.2.1:80": 100, "192.0.2.2:80": 200, "192.0.2.3:80": 100, "192.0.2.4:80": 500}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRoundRobinSendsNoRunToAHost(t *testing.T) {
	d, w := directory(t)
	d.Set(Config{Name: "c", Policy: RoundRobin, Static: ends(2, 2, 2)})
	c := d.Slot("c").Cluster()
	last := c.Pick(w, &Choice{})
	for range 100 {
		h := c.Pick(w, &Choice{})
		if h == last {
			t.Fatalf("%s twice in a row", h.Name)
		}
		last = h
	}
}

func TestRandomAndLeastRequestFollowTheWeights(t *testing.T) {
	for _, policy := range []Policy{Random, LeastRequest} {
		d, w := directory(t)
		d.Set(Config{Name: "c", Policy: policy, Static: ends(1, 3)})
		got := picks(d.Slot("c").Cluster(), w, 40000)
		if n := got["192.0.2.1:80"]; n < 9400 || n > 10600 { // 7 sigma
			t.Errorf("policy %d: %v", policy, got)
		}
	}
}

func TestLeastRequestPrefersTheIdleHost(t *testing.T) {
	d, w := directory(t)
	d.Set(Config{Name: "c", Static: ends(1, 1, 1)})
	c := d.Slot("c").Cluster()
	c.Hosts()[0].Begin()
	c.Hosts()[0].Begin()
	c.Hosts()[1].Begin()
	got := picks(c, w, 9000)
	// Two draws of three: the busiest wins if both are it, 1/9; the idle one if either is it, 5/9.
	for i, want := range []int{1000, 3000, 5000} {
		if n := got[c.Hosts()[i].Name]; n < want-350 || n > want+350 {
			t.Errorf("host %d picked %d times, want about %d", i, n, want)
		}
	}
}

func TestNoHostIsPickedOfNone(t *testing.T) {
	d, w := directory(t)
	d.Set(Config{Name: "c"})
	if h := d.Slot("c").Cluster().Pick(w, &Choice{}); h != nil {
		t.Errorf("picked %s", h.Name)
	}
}

func TestHostsThatStayKeepTheirState(t *testing.T) {
	d, _ := directory(t)
	d.Set(Config{Name: "c", Discovery: EDS, ServiceName: "svc"})
	c := d.Slot("c").Cluster()
	d.SetEndpoints("svc", ends(1, 1, 1))
	before := c.Hosts()
	before[1].Begin()
	d.SetEndpoints("svc", append(ends(7, 7)[1:], ends(7, 7)[1])) // the middle one, twice
	after := c.Hosts()
	if len(after) != 1 || after[0] != before[1] || after[0].Active() != 1 || after[0].gone.Load() {
		t.Errorf("hosts %v", after)
	}
	if !before[0].gone.Load() || !before[2].gone.Load() {
		t.Error("hosts that left are not marked")
	}
	d.SetEndpoints("svc", ends(1))
	if back := c.Hosts()[0]; back == before[0] || back.gone.Load() {
		t.Error("a host that left and came back is not a new one")
	}
	d.SetEndpoints("other", nil)
	if len(c.Hosts()) != 1 {
		t.Error("another service's endpoints were taken")
	}
}

func TestEndpointsMayComeBeforeTheirCluster(t *testing.T) {
	d, _ := directory(t)
	d.SetEndpoints("svc", ends(1, 1))
	d.Set(Config{Name: "c", Discovery: EDS, ServiceName: "svc"})
	if n := len(d.Slot("c").Cluster().Hosts()); n != 2 {
		t.Errorf("%d hosts", n)
	}
}

func TestSlotOutlivesItsCluster(t *testing.T) {
	d, _ := directory(t)
	s := d.Slot("c")
	if s.Cluster() != nil {
		t.Error("a cluster nobody has set")
	}
	d.Set(Config{Name: "c", Static: ends(1)})
	held := s.Cluster()
	d.Set(Config{Name: "c", Static: ends(1, 1)})
	if s.Cluster() != held || len(held.Hosts()) != 2 {
		t.Error("a change of settings made another cluster")
	}
	d.Remove("c")
	d.Remove("never there")
	if s.Cluster() != nil || len(d.Clusters()) != 0 || !held.Hosts()[0].gone.Load() {
		t.Error("the cluster is still there")
	}
	d.Set(Config{Name: "c", Static: ends(1)})
	if s.Cluster() == nil || s.Cluster() == held || d.Slot("c") != s {
		t.Error("the slot does not lead to the new cluster")
	}
}

func TestLimitsOfTheCluster(t *testing.T) {
	d, _ := directory(t)
	for _, limit := range []uint32{0, 1, 3, Unlimited} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			d.Set(Config{Name: "c", MaxRequests: limit, MaxRetries: limit, MaxConnections: limit})
			c := d.Slot("c").Cluster()
			got := 0
			for range 10 {
				if c.AcquireRequest() {
					got++
				}
			}
			if want := int(min(limit, 10)); got != want {
				t.Errorf("%d requests, want %d", got, want)
			}
			for range got {
				c.ReleaseRequest()
			}
			if c.AcquireRetry() != (limit > 0) {
				t.Error("a retry")
			} else if limit > 0 {
				c.ReleaseRetry()
			}
			h := &Host{pools: make([]pools, 1)}
			if w := d.workers[0]; !c.CanDial(w, h) {
				t.Error("the first connection of a worker to a host")
			} else if h.pools[0].open = 1; c.CanDial(w, h) != (limit > 0) {
				t.Error("another connection")
			}
			if c.requests.Load() != 0 || c.retries.Load() != 0 {
				t.Errorf("%d requests and %d retries left over", c.requests.Load(), c.retries.Load())
			}
		})
	}
}
