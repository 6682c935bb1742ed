// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"runtime/debug"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/format"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// enlist puts a copy on the worker's live list; delist takes it off. The gauge live follows these two and nothing else.
func (l *Local) enlist(c *Copy) {
	l.live++
	c.stats.Add(statLive, 1)
	c.next, c.prev = l.list, nil
	if l.list != nil {
		l.list.prev = c
	}
	l.list = c
}

func (l *Local) delist(c *Copy) {
	l.live--
	c.stats.Add(statLive, -1)
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.list = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}

// finish ends the copy with an outcome; the first one stays. The accounts come first: whatever fails after that, the
// identity holds and the slot is free.
func (c *Copy) finish(outcome Cause) {
	if c.done {
		return
	}
	c.done, c.outcome = true, outcome
	l := c.local
	c.elapsed = time.Duration(l.w.Now() - c.start)
	l.delist(c)
	if outcome == delivered {
		c.stats.Inc(statDelivered)
		c.stats.Code(c.status)
		c.stats.Observe(histTime, float64(c.elapsed)/1e6)
	} else {
		c.stats.Inc(statDropped + int(outcome) - 1)
	}
	defer c.leave()
	l.engine.budget.Release(c.answer)
	c.answer = 0
	if t := c.target; c.begun {
		t.leave(c.streaming)
		c.yield()
		t.held.Add(-int64(c.held))
		c.held = 0
	}
	c.giveBack()
	c.endSpan()
	if outcome != delivered {
		c.tell(outcome)
	}
}

// giveBack lets go of memory and connection: one with a complete exchange goes to its pool, any other is reset, so that
// the mirror sees that the copy is broken.
func (c *Copy) giveBack() {
	c.wrote()
	c.local.w.Disarm(&c.timer)
	c.queue.Free()
	c.hangUp()
}

// leave tells those who waited for the copy's end.
func (c *Copy) leave() {
	if c.tap.done {
		c.settle()
		c.tap.release()
	}
	if l := c.local; l.closing && l.live == 0 {
		l.reportDrained()
	}
}

// drop is finish for callers outside the copy's own callbacks.
func (c *Copy) drop(cause Cause) {
	defer c.rescue()
	c.finish(cause)
}

// hangUp ends the exchange and lets go of the connection.
func (c *Copy) hangUp() {
	if c.cluster == nil {
		return
	}
	s := c.cluster.Stats(c.local.w)
	s.Add(upstream.RqActive, -1)
	if c.status != 0 {
		s.Inc(upstream.RqCompleted)
		s.Code(c.status)
		s.Observe(upstream.RqTime, float64(c.elapsed)/1e6)
	}
	if c.outcome == dropTimeout {
		s.Inc(upstream.RqTimeout)
	}
	switch {
	case c.conn == nil: // it failed by itself
	case c.answered && c.outcome == delivered:
		c.conn.Release(true)
	default:
		s.Inc(upstream.RqTxReset)
		c.conn.Abort()
	}
	c.conn, c.ready = nil, false
}

// settle writes the copy's log line once both its outcome and production's are known.
func (c *Copy) settle() {
	if c.settled {
		return
	}
	defer c.rescue()
	c.settled = true
	t, l := c.tap, c.local
	t.open--
	if l.engine.cfg.Log == nil {
		return
	}
	rec := format.CopyRecord{
		Time: l.w.Wall(), RequestID: t.reqID[:t.reqIDLen], Mirror: c.policy.Stats.ID, Cluster: c.clusterName(),
		PrimaryStatus: t.status, PrimaryDuration: t.duration.Milliseconds(),
		CopyStatus: c.status, CopyDuration: c.elapsed.Milliseconds(), Outcome: c.outcome.String(),
	}
	if c.to != nil {
		rec.Host = c.to.Addr
	}
	l.logBuf = format.AppendCopyLog(l.logBuf[:0], &rec)
	l.engine.cfg.Log.Append(l.w.Index, l.logBuf)
}

// clusterName is where the copy was to go.
func (c *Copy) clusterName() string {
	if c.target != nil {
		return c.target.Name()
	}
	return c.policy.Stats.Cluster
}

// rescue contains a panic in the delivery of c: promise 5.
func (c *Copy) rescue() {
	if r := recover(); r != nil {
		c.panicked(r)
	}
}

// panicked kills the copy, counts, and disables the target once there were maxPanics.
func (c *Copy) panicked(r any) {
	c.broken = true // it is not used again
	log := c.local.engine.cfg.Logger
	defer func() {
		if again := recover(); again != nil {
			log.Error("panic while ending a copy", "panic", again)
		}
	}()
	defer c.finish(dropPanic) // whatever happens here
	log.Error("panic in a copy, which is dropped", "mirror", c.policy.Stats.ID, "panic", r, "stack", string(debug.Stack()))
	if c.target != nil && c.target.panics.Add(1) == maxPanics {
		log.Error("mirror disabled after repeated panics", "mirror", c.policy.Stats.ID, "cluster", c.policy.Stats.Cluster)
	}
}

// Drain lets the worker's copies end: those alive after grace are dropped as shutdown. done is called once, when none
// is left; new copies are dropped at once. For the worker's loop.
func (l *Local) Drain(grace time.Duration, done func()) {
	l.closing, l.drained = true, done
	l.graceTimer.InitCopy(l.End)
	l.w.Arm(&l.graceTimer, grace)
	if l.live == 0 {
		l.reportDrained()
	}
}

// End drops the worker's copies as shutdown. For the worker's loop.
func (l *Local) End() { l.dropAll(dropShutdown) }

// Shed drops the worker's copies as overload. For the worker's loop.
func (l *Local) Shed() { l.dropAll(dropOverload) }

func (l *Local) dropAll(cause Cause) {
	for l.list != nil {
		l.list.drop(cause)
	}
}

func (l *Local) reportDrained() {
	if f := l.drained; f != nil {
		l.drained = nil
		l.w.Disarm(&l.graceTimer)
		f()
	}
}
