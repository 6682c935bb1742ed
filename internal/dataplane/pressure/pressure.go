// SPDX-License-Identifier: Apache-2.0

// Package pressure watches what the process may run out of: memory, descriptors, time on its workers. It says how far
// things have come, in levels that others act upon; it sheds nothing itself, and the request path never asks it.
package pressure

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Level is what is given up to keep the rest going. Each includes those below it; requests under way are never given up.
type Level int32

// The levels.
const (
	None           Level = iota
	ShedCopies           // no request gets a copy
	PauseAccepting       // copies under way are dropped, and new connections wait
	RefuseRequests       // new requests are answered 503
	levels
)

var levelNames = [levels]string{
	None: "none", ShedCopies: "shed_copies", PauseAccepting: "pause_accepting", RefuseRequests: "refuse_requests",
}

// String is the level as metrics and logs write it.
func (l Level) String() string { return levelNames[l] }

// Never as a threshold is not reached.
const Never = 1e9

const (
	// lookEvery is how often the resources are looked at.
	lookEvery = 250 * time.Millisecond
	// A level that was reached is left when all resources have been this far below its threshold for so many looks.
	margin = 0.05
	calm   = 4
)

// Resource is something that can run out.
type Resource struct {
	Name string
	// Read is its use as a share of what there is: 0 if that is not bounded, 1 if nothing is left. Called by one goroutine.
	Read func() float64
	// At are the shares from which ShedCopies, PauseAccepting and RefuseRequests hold.
	At [levels - 1]float64
	// Release, if it is not nil, is called at levels above None that this resource asks for: it may give some back. It
	// may take a while, and is not called more often than releaseEvery.
	Release func()

	use      atomic.Uint64 // in parts of a million
	released time.Time
}

// releaseEvery is the least time between two calls of Release.
const releaseEvery = 5 * time.Second

// Use is the share that was read last.
func (r *Resource) Use() float64 { return float64(r.use.Load()) / 1e6 }

// level is what the resource asks for when the level is now.
func (r *Resource) level(now Level) (l Level) {
	use := r.Read()
	r.use.Store(uint64(max(use, 0) * 1e6))
	for next := ShedCopies; next < levels; next++ {
		at := r.At[next-1]
		if next <= now {
			at -= margin // it holds until there is room
		}
		if use >= at {
			l = next
		}
	}
	return l
}

// Monitor looks at resources and keeps the level. Its methods may be called from every goroutine, but Look, which is
// Run's.
type Monitor struct {
	resources []*Resource
	act       func(Level)
	logger    *slog.Logger

	level   atomic.Int32
	reached [levels]atomic.Uint64
	quiet   int // looks in a row that asked for less
}

// New returns a monitor that calls act with each new level, from Run's goroutine.
func New(resources []*Resource, act func(Level), logger *slog.Logger) *Monitor {
	return &Monitor{resources: resources, act: act, logger: logger}
}

// Run looks four times a second until ctx is done.
func (m *Monitor) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			m.Look(now)
		}
	}
}

// Look reads the resources. More pressure counts at once, less when it has lasted; then the level goes down by one.
func (m *Monitor) Look(now time.Time) {
	was := m.Level()
	want, why := None, ""
	for _, r := range m.resources {
		l := r.level(was)
		if l > want {
			want, why = l, r.Name
		}
		if l > None && r.Release != nil && now.Sub(r.released) >= releaseEvery {
			r.released = now
			r.Release()
		}
	}
	switch {
	case want > was:
		for l := was + 1; l <= want; l++ {
			m.reached[l].Add(1)
		}
		m.logger.Warn("overload", "level", want, "was", was, "for", why)
		m.set(want)
	case want < was:
		if m.quiet++; m.quiet >= calm {
			m.logger.Info("overload eases", "level", was-1, "was", was)
			m.set(was - 1)
		}
	default:
		m.quiet = 0
	}
}

func (m *Monitor) set(l Level) {
	m.quiet = 0
	m.level.Store(int32(l))
	m.act(l)
}

// Level is what holds now.
func (m *Monitor) Level() Level { return Level(m.level.Load()) }

// Reached is how often a level was reached from below.
func (m *Monitor) Reached(l Level) uint64 { return m.reached[l].Load() }

// Resources are what is watched.
func (m *Monitor) Resources() []*Resource { return m.resources }
