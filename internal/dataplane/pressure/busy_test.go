// SPDX-License-Identifier: Apache-2.0

package pressure_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/pressure"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// shed is what the levels that were reached gave up, in their order.
type shed struct {
	level  atomic.Int32
	levels chan pressure.Level
}

func (s *shed) act(l pressure.Level) {
	s.level.Store(int32(l))
	s.levels <- l
}

// next is the level that is reached next.
func (s *shed) next(t *testing.T) pressure.Level {
	t.Helper()
	select {
	case l := <-s.levels:
		return l
	case <-time.After(patience):
		t.Fatalf("waited in vain; the level is %v", pressure.Level(s.level.Load()))
		return 0
	}
}

// busy keeps a worker in one turn until the level is at least l, or patience ends; it returns once the turn has begun.
func (s *shed) busy(t *testing.T, w *loop.Worker, l pressure.Level) {
	t.Helper()
	turning := make(chan struct{})
	var late atomic.Bool
	giveUp := time.AfterFunc(patience, func() { late.Store(true) })
	t.Cleanup(func() { giveUp.Stop(); late.Store(true) }) // a test that fails ends the turn too
	if !w.Post(func() {
		close(turning)
		for pressure.Level(s.level.Load()) < l && !late.Load() {
			continue
		}
	}) {
		t.Fatal("the worker has ended")
	}
	select {
	case <-turning:
	case <-time.After(patience):
		t.Fatal("the worker does not come to what was posted")
	}
}

// watchLag runs workers, and a monitor of their delay, until the test ends. at are the delays from which copies
// are shed, and accepting pauses.
func watchLag(t *testing.T, workers int, at [2]time.Duration) ([]*loop.Worker, *pressure.Monitor, *shed, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	list := make([]*loop.Worker, workers)
	for i := range list {
		w, err := loop.New(loop.Config{Index: i})
		if err != nil {
			t.Fatal(err)
		}
		list[i] = w
		running.Go(func() {
			if err := w.Run(ctx); err != nil {
				t.Errorf("worker %d: %v", i, err)
			}
		})
	}
	s := &shed{levels: make(chan pressure.Level, 1000)}
	m := pressure.New([]*pressure.Resource{{
		Name: "loop_lag", Read: pressure.Lag(list), At: [3]float64{at[0].Seconds(), at[1].Seconds(), pressure.Never},
	}}, s.act, slog.New(slog.DiscardHandler))
	return list, m, s, func() { running.Go(func() { m.Run(ctx) }) }
}

// One of two workers is at its limit: no more copies begin, and production is served as before, by the other worker
// meanwhile and by both once that was enough.
func TestBusyLoopShedsCopiesAndServesProduction(t *testing.T) {
	workers, m, s, look := watchLag(t, 2, [2]time.Duration{time.Second / 4, 10 * patience})
	s.busy(t, workers[0], pressure.ShedCopies)
	look()
	served := make(chan int, len(workers))
	if !workers[1].Post(func() { served <- 1 }) {
		t.Fatal("the idle worker has ended")
	}
	if l := s.next(t); l != pressure.ShedCopies {
		t.Fatalf("the first level is %v", l)
	}
	if !workers[0].Post(func() { served <- 0 }) {
		t.Fatal("the busy worker has ended")
	}
	for range workers {
		select {
		case <-served:
		case <-time.After(patience):
			t.Fatal("production is not served")
		}
	}
	if l := s.next(t); l != pressure.None {
		t.Errorf("%v follows, want relief", l)
	}
	if n := m.Reached(pressure.PauseAccepting); n != 0 {
		t.Errorf("accepting was paused %d times", n)
	}
}

// A worker that stays busy after copies were shed takes no new connections either, and never has requests refused; copies
// are not begun again before connections are accepted again.
func TestLoopThatStaysBusyPausesAcceptingAfterCopiesAreShed(t *testing.T) {
	workers, m, s, look := watchLag(t, 1, [2]time.Duration{time.Second / 4, time.Second})
	s.busy(t, workers[0], pressure.PauseAccepting)
	look()
	var order []pressure.Level
	for l := s.next(t); ; l = s.next(t) {
		order = append(order, l)
		if l == pressure.None {
			break
		}
	}
	last := pressure.None
	for i, l := range order {
		if l < last-1 {
			t.Errorf("%v: level %d eases by more than one", order, i)
		}
		last = l
	}
	if m.Reached(pressure.ShedCopies) == 0 || m.Reached(pressure.PauseAccepting) == 0 ||
		m.Reached(pressure.RefuseRequests) != 0 || len(order) < 3 {
		t.Errorf("%v: copies shed %d times, accepting paused %d times, requests refused %d times", order,
			m.Reached(pressure.ShedCopies), m.Reached(pressure.PauseAccepting), m.Reached(pressure.RefuseRequests))
	}
}
