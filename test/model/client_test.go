// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// client is one connection with its requests.
type client struct {
	m      *model
	name   string
	w      *loop.Worker
	p      *loop.Peer
	r      *rand.Rand
	in     reader
	tunnel *tunnel // what is left when HTTP is over
	plans  []*plan
	at     int // plans[at] is being sent
	next   int // plans[next] is being answered
	pipe   bool
	rude   bool // does not do all that it should
	abort  int  // bytes after which it goes; -1: it stays
	sent   int
	how    int
	pieces int // it writes in pieces of at most so many bytes; 0: as there is room
	pause  time.Duration
	pace   pace
	reads  int // stops to read after so many bytes; -1: never
	read   int

	half bool // has ended its direction

	resting, sleeping, waiting bool
	over                       bool
}

func (m *model) newClient(n int) *client {
	r := rnd(m.seed, text("client"), uint64(n))
	c := &client{m: m, name: fmt.Sprintf("client %d", n), r: r, abort: -1, reads: -1}
	c.in = reader{answers: true, onHead: c.onHead, onData: c.onData, onEnd: c.onEnd}
	for k, last := 0, r.IntN(8); k <= last; k++ {
		p := m.newPlan(fmt.Sprintf("%d-%d", n, k), r, k == last)
		p.client = c
		c.plans = append(c.plans, p)
	}
	c.pipe = r.IntN(4) == 0
	total := 0
	for _, p := range c.plans {
		total += len(p.bytes)
	}
	if !m.calm && r.IntN(5) < 2 {
		c.rude = true
		c.how = r.IntN(4)
		switch r.IntN(3) {
		case 0:
			c.abort = r.IntN(total)
		case 1: // in a head or near its end
			c.abort = r.IntN(c.plans[0].headLen + 40)
		default:
			c.reads = r.IntN(30000)
		}
	}
	if r.IntN(3) == 0 {
		c.pieces, c.pause = 300+r.IntN(20000), time.Duration(r.IntN(5000))*time.Microsecond
		if r.IntN(4) == 0 {
			c.pieces, c.pause = 1+r.IntN(3), 100*time.Microsecond
		}
	}
	if r.IntN(2) == 0 {
		c.pace = m.pace(r)
	}
	for _, p := range c.plans {
		p.good = !c.rude && slices.Contains([]string{"/good", "/line", "/wave"}, p.path)
	}
	return c
}

func (c *client) connect() {
	if c.m.shut {
		c.over = true
		return // nobody listens any more
	}
	w := c.m.workers[c.r.IntN(len(c.m.workers))]
	c.w = w
	p, fd := c.m.sim.Connect(w, c.m.link(c.r))
	c.p = p
	p.News = c.news
	c.m.listener.Conns.Add(1)
	w.Post(func() { c.m.server.Accept(w, c.m.listener, fd, clientAddr, listenAddr) })
	c.m.sim.After(time.Duration(c.r.IntN(2000))*time.Microsecond, c.news)
}

func (c *client) news() {
	if c.over {
		return
	}
	if c.tunnel != nil {
		c.tunnel.news()
		return
	}
	if c.p.Reset() && len(c.p.Arrived()) == 0 {
		c.end("reset")
		return
	}
	c.write()
	if !c.over {
		c.take()
	}
}

// write sends what may be sent now, up to where the client goes.
func (c *client) write() {
	for !c.resting && c.at < len(c.plans) && (c.pipe || c.at <= c.next) {
		p := c.plans[c.at]
		if c.next > c.at || p.ended { // answered early: the rest is not sent
			return
		}
		b := p.bytes[p.sent:]
		if p.expect && p.sent < p.headLen {
			b = b[:p.headLen-p.sent]
		}
		if p.expect && p.sent == p.headLen && !c.waiting && p.size > 0 {
			c.waiting, c.resting = true, true // an answer or 100 is awaited, for a moment
			c.m.sim.After(300*time.Millisecond, c.goOn)
			return
		}
		if c.pieces > 0 && len(b) > c.pieces {
			b = b[:c.pieces]
		}
		if c.abort >= 0 && c.sent+len(b) > c.abort {
			b = b[:c.abort-c.sent]
		}
		n := c.p.Send(b)
		p.began = p.began || n > 0
		if p.sent < p.headLen && p.sent+n >= p.headLen {
			p.headAt = c.m.sim.Now()
		}
		p.sent += n
		c.sent += n
		if c.abort >= 0 && c.sent >= c.abort {
			c.leave()
			return
		}
		if p.sent == len(p.bytes) {
			c.m.note("%s: sent %s", c.name, p.id)
			c.at++
			c.waiting = false
		}
		if n < len(b) {
			return
		}
		if c.pieces > 0 {
			c.resting = true
			c.m.sim.After(c.pause, c.goOn)
		}
	}
}

func (c *client) goOn() {
	c.resting = false
	c.news()
}

