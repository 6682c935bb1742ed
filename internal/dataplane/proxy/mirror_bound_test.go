// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
	"github.com/umbra-mesh/umbra/test/faulty"
)

// uploads sends n requests with body, so many at a time; every answer must be right and in time.
func (r *rig) uploads(n, atOnce int, body []byte) {
	r.t.Helper()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range atOnce {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := r.exchange(body, i%2 == 0); err != nil {
					r.t.Errorf("production: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

// watch looks at the published accounts and the memory held, over and over, until the returned function is called; that
// one returns the most that was held.
func (r *rig) watch(clusters ...string) (stop func() int64) {
	done := make(chan struct{})
	var most int64
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		for {
			most = max(most, r.mirrors.Held())
			for _, c := range clusters {
				balance(r.t, r.mirrors.Stats("test", c).Counts())
			}
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return func() int64 { close(done); wg.Wait(); return most }
}

// Production's clients would miss their answers if it waited for the mirror that hangs, as that one's copies outlast them.
// What c and d may hold is the same on a slow machine: they get the next uploads when they are done with the last.
func TestHungMirrorTakesNothingFromTheOthers(t *testing.T) {
	r := newRig(t, mirror.Limits{Timeout: 10 * patience, ConnectTime: patience, Memory: 16 << 20})
	var served atomic.Int64
	b, c, d := newFar(t, (*faulty.Conn).Hang), newFar(t, healthy), newFar(t, healthy)
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", b.addr)
	r.cluster("c", c.addr)
	r.cluster("d", d.addr)
	r.serve(r.to("a", r.policy("b", 100), r.policy("c", 100), r.policy("d", 100)))
	const n, atOnce = 48, 2
	stop := r.watch("b", "c", "d")
	body := randomBytes(512 << 10)
	for sent := int64(atOnce); sent <= n; sent += atOnce {
		r.uploads(atOnce, atOnce, body)
		for _, name := range []string{"c", "d"} {
			s := r.mirrors.Stats("test", name)
			eventually(t, name+" is done", func() bool { n := s.Counts(); return n.Live == 0 && n.Selected == sent })
			if got := s.Counts(); got.Delivered != sent {
				t.Fatalf("%s: %+v", name, got)
			}
		}
	}
	if live := r.mirrors.Stats("test", "b").Counts().Live; live == 0 {
		t.Error("no copy hangs: the test shows nothing")
	}
	b.Close()
	got := r.copiesEnded("b")
	stop()
	only(t, got, "reset", "buffer", "memory")
	if got.Delivered != 0 || got.Selected != n || got.Dropped["memory"] == 0 {
		t.Errorf("hung mirror: %+v", got) // memory: it came to its share, else the test shows nothing
	}
}

func TestMemoryForCopiesIsBounded(t *testing.T) {
	const limit, uploads = 2 << 20, 96
	r := newRig(t, mirror.Limits{Timeout: 500 * time.Millisecond, ConnectTime: patience, Memory: limit})
	var served atomic.Int64
	b, c := newFar(t, (*faulty.Conn).Hang), newFar(t, (*faulty.Conn).Hang)
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", b.addr)
	r.cluster("c", c.addr)
	r.serve(r.to("a", r.policy("b", 100), r.policy("c", 100)))
	stop := r.watch("b", "c")
	r.uploads(uploads, 32, randomBytes(512<<10)) // to two mirrors each: their windows are more than the limit
	nb, nc := r.copiesEnded("b"), r.copiesEnded("c")
	most := stop()
	// See Engine.MemoryLimit: each worker but one may go over the limit by one piece.
	if bound := r.mirrors.MemoryLimit() + int64(len(r.workers)-1)*136<<10; most > bound {
		t.Errorf("%d bytes held, bound %d", most, bound)
	}
	if nb.Dropped["memory"]+nc.Dropped["memory"] == 0 {
		t.Errorf("%d bytes held at most, and the limit never reached: %v, %v", most, nb.Dropped, nc.Dropped)
	}
	only(t, nb, "timeout", "buffer", "memory")
	only(t, nc, "timeout", "buffer", "memory")
	if served.Load() != uploads {
		t.Errorf("production saw %d", served.Load())
	}
}

func TestStreamingCopiesHoldAtMostHalfOfTheSlots(t *testing.T) {
	r := newRig(t, mirror.Limits{MaxInFlight: 8})
	var served atomic.Int64
	b := newFar(t, healthy)
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	s := r.mirrors.Stats("test", "b")
	var open []net.Conn
	whole, at := rawPost("open", randomBytes(1000), false, "")
	for i := range 8 {
		c := r.dial()
		c.Write(whole[:at+1])
		open = append(open, c)
		eventually(t, "selected", func() bool { return s.Counts().Selected == int64(i+1) })
	}
	eventually(t, "half of the slots", func() bool { return s.Counts().Dropped["overflow"] == 4 })
	r.underWay("b", 4)
	for range 20 {
		r.must(nil, false)
	}
	eventually(t, "short ones get through", func() bool { return s.Counts().Delivered == 20 })
	for _, c := range open {
		c.Write(whole[at+1:])
	}
	if n := r.copiesEnded("b"); n.Delivered != 24 || n.Dropped["overflow"] != 4 {
		t.Errorf("%+v", n)
	}
}

func TestCopiesInFlightAndInLineAreBounded(t *testing.T) {
	const all = upstream.Unlimited
	for _, bound := range []struct {
		name                           string
		limit                          int
		requests, connections, pending uint32
		places, line                   int64
	}{
		{"limit", 4, all, all, all, 4, 16},
		{"max_requests", 0, 3, all, all, 3, 12},
		{"max_connections", 0, all, 2, all, 2, 8},
		{"max_pending_requests", 4, all, all, 1, 4, 1},
		{"no line", 4, all, all, 0, 4, 0},
		{"none allowed", 0, 0, all, all, 0, 0},
	} {
		t.Run(bound.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mirror.Limits{Timeout: 3 * time.Second, MaxInFlight: bound.limit})
			var served atomic.Int64
			b := newFar(t, func(c *faulty.Conn) { c.Request(); c.Hang() })
			r.cluster("a", origin(t, echo(&served)))
			r.cluster("b", b.addr)
			cfg := *r.clusters.Slot("b").Cluster().Config()
			cfg.MaxRequests, cfg.MaxConnections, cfg.MaxPending = bound.requests, bound.connections, bound.pending
			r.clusters.Set(cfg)
			r.serve(r.to("a", r.policy("b", 100)))
			const n = 30
			s := r.mirrors.Stats("test", "b")
			for range n {
				r.must(nil, false)
			}
			eventually(t, "the rest is refused at once", func() bool {
				return s.Counts().Dropped["overflow"] == n-bound.places-bound.line
			})
			eventually(t, "places are taken", func() bool { return int64(b.seenAll()) == bound.places })
			if got := s.Counts(); got.Live != bound.places+bound.line {
				t.Errorf("%+v", got)
			}
			got := r.copiesEnded("b")
			// One that has its place just before its time is over may not have a connection by then.
			if late := got.Dropped["timeout"]; late < bound.places || late+got.Dropped["connect"] != bound.places+bound.line {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestCopiesInLineAreDeliveredWhenPlacesBecomeFree(t *testing.T) {
	r := newRig(t, mirror.Limits{MaxInFlight: 2})
	var served atomic.Int64
	var with, most atomic.Int64
	begin := make(chan struct{})
	b := newFar(t, func(c *faulty.Conn) {
		for {
			if _, _, err := c.Request(); err != nil {
				return
			}
			n := with.Add(1)
			for k := most.Load(); n > k && !most.CompareAndSwap(k, n); k = most.Load() {
			}
			<-begin
			with.Add(-1)
			c.Write([]byte(okay))
		}
	})
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	body := randomBytes(50 << 10)
	for i := range 10 {
		r.must(body, i%2 == 0)
	}
	r.underWay("b", 10)
	close(begin)
	if n := r.copiesEnded("b"); n.Delivered != 10 || most.Load() > 2 {
		t.Errorf("%+v, %d at once", n, most.Load())
	}
}

func TestMirrorsThatCannotBeReachedByConfiguration(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("empty")
	r.serve(r.to("a", r.policy("unknown", 100), r.policy("empty", 100)))
	for range 5 {
		r.must([]byte("data"), true)
	}
	if n := r.copiesEnded("unknown"); n.Dropped["config"] != 5 {
		t.Errorf("unknown: %+v", n)
	}
	if n := r.copiesEnded("empty"); n.Dropped["no_endpoint"] != 5 {
		t.Errorf("empty: %+v", n)
	}
	b := newFar(t, healthy)
	r.cluster("unknown", b.addr) // it comes later
	r.must(nil, false)
	if n := r.copiesEnded("unknown"); n.Delivered != 1 {
		t.Errorf("known now: %+v", n)
	}
}

func TestTargetRemovedWhileCopiesAreUnderWay(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	read, answer := make(chan struct{}), make(chan struct{})
	b := newFar(t, func(c *faulty.Conn) {
		c.Request()
		read <- struct{}{}
		<-answer
		c.Write([]byte(okay))
		c.Hang()
	})
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	whole, at := rawPost("half", randomBytes(1000), false, "")
	half := r.dial()
	half.Write(whole[:at+1])
	r.underWay("b", 1)
	r.must(nil, false)
	<-read
	eventually(t, "both copies have their connections", func() bool { // else the half one has begun nothing yet
		return b.open() == 2
	})
	r.clusters.Remove("b")
	r.must(nil, false) // this one finds no target
	half.Write(whole[at+1:])
	<-read
	close(answer)
	n := r.copiesEnded("b")
	if n.Delivered != 2 || n.Dropped["config"] != 1 {
		t.Errorf("%+v", n)
	}
	eventually(t, "connections to a target that is gone are closed", func() bool {
		return b.open() == 0
	})
}

// A target whose state is broken panics for every copy. (A zero Target has no cluster slot.) So does one that the request
// names.
func TestPanicsInMirrorCodeStayThere(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	b := newFar(t, healthy)
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", b.addr)
	worse := mirror.Policy{Stats: r.mirrors.Stats("test", "worse"), Numerator: 1, Denominator: 1}
	worse.ClusterHeader = "x-request-id"
	worse.Named = func([]byte) *mirror.Target { return new(mirror.Target) }
	broken := mirror.Policy{Stats: r.mirrors.Stats("test", "broken"), Numerator: 1, Denominator: 1}
	broken.Target = new(mirror.Target)
	r.serve(r.to("a", broken, worse, r.policy("b", 100)))
	const n = 20
	body := randomBytes(100 << 10)
	for i := range n {
		r.must(body, i%2 == 0)
	}
	if got := r.copiesEnded("b"); got.Delivered != n {
		t.Errorf("the sound mirror beside: %+v", got)
	}
	for _, name := range []string{"broken", "worse"} {
		if got := r.mirrors.Stats("test", name).Counts(); got.Dropped["panic"] != n || got.Live != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestHopLimit(t *testing.T) {
	for _, hops := range []struct {
		limit      int
		sent, want string // "" is none; want "loop" is no copy
	}{
		{0, "", "1"}, {0, "0", "1"}, {0, "1", "2"}, {0, "2", "3"}, {0, "3", "loop"}, {0, "9", "loop"},
		{0, "70000", "loop"},
		{0, "-1", "loop"}, {0, "x", "loop"}, {0, "99999999999999999999", "loop"}, {20, "12", "13"}, {20, "20", "loop"},
		{1, "", "1"}, {1, "1", "loop"},
	} {
		r := newRig(t, mirror.Limits{MaxHops: hops.limit})
		var served atomic.Int64
		got := make(chan string, 1)
		b := newFar(t, func(c *faulty.Conn) {
			if q, _, err := c.Request(); err == nil {
				got <- fmt.Sprint(q.Header.Values("X-Umbra-Mirror-Hops"))
				c.Write([]byte(okay))
			}
		})
		r.cluster("a", origin(t, echo(&served)))
		r.cluster("b", b.addr)
		r.serve(r.to("a", r.policy("b", 100)))
		if hops.sent == "" {
			r.must(nil, false)
		} else {
			r.must(nil, false, "X-Umbra-Mirror-Hops", hops.sent)
		}
		n := r.copiesEnded("b")
		if hops.want == "loop" {
			if n.Dropped["loop"] != 1 || b.connections() != 0 {
				t.Errorf("%+v: %+v", hops, n)
			}
			continue
		}
		if n.Delivered != 1 {
			t.Errorf("%+v: %+v", hops, n)
			continue
		}
		if v := <-got; v != "["+hops.want+"]" {
			t.Errorf("%+v: copy carries %s", hops, v)
		}
	}
}
