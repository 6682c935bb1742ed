// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"errors"
	"net/netip"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec/http1"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

const (
	// windowMin is what a copy may lag behind however little memory is left.
	windowMin = 64 << 10
	// A mirror's answer is discarded as it comes, at most so much of it.
	maxAnswerBody = 8 << 20
	// sentPoll is how often a copy that was answered before it was sent whole looks whether it is now.
	sentPoll = 20 * time.Millisecond
	// keepFree is how many ended copies, and as many taps, a worker keeps for reuse; more are left to the collector.
	keepFree = 1024
)

// Copy is one copy of one request: production's side fills its queue (tap.go), the copies' part of the turn delivers it.
// It ends once, with one outcome.
type Copy struct {
	local *Local
	task  loop.Task
	timer loop.Timer
	queue chunk.Queue // framed, not yet handed to the connection

	prev, next    *Copy // the worker's live list; next: free list
	ahead, behind *Copy // the line
	state
}

// state is what a copy forgets between requests.
type state struct {
	tap    *Tap
	policy Policy
	stats  *stats.Block
	start  int64 // loop time

	held      int  // bytes of chunks last told to the target
	isHead    bool // method HEAD
	chunked   bool
	begun     bool // counted as in flight
	streaming bool // counted as streaming
	placed    bool // has a place at the target
	waiting   bool // in line for one
	complete  bool // the request's last byte is queued or sent
	sent      bool // counted as sent
	timeout   time.Duration
	deadline  int64

	cluster  *upstream.Cluster // set with the exchange: counted there
	host     netip.AddrPort
	conn     *upstream.Conn
	ready    bool   // conn is up
	base     uint64 // what conn had sent before this exchange
	moved    uint64 // bytes handed to conn
	status   int    // of the final answer head
	answered bool   // the whole answer is there
	body     int64

	done    bool
	settled bool // logged, or nothing to log
	broken  bool // it panicked
	outcome Cause
	elapsed time.Duration
}

func (l *Local) newCopy(t *Tap, p *Policy, s *stats.Block, timeout time.Duration) *Copy {
	c := l.copies
	if c == nil {
		c = &Copy{local: l}
		c.task.Init(c.run)
		c.timer.InitCopy(c.expire)
		c.queue.Meter = &l.engine.budget
	} else {
		l.copies = c.next
		c.next = nil
		l.freeCopies--
	}
	c.tap, c.policy, c.stats = t, *p, s
	c.start = l.w.Now()
	c.timeout = l.engine.limits.Timeout
	if timeout > 0 {
		c.timeout = min(c.timeout, timeout)
	}
	t.copies = append(t.copies, c)
	t.open++
	s.Inc(statSelected)
	l.enlist(c)
	return c
}

// recycle empties c for the next request. Its task may still be queued: run does nothing before begin.
func (c *Copy) recycle() {
	l := c.local
	if c.broken {
		return // left to the collector
	}
	c.state = state{}
	if l.freeCopies < keepFree {
		c.next, l.copies = l.copies, c
		l.freeCopies++
	}
}

