// SPDX-License-Identifier: Apache-2.0

// Package loop runs connections on event loops: a worker is one goroutine with its connections, timers, mailbox and
// memory, and takes turns that serve production first and copies for a bounded time after. It runs on epoll, on the net
// package (Portable), or on a network in memory with a clock of its own (Sim). It knows no protocol.
package loop

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

// Config of a worker. All fields may be left out.
type Config struct {
	Index   int
	Driver  Kind        // what it runs on
	Pool    *chunk.Pool // the worker's from now on; made if nil
	Publish func()      // called at the end of every turn that did something
	Logger  *slog.Logger
	OnPanic func(v any) // called on the worker's goroutine for every contained panic, after it was logged
}

// Worker owns connections and all that belongs to them. Everything is for its own goroutine, the callbacks' one, except
// Post, Hand, Stop, Conns and Watch.
type Worker struct {
	Index int
	Pool  *chunk.Pool

	cfg    Config
	drv    driver
	epoch  time.Time
	clock  func() int64             // reads the time since epoch
	date   func() time.Time         // the same on the calendar
	guard  func(*Conn, Owner) Owner // Sim's: what stands between a connection and its owner; nil: nothing
	now    int64
	wall   time.Time
	random *rand.PCG

	slots []slot
	free  []uint32 // slots without a connection
	wheel wheel
	rx    *chunk.Chunk // what is received into
	bufs  [maxBuffers][]byte

	lists     [2]lists // by Class
	copyTasks taskList
	copyPart  int  // which of the copies' parts begins
	moved     int  // bytes read and written in this part of the turn
	worked    bool // in this turn
	dead      []*Conn
	frees     []Freer
	ease      Timer
	easing    bool // ease is armed

	claimed bool         // the function that Hand runs has not adopted its connection yet
	conns   atomic.Int64 // adopted or handed over, and not yet closed
	pulse   atomic.Uint64
	stop    atomic.Bool
	mail    mailbox
}

type slot struct {
	conn *Conn
	gen  uint32
}

// Freer gives back what it holds.
type Freer interface{ Free() }

// New makes a worker. Its descriptors are given back when Run returns, so Run must be called.
func New(cfg Config) (*Worker, error) {
	if cfg.Pool == nil {
		cfg.Pool = new(chunk.Pool)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Worker{Index: cfg.Index, Pool: cfg.Pool, cfg: cfg, epoch: time.Now()}
	w.clock = func() int64 { return int64(time.Since(w.epoch)) }
	w.date = time.Now
	var seed [16]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return nil, err
	}
	w.random = rand.NewPCG(binary.NativeEndian.Uint64(seed[:8]), binary.NativeEndian.Uint64(seed[8:]))
	drv, err := newDriver(cfg.Driver, w.epoch)
	if err != nil {
		return nil, err
	}
	w.begin(drv)
	return w, nil
}

func (w *Worker) begin(drv driver) {
	w.drv = drv
	w.ease.Init(func() {
		w.easing = false
		w.Pool.Ease()
	})
	w.rx = w.Pool.Large()
	w.tick()
	w.idle(true)
	w.wheel.now = tickOf(w.now)
}

// Now is the monotonic time of this turn in nanoseconds since the worker was made.
func (w *Worker) Now() int64 { return w.now }

// Wall is the same instant on the calendar.
func (w *Worker) Wall() time.Time { return w.wall }

// Rand is a random number of the worker's own generator. Not for secrets.
func (w *Worker) Rand() uint64 { return w.random.Uint64() }

// Conns is the number of connections adopted or on their way by Hand, and not yet closed. Safe from every goroutine.
func (w *Worker) Conns() int { return int(w.conns.Load()) }

// Arm makes t fire d from now; a timer that is armed already is moved.
func (w *Worker) Arm(t *Timer, d time.Duration) { w.wheel.arm(t, w.now+int64(d)) }

// Disarm keeps t from firing.
func (w *Worker) Disarm(t *Timer) { w.wheel.disarm(t) }

// Later runs t once in the copies' part of this turn or a later one. A task that is queued already stays so.
func (w *Worker) Later(t *Task) { w.copyTasks.push(t) }

// Defer calls f.Free at the end of the turn, so that nothing is reused by the callback that ended it.
func (w *Worker) Defer(f Freer) { w.frees = append(w.frees, f) }

// Post runs fn on the worker's goroutine, in the next turn's first part. It is the only door for other goroutines,
// never blocks and has no bound: it is for rare things (a connection, a new configuration). It reports false, and fn
// will never run, if the worker has stopped.
func (w *Worker) Post(fn func()) bool { return w.mail.post(fn, w.drv.wake) }

// Hand is Post for a connection that fn adopts: it counts in Conns at once, so that who hands over many finds the
// worker with the fewest.
func (w *Worker) Hand(fn func()) bool {
	w.conns.Add(1)
	ok := w.Post(func() {
		w.claimed = true
		fn()
		if w.claimed {
			w.claimed = false
			w.conns.Add(-1)
		}
	})
	if !ok {
		w.conns.Add(-1)
	}
	return ok
}

// Stop makes Run return after the turn in progress. Safe from every goroutine.
func (w *Worker) Stop() {
	w.stop.Store(true)
	w.mail.wake(w.drv.wake)
}

// Run takes turns until ctx is done or Stop is called, then closes all connections without telling their owners: who
// wants them to end in order drains first. What was posted before is run.
func (w *Worker) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, w.Stop)()
	defer w.close()
	for !w.stop.Load() {
		if err := w.turn(); err != nil {
			return err
		}
	}
	return nil
}

func (w *Worker) close() {
	w.mail.run()
	for _, fn := range w.mail.end() {
		fn()
	}
	for i := range w.slots {
		if c := w.slots[i].conn; c != nil && !c.is(isDead) {
			w.kill(c)
		}
	}
	w.reap()
	w.idle(true)
	w.drv.close()
}

// mailbox is what other goroutines want done.
type mailbox struct {
	full  atomic.Bool // there is something; tells without the lock
	spare []func()    // owned by the worker

	mu    sync.Mutex
	fns   []func() // guarded by mu
	ended bool     // guarded by mu
}

func (m *mailbox) post(fn func(), wake func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return false
	}
	m.fns = append(m.fns, fn)
	if len(m.fns) == 1 {
		m.full.Store(true)
		wake()
	}
	return true
}

// wake wakes the worker unless it has given its descriptors back.
func (m *mailbox) wake(wake func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ended {
		wake()
	}
}

// run runs what was posted before and reports whether there was anything.
func (m *mailbox) run() bool {
	if !m.full.Load() {
		return false
	}
	m.mu.Lock()
	fns := m.fns
	m.fns = m.spare[:0]
	m.full.Store(false)
	m.mu.Unlock()
	for i, fn := range fns {
		fns[i] = nil
		fn()
	}
	if cap(fns) > 1024 {
		fns = nil
	}
	m.spare = fns
	return len(fns) > 0
}

// end refuses posts from now on and returns those that were not run.
func (m *mailbox) end() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	return m.fns
}
