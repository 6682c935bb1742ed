// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

const (
	// lineFactor times as many copies as may be with a target may wait in line for it. A mirror that gets no CPU for
	// some milliseconds then costs no copy, and one that hangs holds no more than that.
	lineFactor = 4
	// linePoll is how often a worker looks for a place that another worker's copy left.
	linePoll = 5 * time.Millisecond
)

// lane is one worker's copies for one target that wait, first come first served, for a place at it: complete or not,
// they lag within their window and run towards their deadline meanwhile. It is there as long as a copy is in it.
type lane struct {
	local      *Local
	target     *Target
	head, tail *Copy
	timer      loop.Timer
	next       *lane // free list
}

// lane finds the worker's lane for a target, nil if no copy waits.
func (l *Local) lane(t *Target) *lane {
	if t.index >= len(l.lanes) {
		return nil
	}
	return l.lanes[t.index]
}

// newLane makes the worker's lane for a target that has none.
func (l *Local) newLane(t *Target) *lane {
	ln := l.freeLanes
	if ln == nil {
		ln = &lane{local: l}
		ln.timer.InitCopy(ln.wake)
	} else {
		l.freeLanes, ln.next = ln.next, nil
	}
	ln.target = t
	for len(l.lanes) <= t.index {
		l.lanes = append(l.lanes, nil)
	}
	l.lanes[t.index] = ln
	return ln
}

// end gives an empty lane back, so that it keeps no target alive.
func (ln *lane) end() {
	l := ln.local
	l.w.Disarm(&ln.timer)
	l.lanes[ln.target.index] = nil
	ln.target = nil
	ln.next, l.freeLanes = l.freeLanes, ln
}

// seize takes a place at the target for c, or puts c into the line.
func (c *Copy) seize() bool {
	if c.placed || c.waiting {
		return c.placed
	}
	ln := c.local.lane(c.target)
	if ln == nil && c.target.takePlace() {
		c.placed = true
		return true
	}
	if ln == nil {
		ln = c.local.newLane(c.target)
	}
	ln.push(c)
	return false
}

// yield gives back what c has of the line or the place; the next in line gets it.
func (c *Copy) yield() {
	ln := c.local.lane(c.target)
	switch {
	case c.waiting:
		ln.remove(c)
	case c.placed:
		c.placed = false
		c.target.places.Add(-1)
		if ln != nil {
			ln.wake()
		}
	}
}

// wake lets copies go on for which there is a place now.
func (ln *lane) wake() {
	t := ln.target
	for ln.head != nil && t.takePlace() {
		c := ln.head
		ln.remove(c)
		c.placed = true
		ln.local.w.Later(&c.task)
	}
	if ln.head != nil {
		ln.local.w.Arm(&ln.timer, linePoll)
	}
}

func (ln *lane) push(c *Copy) {
	c.waiting = true
	c.ahead, c.behind = ln.tail, nil
	if ln.tail != nil {
		ln.tail.behind = c
	} else {
		ln.head = c
		ln.local.w.Arm(&ln.timer, linePoll)
	}
	ln.tail = c
}

func (ln *lane) remove(c *Copy) {
	c.waiting = false
	if c.ahead != nil {
		c.ahead.behind = c.behind
	} else {
		ln.head = c.behind
	}
	if c.behind != nil {
		c.behind.ahead = c.ahead
	} else {
		ln.tail = c.ahead
	}
	c.ahead, c.behind = nil, nil
	if ln.head == nil {
		ln.end()
	}
}

// most is how many copies may be with the target at once, and how many may wait besides: --mirror-max-in-flight and
// lineFactor times that, unless the cluster's circuit breakers say otherwise (max_requests or max_connections, as each
// copy has a connection of its own; max_pending_requests).
func (t *Target) most() (places, line int64) {
	places = int64(t.engine.limits.MaxInFlight)
	c := t.slot.Cluster()
	if c == nil {
		return places, lineFactor * places
	}
	cfg := c.Config()
	if n := min(cfg.MaxRequests, cfg.MaxConnections); n != upstream.Unlimited {
		places = int64(n)
	}
	line = lineFactor * places // 0 where no place is: nobody waits for nothing
	if cfg.MaxPending != upstream.Unlimited && places > 0 {
		line = int64(cfg.MaxPending)
	}
	return places, line
}

func (t *Target) takePlace() bool {
	places, _ := t.most()
	if t.places.Add(1) > places {
		t.places.Add(-1)
		return false
	}
	return true
}

// enter admits a copy to the target: with it or in line. Copies that still stream are at most half of those that may be
// with it, so that slow uploads do not keep the short ones out.
func (t *Target) enter(streaming bool) bool {
	places, line := t.most()
	if t.inFlight.Add(1) > places+line {
		t.inFlight.Add(-1)
		return false
	}
	if streaming && t.streaming.Add(1) > max(places/2, 1) {
		t.streaming.Add(-1)
		t.inFlight.Add(-1)
		return false
	}
	return true
}

func (t *Target) leave(streaming bool) {
	t.inFlight.Add(-1)
	if streaming {
		t.streaming.Add(-1)
	}
}