// leave is how a rude client ends.
func (c *client) leave() {
	c.m.note("%s leaves", c.name)
	switch c.how {
	case 0:
		c.p.Abort()
	case 1:
		c.p.Close()
	case 2: // half-closed: it would still read
		c.p.CloseWrite()
		c.abort, c.at, c.half = -1, len(c.plans), true
		return
	default: // it says nothing more
		c.at = len(c.plans)
		c.abort = -1
		return
	}
	c.end("left")
}

func (c *client) take() {
	if c.sleeping || c.reads >= 0 && c.read >= c.reads {
		return
	}
	b := c.p.Arrived()
	if c.pace.bytes > 0 && len(b) > c.pace.bytes {
		b = b[:c.pace.bytes]
	}
	if len(b) > 0 {
		c.read += len(b)
		b = append([]byte(nil), b...)
		c.p.Take(len(b))
		c.in.feed(b)
		if c.in.wrong != "" {
			c.m.fail("%s got what is no HTTP: %s", c.name, c.in.wrong)
			c.p.Abort()
			c.end("disgusted")
		}
		if c.over {
			return
		}
		if c.tunnel != nil {
			c.tunnel.news()
			return
		}
	}
	switch {
	case len(c.p.Arrived()) > 0:
		c.sleeping = true
		c.m.sim.After(c.pace.step, func() { c.sleeping = false; c.news() })
	case c.p.Reset():
		c.end("reset")
	case c.p.Ended():
		if m := c.in.msg; m != nil && m.how == byClose && c.in.at == atBody {
			c.in.end()
		}
		if !c.over {
			c.p.Close()
			c.end("closed")
		}
	}
}

// current is the request that is being answered.
func (c *client) current() *plan {
	if c.next >= len(c.plans) || !c.plans[c.next].began {
		return nil
	}
	return c.plans[c.next]
}

func (c *client) onHead(a *message) {
	p := c.current()
	if p == nil {
		c.m.fail("%s got an answer that it did not ask for: %q %q", c.name, a.start, a.fields)
		c.p.Abort()
		c.end("disgusted")
		c.in.msg = nil
		return
	}
	if a.field("X-Leak") != "" {
		c.m.fail("%s got a mirror's answer to %s", c.name, p.id)
	}
	if a.status() == 101 {
		c.switchTo(p, a)
		return
	}
	if a.status() < 200 {
		if a.status() == 100 {
			c.m.sim.After(0, c.goOn)
		}
		return
	}
	if p.method == "HEAD" {
		a.how = none
	}
	p.closing = a.field("Connection") == "close"
	p.status, p.up = a.status(), a.field("X-Up")
	if a.how == byClose && !p.closing {
		c.m.fail("%s: an answer without a length on a connection that goes on", c.name)
	}
	a.key = c.m.checkAnswer(p)
}

func (c *client) onData(a *message) {
	p := c.plans[c.next]
	p.got = a.size
	p.wrong = p.wrong || a.wrong && p.up != ""
}

func (c *client) onEnd(a *message) {
	if a.status() < 200 || c.over {
		return
	}
	p := c.plans[c.next]
	p.got, p.whole = a.size, true
	if p.upgrade && !p.closing {
		c.m.fail("%s: %s got an answer in HTTP on a connection that goes on", c.name, p.id)
	}
	c.finish(p)
	c.next++
	c.m.checkWhole(p)
	unsent := p.sent < len(p.bytes)
	switch {
	case p.closing || unsent:
		if !p.closing {
			c.m.fail("%s: %s was answered before it was sent, on a connection that goes on", c.name, p.id)
		}
		c.at = len(c.plans)
	case c.next == len(c.plans):
		if c.r.IntN(3) > 0 { // else the proxy finds it idle
			c.p.Close()
			c.end("done")
		}
	default:
		c.m.sim.After(time.Duration(c.r.IntN(3000))*time.Microsecond, c.news)
	}
}

func (c *client) finish(p *plan) {
	if !p.ended {
		p.ended, p.at = true, c.m.sim.Now()
		c.m.note("%s: %s", c.name, p.fate())
	}
}

// end is the end of the connection.
func (c *client) end(how string) {
	if c.over {
		return
	}
	c.over = true
	c.m.note("%s ends: %s", c.name, how)
	excused := false // by what came before
	for i, p := range c.plans {
		excused = excused || p.closing || p.broken
		if !p.ended && p.began {
			p.broken = true
			c.finish(p)
			// The reset that breaks off an answer to HTTP/1.0 takes with it what is unsent of those before it.
			old := slices.ContainsFunc(c.plans[i+1:], func(q *plan) bool { return q.old && q.began && how == "reset" })
			if p.good && !excused && !old && !c.m.ending {
				c.m.fail("%s: %s got no answer (%s)", c.name, p.id, how)
			}
			excused = excused || !p.good
		}
	}
}
