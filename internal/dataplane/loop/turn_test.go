// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

// endless is a driver whose sockets never run dry.
type endless struct{ driver }

func (endless) recv(_ int, p []byte) (int, syscall.Errno) { return len(p), 0 }

func TestOneConnectionReadsNoMoreThanItsShareOfATurn(t *testing.T) {
	w := start(t, Config{}, func(w *Worker) { w.drv = endless{w.drv} })
	a, b := newProbe(), newProbe()
	var order []*probe
	done := make(chan struct{})
	for _, p := range []*probe{a, b} {
		p.onBytes = func(b chunk.Bytes) {
			if len(order) == 64 {
				return
			}
			if order = append(order, p); len(order) == 64 {
				close(done)
			}
		}
	}
	farA, farB := adopt(t, w, Production, a), adopt(t, w, Production, b)
	on(t, w, func() {
		a.c.Pause()
		b.c.Pause()
	})
	farA.Write([]byte("x"))
	farB.Write([]byte("x"))
	until(t, w, "both are readable", func() bool { return a.c.is(unread) && b.c.is(unread) })
	w.Post(func() {
		a.c.Resume()
		b.c.Resume()
	})
	receive(t, done, "reads")
	on(t, w, func() {
		a.c.Close()
		b.c.Close()
		// Both were ready in the same turn, so they take turns from the first read on.
		const share = ReadCap / chunk.Size
		for i := share; i < len(order); i++ {
			if order[i] == order[i-share] {
				t.Fatalf("read %d: the same connection as %d reads before", i, share)
			}
		}
	})
}

func TestCopiesComeAfterProductionInATurn(t *testing.T) {
	w := start(t, Config{}, nil)
	var order []string
	say := func(s string) func(chunk.Bytes) { return func(chunk.Bytes) { order = append(order, s) } }
	prod, cop := newProbe(), newProbe()
	prod.onBytes, cop.onBytes = say("production"), say("copy")
	farProd, farCopy := adopt(t, w, Production, prod), adopt(t, w, Copy, cop)
	var task Task
	task.Init(func() { order = append(order, "task") })
	var timer Timer
	timer.InitCopy(func() { order = append(order, "timer") })
	on(t, w, func() {
		prod.c.Pause()
		cop.c.Pause()
	})
	farCopy.Write([]byte("x"))
	farProd.Write([]byte("x"))
	until(t, w, "both are readable", func() bool { return prod.c.is(unread) && cop.c.is(unread) })
	on(t, w, func() {
		cop.c.Resume()
		prod.c.Resume()
		w.Defer(free(func() { // at the end of this turn, so that the task is of the next
			w.Later(&task)
			w.Later(&task)
			w.Arm(&timer, 0)
		}))
	})
	until(t, w, "all was served", func() bool { return len(order) == 4 })
	on(t, w, func() {
		if order[0] != "production" || slices.Index(order, "task") == 0 {
			t.Errorf("order %v", order)
		}
	})
}

type free func()

func (f free) Free() { f() }

func TestTasksKeepToTheBudgetAndAreNotLost(t *testing.T) {
	const step, tasks = 30 * time.Microsecond, 1000
	var turns, inTurn, most, ran int
	w := start(t, Config{Publish: func() { turns++; most = max(most, inTurn); inTurn = 0 }}, func(w *Worker) {
		var now atomic.Int64
		now.Store(w.now)
		w.clock = func() int64 { return now.Add(int64(step)) } // every look takes that long
	})
	list := make([]Task, tasks)
	on(t, w, func() {
		turns = 0
		for i := range list {
			list[i].Init(func() {
				if i != ran {
					t.Errorf("task %d ran as number %d", i, ran)
				}
				ran++
				inTurn++
			})
			w.Later(&list[i])
		}
	})
	until(t, w, "all tasks ran", func() bool { return ran == tasks })
	on(t, w, func() {
		if limit := int(CopyTime/step) + 1; most > limit || turns < tasks/limit {
			t.Errorf("up to %d tasks a turn in %d turns, want at most %d", most, turns, limit)
		}
	})
}

