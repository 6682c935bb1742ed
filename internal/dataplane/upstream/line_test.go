// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

// queue is a cluster with max_connections 1 in a time of its own, and what its requests saw.
type queue struct {
	t    *testing.T
	sim  *loop.Sim
	w    *loop.Worker
	c    *Cluster
	seen []string
}

func newQueue(t *testing.T, arrive func(*loop.Peer) loop.Arrival, hosts ...string) *queue {
	q := &queue{t: t, sim: loop.NewSim(time.Now())}
	q.sim.Fail = func(what string) { t.Error(what) }
	registry := stats.NewRegistry(1)
	q.w = q.sim.NewWorker(loop.Config{}, 1)
	d := NewDirectory([]*loop.Worker{q.w}, registry)
	cfg := Config{
		Name: "c", ConnectTimeout: time.Second, MaxConnections: 1, MaxPending: Unlimited, MaxRequests: Unlimited,
	}
	for _, h := range hosts {
		addr := netip.MustParseAddrPort(h)
		cfg.Static = append(cfg.Static, Endpoint{Addr: addr})
		q.sim.Listen(addr, arrive)
	}
	d.Set(cfg)
	q.c = d.Slot("c").Cluster()
	t.Cleanup(func() {
		d.Close()
		q.sim.End()
	})
	return q
}

// queued is a request that wants a connection to a host.
type queued struct {
	q    *queue
	name string
	h    *Host
	conn *Conn
}

func (q *queue) ask(name string, host int) *queued {
	x := &queued{q: q, name: name, h: q.c.Hosts()[host]}
	if x.h.InLine(q.w) || !x.h.HasIdle(q.w, loop.Production) && !q.c.CanDial(q.w, x.h) {
		x.h.Wait(q.w, x)
	} else {
		x.take()
	}
	return x
}

func (x *queued) take() {
	conn, ready := x.q.c.Acquire(x.q.w, x.h, loop.Production, time.Second, false, x)
	if x.conn = conn; ready {
		x.Connected(conn)
	}
}

// ends breaks the connections of requests, in a turn, and lets time pass until then.
func (q *queue) ends(until time.Duration, all ...*queued) {
	q.w.Post(func() {
		for _, x := range all {
			x.conn.Abort()
		}
	})
	q.sim.Run(until)
}

func (q *queue) saw(want ...string) {
	q.t.Helper()
	if d := cmp.Diff(want, q.seen); d != "" {
		q.t.Error(d)
	}
	q.seen = nil
}

func (x *queued) Freed() bool {
	if !x.h.HasIdle(x.q.w, loop.Production) && !x.q.c.CanDial(x.q.w, x.h) {
		return false
	}
	x.h.Leave(x.q.w, x)
	x.take()
	return true
}

func (x *queued) Refused(f Failure)            { x.fell("refused", f) }
func (x *queued) Connected(*Conn)              { x.q.seen = append(x.q.seen, x.name) }
func (x *queued) Failed(_ *Conn, f Failure)    { x.fell("failed", f) }
func (*queued) AnswerHead(*Conn, *codec.Head)  {}
func (*queued) AnswerData(*Conn, chunk.Bytes)  {}
func (*queued) AnswerEnd(*Conn, []codec.Field) {}
func (*queued) Writable(*Conn)                 {}
func (x *queued) fell(how string, f Failure) {
	if f.Kind == ConnectTimeout && errors.Is(f.Err, loop.ErrConnectTimeout) {
		how += " in time"
	}
	x.q.seen = append(x.q.seen, x.name+" "+how)
}

func TestLineIsServedInOrderAsConnectionsEnd(t *testing.T) {
	q := newQueue(t, func(*loop.Peer) loop.Arrival { return loop.Arrival{} }, "10.0.0.1:80")
	a, b, c, d := q.ask("a", 0), q.ask("b", 0), q.ask("c", 0), q.ask("d", 0)
	q.sim.Run(time.Second)
	q.saw("a")
	c.h.Leave(q.w, c)
	q.ends(2*time.Second, a)
	q.saw("b")
	q.ends(3*time.Second, b)
	q.saw("d")
	q.ends(4*time.Second, d)
	q.saw()
	if left := q.sim.Left(); len(left) > 0 {
		t.Error(left)
	}
}

func TestLineOfAHostThatCannotBeReachedIsToldAtOnce(t *testing.T) {
	q := newQueue(t, func(*loop.Peer) loop.Arrival { return loop.Arrival{Never: true} }, "10.0.0.1:80")
	q.ask("a", 0)
	q.ask("b", 0)
	q.ask("c", 0)
	q.sim.Run(1500 * time.Millisecond) // one connect timeout, not three
	q.saw("a failed in time", "b refused in time", "c refused in time")
	if left := q.sim.Left(); len(left) > 0 {
		t.Error(left)
	}
}

func TestLineFindsTheRoomThatAConnectionToAnotherHostLeft(t *testing.T) {
	q := newQueue(t, func(*loop.Peer) loop.Arrival { return loop.Arrival{} }, "10.0.0.1:80", "10.0.0.2:80")
	q.c.cfg.Load().MaxConnections = 2
	tunnel, other := q.ask("tunnel", 0), q.ask("other", 1)
	waits := q.ask("waits", 0)
	q.sim.Run(time.Second)
	q.saw("tunnel", "other")
	q.ends(2*time.Second, other)
	q.saw("waits")
	q.ends(3*time.Second, tunnel, waits)
	if left := q.sim.Left(); len(left) > 0 {
		t.Error(left)
	}
}
