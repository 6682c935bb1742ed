// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec/http1"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
)

// windowMin is what a copy may lag behind however little memory is left.
const windowMin = 64 << 10

// This file is production's side of a copy: what a tap puts into its queue.

// begin renders the head and takes a slot. Everything else waits for the copies' part of the turn.
func (c *Copy) begin(h *codec.Head, v *format.Values, complete bool) {
	defer c.rescue()
	l, t := c.local, c.target
	hops := hopsOf(h)
	switch {
	case hops >= l.engine.limits.MaxHops:
		c.finish(dropLoop)
		return
	case t.panics.Load() >= maxPanics:
		c.finish(dropPanic)
		return
	case t.slot.Cluster() == nil:
		c.finish(dropConfig)
		return
	case !t.enter(!complete):
		c.finish(dropOverflow)
		return
	}
	c.begun, c.streaming = true, !complete
	c.isHead = h.IsHead
	c.chunked = h.Length < 0
	c.startSpan()
	head := l.scratch.render(c, h, v, hops+1)
	if c.admit(len(head), capacity(len(head))) {
		c.queue.Append(l.w.Pool, head)
		c.queued()
	}
}

// data queues a piece of the body, if the copy may lag that far.
func (c *Copy) data(b chunk.Bytes) {
	defer c.rescue()
	if len(b.B) > 0 && c.admit(len(b.B), capacity(len(b.B))) {
		c.chunkHead(len(b.B))
		c.queue.Push(c.local.w.Pool, b)
		c.chunkEnd()
		c.queued()
	}
}

// replay queues what was read of the body before the copy began.
func (c *Copy) replay(q *chunk.Queue) {
	defer c.rescue()
	if c.admit(q.Len(), q.Held()+capacity(0)) {
		c.chunkHead(q.Len())
		q.ShareWith(c.local.w.Pool, &c.queue)
		c.chunkEnd()
		c.queued()
	}
}

// chunkHead and chunkEnd frame n bytes if the copy's body goes in chunks (RFC 9112 §7.1).
func (c *Copy) chunkHead(n int) {
	if c.chunked {
		var size [24]byte
		c.queue.Append(c.local.w.Pool, http1.AppendChunkHead(size[:0], n))
	}
}

func (c *Copy) chunkEnd() {
	if c.chunked {
		c.queue.Append(c.local.w.Pool, crlf)
	}
}

var crlf = []byte(http1.ChunkEnd)

// end queues the end of the request; from here the copy has its own deadline.
func (c *Copy) end(tail []byte) {
	defer c.rescue()
	if len(tail) > 0 {
		if !c.admit(len(tail), capacity(len(tail))) {
			return
		}
		c.queue.Append(c.local.w.Pool, tail)
	}
	c.complete = true
	if c.streaming {
		c.streaming = false
		c.target.streaming.Add(-1)
	}
	c.deadline = c.local.w.Now() + int64(c.timeout)
	if c.answered {
		c.local.w.Arm(&c.timer, sentPoll)
	} else {
		c.local.w.Arm(&c.timer, c.timeout)
	}
	c.queued()
}

// capacity is the most that the chunks for n bytes and their framing can take.
func capacity(n int) int { return (n/chunk.Size+1)*chunk.Size + 2*chunk.Small }

// admit decides whether n more bytes, in chunks of at most size bytes, may be held for this copy; if not, the copy is
// dropped.
func (c *Copy) admit(n, size int) bool {
	e := c.local.engine
	window := min(max(e.budget.free()/8, windowMin), int64(e.limits.Window))
	if int64(c.pending()+n) > window {
		c.finish(dropBuffer)
		return false
	}
	if !c.affords(size) {
		c.finish(dropMemory)
		return false
	}
	return true
}

// affords reports whether size more bytes may be held: one target never holds what others may need.
func (c *Copy) affords(size int) bool {
	l, held, free := c.local, &c.target.held, c.local.engine.budget.free()
	if held.Load()+int64(size) <= free {
		return true
	}
	l.recount()
	return int64(size) <= free && held.Load()+int64(size) <= free
}

// pending is what the copy lags behind production: bytes queued or written but not taken by the kernel.
func (c *Copy) pending() int {
	n := c.queue.Len()
	if c.conn != nil {
		n += c.conn.IO.Queued()
	}
	return n
}

// queued tells the target what this copy holds, and has it served in the copies' part of the turn.
func (c *Copy) queued() {
	c.account()
	c.local.w.Later(&c.task)
}

// account tells the target what this copy holds now.
func (c *Copy) account() {
	n := c.queue.Held() + c.answer
	if c.conn != nil {
		n += c.conn.IO.Out().Held()
	}
	if n != c.held {
		c.target.held.Add(int64(n - c.held))
		c.held = n
	}
}

// recount brings up to date what the worker's copies hold: the kernel takes bytes without telling. Once a turn is
// enough.
func (l *Local) recount() {
	if l.recounted != l.w.Now() {
		l.recounted = l.w.Now()
		for c := l.list; c != nil; c = c.next {
			c.account()
		}
	}
}
