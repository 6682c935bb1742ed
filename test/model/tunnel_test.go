// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"math/rand/v2"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// tunnel is one end of a connection that HTTP was left for: bytes both ways, and how this end goes.
type tunnel struct {
	p     *loop.Peer
	bytes []byte // what it sends
	sent  int
	from  uint64 // the key of what it gets
	got   int
	wrong bool // that is something else

	polite  bool // it ends its direction when the other end has, else when all is sent
	leaves  int  // after so many bytes sent, in the way of how; -1: never
	how     int
	stops   int // reads no more after so many bytes; -1: never
	piece   int // it writes in pieces of at most so many bytes; 0: as there is room
	pause   time.Duration
	resting bool
	silent  bool // it does nothing any more

	fin   bool // it has ended its direction
	heard bool // the other end has, as it seems
	over  bool
	done  func(how string)
}

// newTunnel is an end that sends size bytes of a key, of which sent are on their way.
func newTunnel(p *loop.Peer, r *rand.Rand, rude bool, key uint64, size, sent int, from uint64) *tunnel {
	t := &tunnel{p: p, bytes: body(key, size), sent: sent, from: from, leaves: -1, stops: -1}
	if r.IntN(3) == 0 {
		t.piece, t.pause = 1+r.IntN(20000), time.Duration(1+r.IntN(5000))*time.Microsecond
		t.piece = max(t.piece, size/1000)
	}
	if rude {
		switch r.IntN(3) {
		case 0:
			t.stops = r.IntN(100000)
		case 1:
			t.leaves, t.how = sent+r.IntN(size-sent+1), r.IntN(4)
		}
	}
	return t
}

// news does what can be done now.
func (t *tunnel) news() {
	if t.over {
		return
	}
	if t.p.Reset() {
		t.end("reset")
		return
	}
	if t.silent {
		return
	}
	if b := t.p.Arrived(); len(b) > 0 && (t.stops < 0 || t.got < t.stops) {
		t.receive(b)
		t.p.Take(len(b))
	}
	if !t.heard && t.p.Ended() {
		t.heard = true
	}
	t.write()
	if t.heard && t.fin && !t.over {
		t.end("done")
	}
}

func (t *tunnel) receive(b []byte) {
	for i, c := range b {
		if c != byteOf(t.from, t.got+i) {
			t.wrong = true
		}
	}
	t.got += len(b)
}

func (t *tunnel) write() {
	for !t.resting && !t.fin {
		if t.leaves >= 0 && t.sent >= t.leaves {
			t.leave()
			return
		}
		b := t.bytes[t.sent:]
		if len(b) == 0 {
			break
		}
		if t.leaves >= 0 {
			b = b[:min(len(b), t.leaves-t.sent)]
		}
		if t.piece > 0 {
			b = b[:min(len(b), t.piece)]
		}
		n := t.p.Send(b)
		t.sent += n
		if n < len(b) {
			return
		}
		if t.piece > 0 {
			t.resting = true
			t.p.After(t.pause, func() { t.resting = false; t.news() })
		}
	}
	if t.sent == len(t.bytes) && !t.fin && (!t.polite || t.heard) {
		t.fin = true
		t.p.CloseWrite()
	}
}

// leave is how a rude end goes.
func (t *tunnel) leave() {
	t.leaves = -1
	switch t.how {
	case 0:
		t.end("left")
	case 1:
		t.fin = len(t.p.Arrived()) == 0
		t.p.Close()
		t.end("left")
	case 2: // it would still read
		t.bytes, t.fin = t.bytes[:t.sent], true
		t.p.CloseWrite()
	default:
		t.silent = true
	}
}

// end is the end of the connection.
func (t *tunnel) end(how string) {
	t.over = true
	if how == "done" {
		t.p.Close()
	} else {
		t.p.Abort()
	}
	t.done(how)
}

// switchTo leaves HTTP at the client's end.
func (c *client) switchTo(p *plan, a *message) {
	p.status, p.up = 101, a.field("X-Up")
	at := c.m.checkSwitch(p, a)
	c.in.msg = nil
	if at == nil {
		c.p.Abort()
		c.end("disgusted")
		return
	}
	c.m.note("%s: %s is a tunnel", c.name, p.id)
	t := newTunnel(c.p, c.r, c.rude, p.key, p.sends, p.early, at.key)
	t.polite = p.polite
	if c.half {
		t.bytes, t.fin, t.leaves = t.bytes[:t.sent], true, -1
	}
	if p.sent < len(p.bytes) { // early bytes that are not on their way yet
		t.sent = p.sent - p.headLen
	}
	t.done = func(how string) {
		p.got, p.wrong = t.got, t.wrong
		if p.whole = how == "done"; p.whole {
			c.finish(p)
			c.next++
		}
		c.m.checkTunnel(p, at)
		c.end(how)
	}
	c.tunnel, p.tunnel, c.in.raw = t, t, t.receive
}

// switchTo leaves HTTP at the upstream's end.
func (f *far) switchTo(plan *plan, a *attempt, r *rand.Rand) {
	a.status, a.final, a.answered = 101, true, true
	f.now = nil
	t := newTunnel(f.p, r, f.origin.style == wild && r.IntN(2) == 0, a.key, a.size, 0, plan.key)
	t.polite = !plan.polite && r.IntN(2) == 0
	t.done = func(how string) { f.m.note("%s: the tunnel of %s ends: %s", f.origin.name, plan.id, how) }
	f.tunnel, a.tunnel = t, t
	f.out = append(f.out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		f.sign(plan, a)+"\r\n"...)
	f.news()
}
