// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"errors"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

const (
	// A mirror's answer is discarded as it comes, at most so much of it.
	maxAnswerBody = 8 << 20
	// minPiece is what a piece of an answer counts at least. Chunks of one byte cost far more to read than they hold, and
	// what a turn spends on them production waits for.
	minPiece = 1 << 10
	// sentPoll is how often a copy that was answered before it was sent whole looks whether it is now.
	sentPoll = 20 * time.Millisecond
	// keepFree is how many ended copies, and as many taps, a worker keeps for reuse; more are left to the collector.
	keepFree = 1024
)

// Copy is one copy of one request: production's side fills its queue (fill.go), the copies' part of the turn
// delivers it. It ends once, with one outcome.
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
	target *Target // the policy's, or the one that the request names; nil: there is none
	span   trace.Context
	stats  *stats.Block
	start  int64 // loop time

	held      int  // bytes last told to the target
	answer    int  // of these, for what has come of the answer's head or trailers
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
	to       *upstream.Host
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

func (l *Local) newCopy(t *Tap, p *Policy, target *Target, s *stats.Block) *Copy {
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
	c.tap, c.policy, c.target, c.stats = t, *p, target, s
	c.start = l.w.Now()
	c.timeout = l.engine.limits.Timeout
	if t.timeout > 0 {
		c.timeout = min(c.timeout, t.timeout)
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
	c.moved += uint64(c.queue.Len())
	c.queue.MoveTo(c.conn.IO.Out())
	c.conn.Whole = c.complete
	c.conn.IO.MarkDirty()
	c.account()
}

func (c *Copy) connect() {
	w, t := c.local.w, c.target
	cluster := t.slot.Cluster()
	if cluster == nil {
		c.finish(dropConfig)
		return
	}
	host := cluster.Pick(w, &upstream.Choice{Hash: c.tap.hash, Hashed: c.tap.hashed, Class: loop.Copy})
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
	c.cluster, c.conn, c.to = cluster, conn, host
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
	c.target.dialed()
	c.up()
	c.run()
}

// AnswerHeld implements upstream.Holder: until it can be thrown away, what the mirror sends of a head or of trailers is
// memory for copies.
func (c *Copy) AnswerHeld(_ *upstream.Conn, n int) {
	defer c.rescue()
	if n > c.answer && !c.affords(n-c.answer) {
		c.conclude(dropMemory)
		return
	}
	c.hold(n)
}

// hold charges the copy for n bytes of an answer.
func (c *Copy) hold(n int) {
	if n != c.answer {
		c.local.engine.budget.Charge(n - c.answer)
		c.answer = n
		c.account()
	}
}

// AnswerHead implements upstream.Exchange: the mirror's answer goes nowhere.
func (c *Copy) AnswerHead(_ *upstream.Conn, h *codec.Head) {
	defer c.rescue()
	c.hold(0)
	if h.Status >= 200 {
		c.status = h.Status
		c.cluster.Report(c.local.w, c.to, upstream.Result{Status: h.Status, Class: loop.Copy})
		c.wrote()
	}
}

// AnswerData implements upstream.Exchange.
func (c *Copy) AnswerData(_ *upstream.Conn, b chunk.Bytes) {
	defer c.rescue()
	c.body += int64(max(len(b.B), minPiece))
	if c.body > maxAnswerBody {
		c.conclude(dropProtocol)
	}
}

// AnswerEnd implements upstream.Exchange.
func (c *Copy) AnswerEnd(*upstream.Conn, []codec.Field) {
	defer c.rescue()
	c.hold(0)
	c.answered = true
	if c.wrote() {
		c.finish(delivered)
		return
	}
	// An early answer: the request goes on, the mirror may still read it.
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
	c.wrote()                    // while there is a connection to ask
	if !f.Reused || f.Answered { // a reused connection that proves dead says nothing of its host
		c.blame()
	}
	c.conn, c.ready = nil, false
	switch {
	case errors.Is(f.Err, loop.ErrPanic):
		c.panicked(f.Err)
	case f.Kind == upstream.ConnectRefused, f.Kind == upstream.ConnectTimeout:
		c.target.dialFailed(c.local.time())
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

// blame tells outlier detection of the mirror's cluster that the host gave no answer.
func (c *Copy) blame() {
	if c.status == 0 {
		c.cluster.Report(c.local.w, c.to, upstream.Result{Local: true, Connected: c.ready, Class: loop.Copy})
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
	case c.answered && c.wrote():
		c.finish(delivered)
	case c.complete && left <= 0 && !c.ready && c.conn != nil: // the route allows less than a connect may take
		c.target.dialFailed(c.local.time())
		c.blame()
		c.finish(dropConnect)
	case c.complete && left <= 0:
		if c.cluster != nil {
			c.blame()
		}
		c.conclude(dropTimeout)
	case c.answered:
		c.local.w.Arm(&c.timer, sentPoll)
	default:
		c.local.w.Arm(&c.timer, time.Duration(left))
	}
}
