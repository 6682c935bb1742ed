// SPDX-License-Identifier: Apache-2.0

// Package mirror sends copies of requests: it chooses who gets one, taps the request as it passes, delivers the copy out
// of band and accounts for it. It does not route production, compare answers or record.
//
// Five promises, each held by a test:
//
//  1. Production never waits for an event of a copy: not its connection, body, answer or log. Tap methods only put bytes
//     into a queue; everything else happens in the copies' part of a loop turn, whose time is capped.
//  2. Memory for copies is bounded, for the process and for each copy, and a copy that is not delivered is counted under
//     exactly one cause. In every published snapshot selected = delivered + sum(dropped) + live, where no term is
//     computed from the others.
//  3. A copy is ended complete and identical, or visibly broken (the connection is reset), never ended short.
//  4. Without a mirror on the route the path costs one nil check an event and no allocation.
//  5. Nothing a mirror answers reaches production. Every entry recovers from panics, kills the copy it served, and
//     disables its target after maxPanics of them.
package mirror

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// Limits bound what copies may cost. Zero values take the defaults.
type Limits struct {
	Timeout     time.Duration // from the end of the request to the final answer's end; 15 s
	MaxInFlight int           // copies for one target, connected or waiting for a connection; 256
	Window      int           // bytes one copy may lag behind production; 8 MiB
	Memory      int64         // bytes that copies hold, all together; 48 MiB
	MaxHops     int           // mirrors a request may pass through one after another; 3
	ConnectTime time.Duration // to a mirror, unless its cluster allows less; 1 s
}

func (l Limits) withDefaults() Limits {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.Timeout, 15*time.Second)
	def(&l.ConnectTime, time.Second)
	if l.MaxInFlight == 0 {
		l.MaxInFlight = 256
	}
	if l.Window == 0 {
		l.Window = 8 << 20
	}
	if l.Memory == 0 {
		l.Memory = 48 << 20
	}
	if l.MaxHops == 0 {
		l.MaxHops = 3
	}
	return l
}

// Config is what an Engine needs from outside.
type Config struct {
	Limits   Limits
	LocalIP  string // this node's address, appended to the copy's x-forwarded-for
	Registry *stats.Registry
	Logger   *slog.Logger
	// Log gets a line for each copy that ended; nil: none.
	Log *format.Writer
	// Tracer makes a span of each copy; nil: the copy has the request's trace context unchanged.
	Tracer *trace.Tracer
}

// Engine is the process's mirror: targets, limits and the kill switch.
type Engine struct {
	// Immutable.
	epoch  time.Time
	cfg    Config
	limits Limits

	enabled  atomic.Bool
	shedding atomic.Bool
	budget   budget

	// Guarded by mu.
	mu      sync.Mutex
	targets map[weak.Pointer[upstream.Slot]]weak.Pointer[Target] // those that somebody holds
	indexes int                                                  // of targets: so many were made
	spare   []int                                                // of these, those of targets that are gone
	stats   map[statsKey]*Stats
}

// NewEngine returns an engine that is on.
func NewEngine(cfg Config) *Engine {
	e := &Engine{
		epoch: time.Now(), cfg: cfg, limits: cfg.Limits.withDefaults(),
		targets: map[weak.Pointer[upstream.Slot]]weak.Pointer[Target]{}, stats: map[statsKey]*Stats{},
	}
	e.budget.limit = e.limits.Memory
	e.enabled.Store(true)
	return e
}

// SetEnabled is the kill switch: false lets no request get a copy from now on; copies under way go on.
func (e *Engine) SetEnabled(on bool) { e.enabled.Store(on) }

// Enabled reports the kill switch.
func (e *Engine) Enabled() bool { return e.enabled.Load() }

// SetShedding drops new copies as overload; those under way go on, see Local.Shed.
func (e *Engine) SetShedding(on bool) { e.shedding.Store(on) }

// Held is the memory that copies hold now, in bytes: the chunks of what is to be sent, and what has come of heads and
// trailers that mirrors have not ended.
func (e *Engine) Held() int64 { return e.budget.used.Load() }

// MemoryLimit bounds Held: with one worker Held is never above it. Workers look and charge without a lock, so that each
// other one may go over it by one piece of a request: 136 KiB at most for a head, a body's piece or its end; and where
// production's connection came up late, what production itself had kept of the body until then, and 72 KiB. Or by one read
// of an answer's head or trailers: 264 KiB.
//
// Not in it, as no mirror can make it grow: up to 15 KiB that each connection to one keeps of its last answer's head.
func (e *Engine) MemoryLimit() int64 { return e.limits.Memory }

// budget is the process's memory for copies. It implements chunk.Meter: a chunk is charged once, from the first copy
// that holds it to the last.
type budget struct {
	limit int64
	used  atomic.Int64
}

var _ chunk.Meter = (*budget)(nil)

// Charge implements chunk.Meter.
func (b *budget) Charge(n int) { b.used.Add(int64(n)) }

// Release implements chunk.Meter.
func (b *budget) Release(n int) { b.used.Add(-int64(n)) }

// free is what is left, never negative.
func (b *budget) free() int64 { return max(b.limit-b.used.Load(), 0) }

// Local is one worker's part of the engine. All its methods, and those of its taps and copies, belong to that worker's
// loop.
type Local struct {
	engine *Engine
	w      *loop.Worker

	taps       *Tap  // free, at most keepFree
	copies     *Copy // free, at most keepFree
	freeTaps   int
	freeCopies int
	list       *Copy   // the live list
	lanes      []*lane // by Target.index; those that have copies
	freeLanes  *lane   // as many as there were at once
	live       int     // its length
	recounted  int64   // loop time
	closing    bool
	drained    func()
	graceTimer loop.Timer
	scratch    scratch
	logBuf     []byte
}

// Local makes the part for w; call once a worker, before it runs.
func (e *Engine) Local(w *loop.Worker) *Local { return &Local{engine: e, w: w} }

// time is the turn's time on a clock that all workers share, in ns.
func (l *Local) time() int64 { return int64(l.w.Wall().Sub(l.engine.epoch)) }

// Live is the number of this worker's copies that have not ended.
func (l *Local) Live() int { return l.live }
