// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/listener"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// rig is a relay between two peers of the test's.
type rig struct {
	t         *testing.T
	w         *loop.Worker
	near, far *net.TCPConn
	ended     chan relay.End
	fromNear  atomic.Int64 // as the relay counted at its end
	fromFar   atomic.Int64
	conns     [2]*loop.Conn // for the worker's goroutine
}

// Relayed implements relay.User.
func (r *rig) Relayed(rl *relay.Relay, end relay.End) {
	near, far := rl.Received()
	r.fromNear.Store(near)
	r.fromFar.Store(far)
	r.ended <- end
}

// nobody owns a connection before it is joined.
type nobody struct{ t *testing.T }

func (nobody) Connected()          {}
func (n nobody) Bytes(chunk.Bytes) { n.t.Error("bytes for the former owner") }
func (nobody) EOF()                {}
func (nobody) Writable()           {}
func (nobody) Gone(error)          {}

func newRig(t *testing.T, early, rest string, idle time.Duration) *rig {
	t.Helper()
	r := &rig{t: t, ended: make(chan relay.End, 2)}
	w, err := loop.New(loop.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r.w = w
	l, err := listener.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(context.Background()); err != nil {
			t.Error(err)
		}
	})
	adopted := make(chan *loop.Conn)
	running.Go(func() {
		l.Serve([]*loop.Worker{w}, func(w *loop.Worker, fd int, peer, local netip.AddrPort) {
			c, err := w.AdoptFrom(fd, loop.Production, nobody{t}, local, peer)
			if err != nil {
				t.Error(err)
				return
			}
			c.Pause()
			go func() { adopted <- c }()
		})
	})
	t.Cleanup(func() {
		l.Close()
		w.Stop()
		running.Wait()
	})
	for i, peer := range []**net.TCPConn{&r.near, &r.far} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { c.Close() })
		*peer = c.(*net.TCPConn)
		r.conns[i] = receive(t, adopted)
	}
	r.on(func() {
		relay.Join(w, r.conns[0], r.conns[1], []byte(early), chunk.Bytes{B: []byte(rest)}, idle, r)
	})
	return r
}

func receive[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatal("waited in vain")
	}
	return v
}

// on runs fn on the worker's goroutine.
func (r *rig) on(fn func()) {
	r.t.Helper()
	done := make(chan bool)
	if !r.w.Post(func() { defer close(done); fn() }) {
		r.t.Fatal("the worker has stopped")
	}
	receive(r.t, done)
}

func (r *rig) send(c io.Writer, s string) {
	r.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) want(c io.Reader, s string) {
	r.t.Helper()
	b := make([]byte, len(s))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != s {
		r.t.Fatalf("got %q, %v; want %q", b[:n], err, s)
	}
}

func (r *rig) end(want relay.End) {
	r.t.Helper()
	if got := receive(r.t, r.ended); got != want {
		r.t.Errorf("ended as %d, want %d", got, want)
	}
	deadline := time.Now().Add(patience)
	for r.w.Conns() > 0 {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d connections still open", r.w.Conns())
		}
		r.on(func() {})
	}
}

func TestWhatCameBeforeGoesFirst(t *testing.T) {
	r := newRig(t, "early ", "greeting ", 0)
	r.send(r.near, "ping")
	r.want(r.far, "early ping")
	r.send(r.far, "pong")
	r.want(r.near, "greeting pong")
	r.near.CloseWrite()
	r.want(r.far, "")
	r.far.CloseWrite()
	r.end(relay.Done)
	if r.fromNear.Load() != 10 || r.fromFar.Load() != 13 {
		t.Errorf("counted %d and %d bytes", r.fromNear.Load(), r.fromFar.Load())
	}
}

func TestEndOfOneDirectionLeavesTheOther(t *testing.T) {
	for name, swap := range map[string]bool{"near ends": false, "far ends": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "", "", 0)
			first, second := r.near, r.far
			if swap {
				first, second = second, first
			}
			r.send(first, "the last of it")
			first.CloseWrite()
			if b, err := io.ReadAll(second); err != nil || string(b) != "the last of it" {
				t.Fatalf("%q, %v", b, err)
			}
			r.send(second, "and still an answer")
			r.want(first, "and still an answer")
			second.CloseWrite()
			if b, err := io.ReadAll(first); err != nil || len(b) != 0 {
				t.Errorf("%q, %v", b, err)
			}
			r.end(relay.Done)
		})
	}
}

// Much goes both ways at once, byte for byte, and no more is held than the marks allow.
func TestMuchBothWaysThroughSlowPeersIsHeldInBounds(t *testing.T) {
	r := newRig(t, "", "", 0)
	const size = 8 << 20
	a, b := make([]byte, size), make([]byte, size)
	rand.Read(a)
	rand.Read(b)
	var moving sync.WaitGroup
	pump := func(c *net.TCPConn, out, in []byte) {
		moving.Go(func() {
			if _, err := c.Write(out); err != nil {
				t.Error(err)
			}
			c.CloseWrite()
		})
		moving.Go(func() {
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, in) {
				t.Errorf("%d bytes of %d, or others: %v", len(got), len(in), err)
			}
		})
	}
	// Nobody reads at first: the queues fill up and stay there.
	go r.near.Write(a[:size/2])
	most := 0
	for range 2000 {
		r.on(func() { most = max(most, r.conns[0].Queued(), r.conns[1].Queued()) })
	}
	if most > loop.HighWater+loop.ReadCap {
		t.Errorf("%d bytes were held", most)
	}
	held := make([]byte, size/2)
	if _, err := io.ReadFull(r.far, held); err != nil || !bytes.Equal(held, a[:size/2]) {
		t.Fatal("what was held back is not what was sent", err)
	}
	pump(r.near, a, b)
	pump(r.far, b, a)
	moving.Wait()
	r.end(relay.Done)
}

func TestResetOfOneIsResetOfTheOther(t *testing.T) {
	for name, c := range map[string]struct {
		swap bool
		end  relay.End
	}{"near": {false, relay.NearGone}, "far": {true, relay.FarGone}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "", "", 0)
			first, second := r.near, r.far
			if c.swap {
				first, second = second, first
			}
			r.send(first, "part")
			r.want(second, "part")
			first.SetLinger(0)
			first.Close()
			if _, err := io.ReadAll(second); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other saw %v", err)
			}
			r.end(c.end)
		})
	}
}

func TestIdleRelayIsEndedAndABusyOneIsNot(t *testing.T) {
	const limit = 2 * time.Second
	r := newRig(t, "", "", limit)
	for range 6 { // longer than the limit, all in all; each pause is far below it
		r.send(r.near, "x")
		r.want(r.far, "x")
		pause := time.NewTimer(limit / 5)
		<-pause.C
	}
	select {
	case end := <-r.ended:
		t.Fatalf("ended as %d while it was busy", end)
	default:
	}
	if _, err := io.ReadAll(r.far); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer saw %v", err)
	}
	r.end(relay.Idle)
}
