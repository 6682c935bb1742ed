// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"container/heap"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

// Sim is a network in memory with a clock of its own, for tests: its workers are real ones, and what they talk to are
// Peers, which a test scripts. All of it runs on the goroutine that calls Run, and nothing is left to chance but what
// the seeds decide: the same calls and seeds give the same run. Time passes only between turns.
type Sim struct {
	// Fail hears of what a worker must never do: to call an owner back after the end, to stay busy for ever. Set it
	// before the first worker.
	Fail func(what string)
	// Beside lets time pass, d of it, for what does not go by the Sim's clock, and returns when that has nothing more to
	// do: in a bubble of testing/synctest a Sleep and a Wait. It is called after each round of turns with 0, and before
	// the clock moves. By default nothing goes on beside the Sim.
	Beside func(d time.Duration)
	// Calendar is what the workers' calendar shows at an instant: a test steps it, as a machine's is. By default it runs
	// with the clock.
	Calendar func(time.Time) time.Time

	now     int64
	start   time.Time
	seq     uint64
	due     simEvents
	places  map[netip.AddrPort]func(*Peer) Arrival
	workers []*Worker
	drivers []*simDriver
}

// Arrival is what becomes of a connection that a worker dials.
type Arrival struct {
	Refuse bool
	Never  bool          // no answer at all
	After  time.Duration // until it is accepted or refused, besides the latency
	Link   Link
}

// Link is the way between a worker and a Peer, both directions alike.
type Link struct {
	Seed    uint64        // of what happens on this link
	Latency time.Duration // at least 1 ns
	Jitter  time.Duration // at most this much more, by piece; pieces keep their order
	Room    int           // what one side may have sent that the other has not taken; 0: 64 KiB
	Piece   int           // bytes travel in random pieces of at most so many; 0: as they were sent
}

// NewSim returns a network without workers, whose clock begins at start.
func NewSim(start time.Time) *Sim {
	return &Sim{
		start: start, places: map[netip.AddrPort]func(*Peer) Arrival{}, Fail: func(string) {},
		Beside: func(time.Duration) {}, Calendar: func(t time.Time) time.Time { return t },
	}
}

