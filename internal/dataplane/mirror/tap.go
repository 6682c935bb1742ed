// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
)

// Tap is a request's side of its copies. A nil Tap is usable and does nothing. Its methods follow production's request
// in order of life: Arm, Begin, Data, End; Refuse or Abort if it ends early; Done when production's exchange is over,
// after which the tap is not touched again. None of them waits, fails, panics or calls back: each copy contains its own
// panics, so that the others go on.
type Tap struct {
	local  *Local
	copies []*Copy
	open   int // copies whose outcome is not yet known and logged

	timeout time.Duration // the route's
	hash    uint64
	hashed  bool
	values  bool          // a copy's head has templates
	span    trace.Context // production's

	begun    bool
	ended    bool // the request is complete, or given up
	done     bool // production's exchange is over
	status   int  // production's
	duration time.Duration
	reqID    [64]byte
	reqIDLen int

	next *Tap // free list
}

// Request is what a request brings to the choice of its copies.
type Request struct {
	Draw    uint64      // shared by all policies
	Head    *codec.Head // as production gets it, so far
	Timeout time.Duration
	Hash    uint64 // production's key for consistent hashing, if Hashed: copies go by it too
	Hashed  bool
	Span    trace.Context // production's, if there is a tracer
}

// Arm lets each policy of a matched request choose, by the draw they share, and returns the tap of those that chose it:
// nil if none did.
func (l *Local) Arm(policies []Policy, q *Request) (t *Tap) {
	defer func() {
		if r := recover(); r != nil {
			l.engine.cfg.Logger.Error("panic while choosing copies", "panic", r)
			t.drop(dropPanic)
		}
	}()
	on := l.engine.Enabled()
	for i := range policies {
		p := &policies[i]
		s := p.Stats.set.Block(l.w.Index)
		s.Inc(statEligible)
		switch {
		case !on:
			s.Inc(statSkippedOff)
			continue
		case q.Head.Upgrade:
			s.Inc(statSkippedUpgrade)
			if !p.Stats.told.Swap(true) {
				l.engine.cfg.Logger.Warn("upgrades are not mirrored: a tunnel has no copy", "mirror", p.Stats.ID,
					"cluster", p.Stats.Cluster)
			}
			continue
		case !p.Selects(q.Draw):
			continue
		}
		target := p.Target
		if p.ClusterHeader != "" {
			name, _ := filter.View(q.Head).Lookup(p.ClusterHeader)
			if len(name) == 0 {
				s.Inc(statSkippedHeader)
				continue
			}
			target = p.Named(name)
		}
		if t == nil {
			t = l.newTap(q)
		}
		t.values = t.values || !p.Headers.Literal()
		c := l.newCopy(t, p, target, s)
		switch {
		case l.closing:
			c.finish(dropShutdown)
		case l.engine.shedding.Load():
			c.finish(dropOverload)
		case target == nil:
			c.finish(dropConfig)
		}
	}
	return t
}

func (l *Local) newTap(q *Request) *Tap {
	t := l.taps
	if t == nil {
		t = &Tap{local: l}
	} else {
		l.taps = t.next
		l.freeTaps--
		*t = Tap{local: l, copies: t.copies[:0]}
	}
	t.timeout, t.hash, t.hashed, t.span = q.Timeout, q.Hash, q.Hashed, q.Span
	t.reqIDLen = copy(t.reqID[:], q.Head.Get(codec.RequestID))
	return t
}

// WantsValues reports whether Begin needs the values of templates.
func (t *Tap) WantsValues() bool { return t != nil && t.values }

// Begin starts the copies: production's first attempt holds a connection. h is production's head as it is sent, v what
// templates may ask for, nil if WantsValues is false. complete tells that End follows at once, so that the copy needs
// no streaming slot.
func (t *Tap) Begin(h *codec.Head, v *format.Values, complete bool) {
	if t == nil || t.begun || t.ended {
		return
	}
	t.begun = true
	for _, c := range t.copies {
		if !c.done {
			c.begin(h, v, complete)
		}
	}
}

// Data hands on a piece of the request's body.
func (t *Tap) Data(b chunk.Bytes) {
	if t == nil || !t.begun || t.ended {
		return
	}
	for _, c := range t.copies {
		if !c.done {
			c.data(b)
		}
	}
}

// Replay hands on what was read of the body before Begin; q stays as it is.
func (t *Tap) Replay(q *chunk.Queue) {
	if t == nil || !t.begun || t.ended || q.Len() == 0 {
		return
	}
	for _, c := range t.copies {
		if !c.done {
			c.replay(q)
		}
	}
}

// End tells that the request is complete. tail is what ends a chunked body on the wire, trailers included; otherwise
// empty.
func (t *Tap) End(tail []byte) {
	if t == nil || !t.begun || t.ended {
		return
	}
	t.ended = true
	for _, c := range t.copies {
		if !c.done {
			c.end(tail)
		}
	}
}

// Abort tells that the request itself ends here, incomplete or unsent: copies not complete are dropped, as refused when
// production never held a connection, as partial otherwise. After End it does nothing: the copies go on alone.
func (t *Tap) Abort() {
	if t == nil || t.ended {
		return
	}
	t.ended = true
	if t.begun {
		t.drop(dropPartial)
	} else {
		t.drop(dropRefused)
	}
}

// Done tells what became of production's exchange, and that the tap is not used any more.
func (t *Tap) Done(status int, duration time.Duration) {
	if t == nil {
		return
	}
	t.Abort()
	t.done, t.status, t.duration = true, status, duration
	for _, c := range t.copies {
		if c.done {
			c.settle()
		}
	}
	t.release()
}

// drop ends every copy that has not ended.
func (t *Tap) drop(cause Cause) {
	if t == nil {
		return
	}
	for _, c := range t.copies {
		c.drop(cause)
	}
}

// release gives the tap back once neither production nor a copy needs it.
func (t *Tap) release() {
	if t.done && t.open == 0 {
		t.local.w.Defer(t)
		t.open = -1
	}
}

// Free implements the worker's end-of-turn freeing.
func (t *Tap) Free() {
	l := t.local
	for i, c := range t.copies {
		c.recycle()
		t.copies[i] = nil
	}
	if l.freeTaps < keepFree {
		t.next, l.taps = l.taps, t
		l.freeTaps++
	}
}