// Tasks that queue themselves again for ever keep neither production nor the other copies from being served.
func TestBusyTasksStarveNobody(t *testing.T) {
	w := start(t, Config{}, nil)
	stop := false
	var task [3]Task
	for i := range task {
		task[i].Init(func() {
			for began := w.clock(); w.clock() < began+int64(CopyTime); {
			}
			if !stop {
				w.Later(&task[i])
			}
		})
	}
	on(t, w, func() {
		for i := range task {
			w.Later(&task[i])
		}
	})
	for _, class := range []Class{Production, Copy} {
		c, err := net.Dial("tcp", serveEcho(t, w, class).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		b := make([]byte, 4)
		for range 20 {
			c.Write([]byte("ping"))
			if _, err := io.ReadFull(c, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	on(t, w, func() { stop = true })
}

func TestPostsFromManyGoroutinesAllRunInTheirOrder(t *testing.T) {
	w := start(t, Config{}, nil)
	const posters, each = 8, 2000
	last := make([]int, posters)
	var group sync.WaitGroup
	for p := range posters {
		group.Go(func() {
			for i := range each {
				w.Post(func() {
					if last[p] != i {
						t.Errorf("poster %d: %d came when %d was due", p, i, last[p])
					}
					last[p] = i + 1
				})
			}
		})
	}
	group.Wait()
	on(t, w, func() {
		want := slices.Repeat([]int{each}, posters)
		if diff := cmp.Diff(want, last); diff != "" {
			t.Error(diff)
		}
	})
}

func TestHandedConnectionCountsOnceFromTheStart(t *testing.T) {
	w := start(t, Config{}, nil)
	fd, far := tcpPair(t)
	p := newProbe()
	held, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	w.Post(func() { close(held); <-release })
	receive(t, held, "the worker to be busy")
	w.Hand(func() {
		if _, err := w.Adopt(fd, Production, p); err != nil {
			t.Error(err)
		}
		if n := w.Conns(); n != 2 {
			t.Errorf("%d connections when one is adopted and one on its way, want 2", n)
		}
	})
	w.Hand(func() { close(done) }) // refused by who was to adopt it
	if n := w.Conns(); n != 2 {
		t.Errorf("%d connections when both are on their way, want 2", n)
	}
	close(release)
	receive(t, done, "the second")
	until(t, w, "only the adopted one counts", func() bool { return w.Conns() == 1 })
	far.SetLinger(0)
	far.Close()
	receive(t, p.gone, "Gone")
	until(t, w, "none counts", func() bool { return w.Conns() == 0 })
}

// In one turn A's callback closes B, which is ready too, and dials C: C must not get B's descriptor, nor its event.
func TestDescriptorIsNotReusedWithinATurn(t *testing.T) {
	w := start(t, Config{}, nil)
	addr := serveEcho(t, w, Production)
	ps := [2]*probe{newProbe(), newProbe()}
	c := newProbe()
	for i, p := range ps {
		other := ps[1-i]
		p.onBytes = func(chunk.Bytes) {
			fd := other.c.fd
			other.c.Close()
			c.c = w.Dial(addr, Production, time.Minute, c)
			if c.c.fd == fd {
				t.Error("the descriptor was closed within the turn")
			}
		}
	}
	fars := [2]*net.TCPConn{adopt(t, w, Production, ps[0]), adopt(t, w, Production, ps[1])}
	on(t, w, func() {
		fars[0].Write([]byte("x"))
		fars[1].Write([]byte("x"))
	})
	receive(t, c.connected, "the new connection")
	on(t, w, func() {
		if n := ps[0].calls.Load() + ps[1].calls.Load(); n != 1 {
			t.Errorf("%d callbacks, want none for the closed connection", n)
		}
		if c.calls.Load() != 1 {
			t.Errorf("the new connection got %d callbacks", c.calls.Load())
		}
		c.c.Close()
	})
}

func TestEventOfAnEarlierConnectionIsNotTheNextOnes(t *testing.T) {
	w := start(t, Config{}, nil)
	old, p := newProbe(), newProbe()
	adopt(t, w, Production, old)
	on(t, w, func() { old.c.Close() })
	adopt(t, w, Production, p)
	on(t, w, func() {
		if old.c.slot != p.c.slot {
			t.Fatalf("slots %d and %d: nothing to be mixed up", old.c.slot, p.c.slot)
		}
		w.note(event{key: key{old.c.slot, 0}, bits: readable | hangup})
		w.note(event{key: key{99, 0}, bits: hangup})
		if p.c.events&hangup != 0 || p.c.RemoteClosed() {
			t.Error("the event was taken for the new connection's")
		}
	})
}

func TestPanicOfACopyIsContained(t *testing.T) {
	var panics []any
	w := start(t, Config{OnPanic: func(v any) { panics = append(panics, v) }}, nil)
	cop, prod := newProbe(), newProbe()
	cop.onBytes = func(chunk.Bytes) { panic("bytes") }
	cop.onGone = func(error) { panic("gone") }
	got := make(chan struct{})
	prod.onBytes = func(chunk.Bytes) { close(got) }
	farCopy, farProd := adopt(t, w, Copy, cop), adopt(t, w, Production, prod)
	farCopy.Write([]byte("x"))
	if _, err := io.ReadAll(farCopy); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the copy's connection ended with %v", err)
	}
	var task Task
	task.Init(func() { panic("task") })
	var timer Timer
	timer.InitCopy(func() { panic("timer") })
	on(t, w, func() {
		w.Later(&task)
		w.Arm(&timer, 0)
	})
	until(t, w, "all four have panicked", func() bool { return len(panics) == 4 })
	farProd.Write([]byte("x"))
	receive(t, got, "production's bytes after the panics")
	on(t, w, func() {
		if diff := cmp.Diff([]any{"bytes", "gone", "task", "timer"}, panics); diff != "" {
			t.Error(diff)
		}
		prod.c.Close()
	})
}

func TestOwnerOfAPanickedCopyHearsThatItIsGone(t *testing.T) {
	w := start(t, Config{}, nil)
	p := newProbe()
	p.onBytes = func(chunk.Bytes) { panic("bytes") }
	far := adopt(t, w, Copy, p)
	far.Write([]byte("x"))
	if err := receive(t, p.gone, "Gone"); err != ErrPanic {
		t.Errorf("gone with %v", err)
	}
}

func TestDeferredIsFreedAtTheEndOfTheTurn(t *testing.T) {
	published := make(chan struct{}, 1)
	var log []string
	w := start(t, Config{Publish: func() {
		if len(log) == 3 {
			log = append(log, "publish")
			published <- struct{}{}
		}
	}}, nil)
	w.Post(func() {
		w.Defer(free(func() {
			log = append(log, "free")
			w.Defer(free(func() { log = append(log, "free again") }))
		}))
		log = append(log, "callback")
	})
	receive(t, published, "the turn's end")
	on(t, w, func() {
		if diff := cmp.Diff([]string{"callback", "free", "free again", "publish"}, log); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSockaddrsKeepTheirAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:80": "127.0.0.1:80", "[::1]:8080": "[::1]:8080", "[::ffff:10.0.0.1]:1": "10.0.0.1:1",
	} {
		sa, _, err := Sockaddr(netip.MustParseAddrPort(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := AddrPort(sa).String(); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}

// Whoever subtracts two times of Wall must not see that somebody set the machine's clock: they need their monotonic part,
// which String shows.
func TestWallTimesDoNotStepWithTheClock(t *testing.T) {
	w := start(t, Config{}, nil)
	on(t, w, func() {
		if s := w.Wall().String(); !strings.Contains(s, " m=") {
			t.Errorf("%s has no monotonic clock reading", s)
		}
	})
}
