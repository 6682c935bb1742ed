// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"crypto/rand"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/admin"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/test/faulty"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// shape is a request's body.
type shape struct {
	body    []byte
	chunked bool
}

// soon is less than any mirror takes that hangs.
const soon = 100 * time.Millisecond

var shapes = func() []shape {
	big := make([]byte, 512<<10)
	rand.Read(big)
	return []shape{{}, {big[:10], false}, {big[:100<<10], false}, {big[:100<<10], true}, {big, true}}
}()

// illness is a whole proxy, production and one mirror, that each fault in turn befalls.
type illness struct {
	*mesh
	production *production
	mirrorB    *faulty.Server
	copies     *copies
	base       holdings
}

// atRest waits until nothing is under way, and tells what the process holds then. What is pooled does not count.
func (i *illness) atRest(ok func(holdings) bool) {
	i.t.Helper()
	i.mesh.base.CloseIdleConnections()
	i.production.server.CloseClientConnections()
	i.mirrorB.EndConnections()
	var h holdings
	deadline := time.Now().Add(meshtest.Patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for h = held(); !ok(h); h = held() {
		if time.Now().After(deadline) {
			i.t.Fatalf("%+v, before %+v", h, i.base)
		}
		<-tick.C
	}
	i.base = h
}

// steady is a condition for atRest that holds once the same was seen some times in a row.
func steady() func(holdings) bool {
	var last holdings
	n := 0
	return func(h holdings) bool {
		if h != last {
			last, n = h, 0
		}
		n++
		return n == 20
	}
}

// traffic is production's, of every shape from several clients; it returns its requests by id.
func (i *illness) traffic(rounds int) map[string]shape {
	i.t.Helper()
	const clients = 4
	sent := map[string]shape{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range rounds {
				for _, s := range shapes {
					id := newID()
					mu.Lock()
					sent[id] = s
					mu.Unlock()
					if err := i.exchange(id, s.body, s.chunked); err != nil {
						i.t.Errorf("production, request %s: %v", id, err)
					}
				}
			}
		})
	}
	wg.Wait()
	return sent
}

func TestNoFaultOfAMirrorReachesProduction(t *testing.T) {
	i := &illness{production: newProduction(t)}
	i.mirrorB, i.copies = newFaulty(t)
	i.mesh = newMesh(t, mirrored(i.production.addr(), i.mirrorB.Addr()),
		mirror.Limits{Timeout: faultTimeout, ConnectTime: time.Second})
	t.Run("healthy", func(t *testing.T) { // as a subtest, so that its goroutine counts
		i.t, i.mesh.t = t, t
		i.traffic(1)
		i.ended("b")
		i.atRest(steady())
	})
	for _, f := range faulty.Faults(i.production.addr()) {
		t.Run(f.Name, func(t *testing.T) {
			i.t, i.mesh.t = t, t
			i.befall(&f)
		})
	}
}

// befall is the life of one fault: it begins, production goes on beside it, it ends, and copies arrive again.
func (i *illness) befall(f *faulty.Fault) {
	t := i.t
	t.Helper()
	was, total := i.mirror("b"), i.production.total.Load()
	i.slowest.Store(0)
	refused := i.metric("envoy_cluster_upstream_cx_connect_fail", cluster("b"))
	if err := i.mirrorB.Suffer(f); err != nil {
		t.Fatal(err)
	}
	stop := i.watch()
	defer func() { stop() }()

	sent := map[string]shape{}
	if f.Hangs { // then production has its answers while the copies still wait
		for _, s := range shapes {
			id, began := newID(), time.Now()
			sent[id] = s
			if err := i.exchange(id, s.body, s.chunked); err != nil {
				t.Errorf("production: %v", err)
			}
			if n := since(was, i.mirror("b")); n.InFlight == 0 && n.Dropped["buffer"]+n.Dropped["memory"] == 0 &&
				time.Since(began) < soon {
				t.Errorf("no copy is live: production waited for it: %+v", n)
			}
		}
	}
	rounds := 2
	if raceDetector { // it is slow
		rounds = 1
	}
	maps.Copy(sent, i.traffic(rounds))
	got := since(was, i.ended("b"))
	i.judge(f, got, sent)
	refused = i.metric("envoy_cluster_upstream_cx_connect_fail", cluster("b")) - refused
	if f.Port == faulty.Closed && refused > float64(len(sent)/2) {
		t.Errorf("%v connections were tried for %d copies: nobody backs off", refused, len(sent))
	}
	if n := i.production.total.Load() - total; n != int64(len(sent)) {
		t.Errorf("production saw %d requests for %d", n, len(sent))
	}

	if err := i.mirrorB.Heal(); err != nil {
		t.Fatal(err)
	}
	i.recovers("b")
	i.ended("b")
	stop()
	stop = func() {}
	if n := i.metric("umbra_mirror_memory_bytes", ""); n != 0 {
		t.Errorf("copies hold %v bytes at the end", n)
	}
	base := i.base
	i.atRest(func(h holdings) bool { return h.within(base) })
	i.base = base
}

// judge holds the account of the copies against the fault and against what the mirror has read.
func (i *illness) judge(f *faulty.Fault, got admin.Mirror, sent map[string]shape) {
	t := i.t
	t.Helper()
	if got.Selected != int64(len(sent)) || got.Delivered+meshtest.Dropped(got) != got.Selected {
		t.Errorf("%d requests: %+v", len(sent), got)
	}
	for cause := range got.Dropped {
		if !slices.Contains(f.Causes, cause) && !slices.Contains(excused(time.Duration(i.slowest.Load())), cause) {
			t.Errorf("dropped as %s, want only %v: %+v", cause, f.Causes, got)
		}
	}
	if f.Delivered != (got.Delivered > 0) || !f.Delivered && meshtest.Dropped(got) == 0 {
		t.Errorf("not the expected outcome: %+v", got)
	}
	for id, s := range sent {
		if n := i.production.times(id); n != 1 {
			t.Errorf("production saw request %s %d times", id, n)
		}
		if c := i.copies.of(id); c.times > 0 && (!c.whole(s.body) || c.host != i.addrShadow()) {
			t.Errorf("the mirror saw request %s %d times, with Host %q and %d bytes", id, c.times, c.host, c.bytes)
		}
	}
	t.Logf("%d requests, %d delivered, dropped %v", len(sent), got.Delivered, got.Dropped)
}

// addrShadow is the copies' Host: the suffix stands before the port.
func (m *mesh) addrShadow() string {
	return "127.0.0.1-shadow" + m.Addr[len("127.0.0.1"):]
}