// NewWorker adds a worker, which Run and End run: its own Run must not be called.
func (s *Sim) NewWorker(cfg Config, seed uint64) *Worker {
	if cfg.Pool == nil {
		cfg.Pool = new(chunk.Pool)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Worker{Index: cfg.Index, Pool: cfg.Pool, cfg: cfg, epoch: s.start}
	w.clock = func() int64 { return s.now }
	w.date = s.Date
	w.random = rand.NewPCG(seed, 1)
	w.guard = func(c *Conn, o Owner) Owner { return &guarded{sim: s, c: c, o: o} }
	d := &simDriver{sim: s, w: w}
	w.begin(d)
	s.workers, s.drivers = append(s.workers, w), append(s.drivers, d)
	return w
}

// Now is the time since the start.
func (s *Sim) Now() time.Duration { return time.Duration(s.now) }

// Date is the same instant on the calendar.
func (s *Sim) Date() time.Time { return s.Calendar(s.start.Add(time.Duration(s.now))) }

// After calls fn when d has passed, not before the turn in progress has ended.
func (s *Sim) After(d time.Duration, fn func()) { s.at(s.now+max(int64(d), 0), fn) }

func (s *Sim) at(when int64, fn func()) {
	s.seq++
	heap.Push(&s.due, simEvent{when, s.seq, fn})
}

// Listen has arrive asked about every connection to addr that a worker dials.
func (s *Sim) Listen(addr netip.AddrPort, arrive func(*Peer) Arrival) { s.places[addr] = arrive }

// Connect makes a connection to a worker: fd is to be adopted by it, at once.
func (s *Sim) Connect(w *Worker, l Link) (p *Peer, fd int) {
	c := newSimConn(s, l)
	c.up = true
	return c.peer(), s.drivers[w.Index].add(c)
}

// maxTurns is how many turns a worker may take while the clock stands still.
const maxTurns = 1 << 20

// Run lets time pass until nothing is to happen any more, or not before until; then the clock is there.
func (s *Sim) Run(until time.Duration) {
	for s.turns() {
		next := int64(math.MaxInt64)
		if len(s.due) > 0 {
			next = s.due[0].when
		}
		for _, w := range s.workers {
			next = min(next, w.wheel.deadline())
		}
		if next > int64(until) {
			if next != math.MaxInt64 {
				s.pass(int64(until))
			}
			return
		}
		s.pass(next)
		for len(s.due) > 0 && s.due[0].when <= s.now {
			heap.Pop(&s.due).(simEvent).fn()
		}
	}
}

// pass moves the clock, and what is beside it.
func (s *Sim) pass(to int64) {
	if to > s.now {
		s.Beside(time.Duration(to - s.now))
		s.now = to
	}
}

// turns lets the workers take turns until none has anything to do now, and reports whether that came about.
func (s *Sim) turns() bool {
	for n := 0; ; n++ {
		busy := false
		for i, w := range s.workers {
			d := s.drivers[i]
			if !w.pending() && len(d.due) == 0 && !w.mail.full.Load() && w.wheel.deadline() > s.now {
				continue
			}
			busy = true
			if err := w.turn(); err != nil {
				s.Fail(err.Error())
			}
		}
		if !busy {
			return true
		}
		s.Beside(0)
		if n > maxTurns {
			s.Fail("a worker stays busy for ever")
			return false
		}
	}
}

// Left tells what a worker still holds: connections and timers. Empty is what a test wants in the end.
func (s *Sim) Left() (left []string) {
	for i, w := range s.workers {
		for _, slot := range w.slots {
			if c := slot.conn; c != nil {
				left = append(left, fmt.Sprintf("worker %d: connection %v to %v, class %d, state %b", i, c.local, c.remote,
					c.class, c.state))
			}
		}
		if w.wheel.deadline() != math.MaxInt64 {
			left = append(left, fmt.Sprintf("worker %d: a timer is armed", i))
		}
		if n := s.drivers[i].open; n > 0 {
			left = append(left, fmt.Sprintf("worker %d: %d sockets open", i, n))
		}
	}
	return left
}

// End closes what is open, as Run of a real worker does when it returns.
func (s *Sim) End() {
	for _, w := range s.workers {
		w.close()
	}
}

type simEvent struct {
	when int64
	seq  uint64
	fn   func()
}

// simEvents is a heap: what is due first, of the same instant what was scheduled first.
type simEvents []simEvent

func (e simEvents) Len() int { return len(e) }
func (e simEvents) Less(i, k int) bool {
	return e[i].when < e[k].when || e[i].when == e[k].when && e[i].seq < e[k].seq
}
func (e simEvents) Swap(i, k int) { e[i], e[k] = e[k], e[i] }
func (e *simEvents) Push(x any)   { *e = append(*e, x.(simEvent)) }
func (e *simEvents) Pop() any {
	old := *e
	x := old[len(old)-1]
	old[len(old)-1] = simEvent{}
	*e = old[:len(old)-1]
	return x
}

// guarded is an owner whose callbacks must not come after the end.
type guarded struct {
	sim  *Sim
	c    *Conn
	o    Owner
	gone bool
}

func (g *guarded) check(what string) {
	if g.gone || g.c.Closed() {
		g.sim.Fail(what + " after the end of a connection")
	}
}

func (g *guarded) Connected()          { g.check("Connected"); g.o.Connected() }
func (g *guarded) Bytes(b chunk.Bytes) { g.check("Bytes"); g.o.Bytes(b) }
func (g *guarded) EOF()                { g.check("EOF"); g.o.EOF() }
func (g *guarded) Writable()           { g.check("Writable"); g.o.Writable() }
func (g *guarded) Gone(err error) {
	if g.gone || !g.c.is(isDead) {
		g.sim.Fail("Gone twice, or of a connection that is alive")
	}
	g.gone = true
	g.o.Gone(err)
}