// begin renders the head and takes a slot. Everything else waits for the copies' part of the turn.
func (c *Copy) begin(h *codec.Head, complete bool) {
	defer c.rescue()
	l, t := c.local, c.policy.Target
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
	head := l.scratch.render(h, c.policy.KeepHost, l.engine.cfg.LocalIP, hops+1)
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
		c.policy.Target.streaming.Add(-1)
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
	l, t := c.local, c.policy.Target
	free := l.engine.budget.free()
	window := min(max(free/8, windowMin), int64(l.engine.limits.Window))
	if int64(c.pending()+n) > window {
		c.finish(dropBuffer)
		return false
	}
	if t.held.Load()+int64(size) > free { // so that one target never holds what others may need
		l.recount()
		if int64(size) > free || t.held.Load()+int64(size) > free {
			c.finish(dropMemory)
			return false
		}
	}
	return true
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
	n := c.queue.Held()
	if c.conn != nil {
		n += c.conn.IO.Out().Held()
	}
	if n != c.held {
		c.policy.Target.held.Add(int64(n - c.held))
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

// run serves the copy in the copies' part of a turn: finds it a connection, hands over what is queued.
func (c *Copy) run() {
	if c.done || !c.begun {
		return
	}
	defer c.rescue()
	if c.conn == nil && c.seize() {
		c.connect()
	}
	if c.done || !c.ready {
		return
	}
	if c.conn.IO.Closed() { // it was answered whole, and lost before it was sent whole
		c.conclude(dropReset)
		return
	}
	c.moved += uint64(c.queue.Len())
	c.queue.MoveTo(c.conn.IO.Out())
	c.conn.IO.MarkDirty()
	c.account()
}

func (c *Copy) connect() {
	w, t := c.local.w, c.policy.Target
	cluster := t.slot.Cluster()
	if cluster == nil {
		c.finish(dropConfig)
		return
	}
	host := cluster.Pick(w)
	if host == nil {
		cluster.Stats(w).Inc(upstream.CxNoneHealthy)
		c.finish(dropNoEndpoint)
		return
	}
	if c.chunked && host.HTTP10() {
		c.finish(dropFraming)
		return
	}
	if !host.HasIdle(w, loop.Copy) && !t.mayDial(c.local.time()) {
		c.finish(dropConnect)
		return
	}
	limit := c.local.engine.limits.ConnectTime
	if d := cluster.Config().ConnectTimeout; d > 0 {
		limit = min(limit, d)
	}
	conn, ready := cluster.Acquire(w, host, loop.Copy, limit, false, c)
	c.cluster, c.conn, c.host = cluster, conn, host.Addr
	c.base = conn.IO.Sent()
	conn.IO.Out().Meter = &c.local.engine.budget
	s := cluster.Stats(w)
	s.Inc(upstream.RqTotal)
	s.Add(upstream.RqActive, 1)
	if ready {
		c.up()
	}
}

func (c *Copy) up() {
	c.ready = true
	c.conn.StartAnswer(c.isHead)
}

// Connected implements upstream.Exchange.
func (c *Copy) Connected(*upstream.Conn) {
	defer c.rescue()
	c.policy.Target.dialed()
	c.up()
	c.run()
}

// AnswerHead implements upstream.Exchange: the mirror's answer goes nowhere.
func (c *Copy) AnswerHead(_ *upstream.Conn, h *codec.Head) {
	defer c.rescue()
	if h.Status >= 200 {
		c.status = h.Status
		c.wrote()
	}
}

// AnswerData implements upstream.Exchange.
func (c *Copy) AnswerData(_ *upstream.Conn, b chunk.Bytes) {
	defer c.rescue()
	c.body += int64(len(b.B))
	if c.body > maxAnswerBody {
		c.conclude(dropProtocol)
	}
}

// AnswerEnd implements upstream.Exchange.
func (c *Copy) AnswerEnd(*upstream.Conn, []codec.Field) {
	defer c.rescue()
	c.answered = true
	if c.wrote() {
		c.finish(delivered)
		return
	}
	// An early answer: the request goes on, the mirror may still read it. What becomes of the connection is not told
	// any more.
	c.local.w.Arm(&c.timer, sentPoll)
}

// Writable implements upstream.Exchange.
func (c *Copy) Writable(*upstream.Conn) {
	defer c.rescue()
	c.account()
}

// Failed implements upstream.Exchange.
func (c *Copy) Failed(_ *upstream.Conn, f upstream.Failure) {
	defer c.rescue()
	c.wrote() // while there is a connection to ask
	c.conn, c.ready = nil, false
	switch {
	case errors.Is(f.Err, loop.ErrPanic):
		c.panicked(f.Err)
	case f.Kind == upstream.ConnectRefused, f.Kind == upstream.ConnectTimeout:
		c.policy.Target.dialFailed(c.local.time())
		c.finish(dropConnect)
	case f.Kind == upstream.Protocol:
		c.conclude(dropProtocol)
	case f.Reused && !f.Answered:
		c.conclude(dropStale)
	default:
		c.cluster.Stats(c.local.w).Inc(upstream.RqRxReset)
		c.conclude(dropReset)
	}
}

// conclude ends a copy whose answer broke off: delivered if it had been sent whole and the final head was read.
func (c *Copy) conclude(cause Cause) {
	if c.status != 0 && c.wrote() {
		cause = delivered
	}
	c.finish(cause)
}

// wrote reports whether the kernel has taken the whole request, and counts that once. What a dead connection still had
// in its queue is not taken for written.
func (c *Copy) wrote() bool {
	if !c.sent && c.complete && c.conn != nil && c.queue.Len() == 0 && c.conn.IO.Sent()-c.base == c.moved {
		c.sent = true
		c.stats.Inc(statSent)
	}
	return c.sent
}

// expire is the timer: the deadline, or a look whether an answered copy is sent at last.
func (c *Copy) expire() {
	if c.done {
		return
	}
	defer c.rescue()
	left := c.deadline - c.local.w.Now()
	switch {
	case c.answered && (c.wrote() || c.conn.IO.Closed()):
		c.conclude(dropReset)
	case c.complete && left <= 0 && !c.ready && c.conn != nil: // the route allows less than a connect may take
		c.policy.Target.dialFailed(c.local.time())
		c.finish(dropConnect)
	case c.complete && left <= 0:
		c.conclude(dropTimeout)
	case c.answered:
		c.local.w.Arm(&c.timer, sentPoll)
	default:
		c.local.w.Arm(&c.timer, time.Duration(left))
	}
}
