// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"math/rand/v2"
	"net/netip"
	"syscall"
	"time"
)

// simConn is a connection between a worker and a Peer.
type simConn struct {
	sim        *Sim
	d          *simDriver
	key        key
	registered bool
	before     readiness // what was to be told before it was registered
	bits       readiness // to be told
	remote     netip.AddrPort

	link      simLink
	out, in   way  // from the worker, to the worker
	up        bool // connected
	far       Peer
	broken    syscall.Errno // what the worker's end learned: refused or reset
	wantsRoom bool          // the worker's end could not send all
	farWaits  bool          // so could not the Peer's
	nearGone  bool          // the worker's end is closed
	farGone   bool          // the Peer's end is closed
}

// simLink draws what happens on the way.
type simLink struct {
	Link
	r *rand.Rand
}

func (l *simLink) delay() int64 {
	d := max(int64(l.Latency), 1)
	if l.Jitter > 0 {
		d += l.r.Int64N(int64(l.Jitter))
	}
	return d
}

// way is one direction: bytes that were sent and not taken, the first of them have arrived.
type way struct {
	c       *simConn
	buf     []byte
	arrived int
	last    int64 // when the last thing sent arrives: nothing overtakes
	fin     bool  // sent
	ended   bool  // it arrived
	reset   bool  // a RST arrived
	cut     bool  // bytes on the way were lost, and a FIN behind them
	news    func(fin, rst bool)
}

func newSimConn(s *Sim, l Link) *simConn {
	c := &simConn{}
	c.init(s, l)
	return c
}

func (c *simConn) peer() *Peer { c.far.c = c; return &c.far }

func (c *simConn) init(s *Sim, l Link) {
	c.sim = s
	if l.Room == 0 {
		l.Room = 64 << 10
	}
	c.link = simLink{l, rand.New(rand.NewPCG(l.Seed, 2))}
	c.out = way{c: c, news: c.farNews}
	c.in = way{c: c, news: c.nearNews}
}

// at schedules what arrives at the end of a way, after all that was sent before.
func (v *way) at(fn func()) {
	v.last = max(v.last, v.c.sim.now+v.c.link.delay())
	v.c.sim.at(v.last, fn)
}

func (v *way) travelling() int { return len(v.buf) - v.arrived }

// put sends as much of p as there is room for.
func (v *way) put(p []byte) int {
	n := min(len(p), v.c.link.Room-len(v.buf))
	if n <= 0 {
		return 0
	}
	v.buf = append(v.buf, p[:n]...)
	for left := n; left > 0; {
		piece := left
		if most := v.c.link.Piece; most > 0 {
			piece = min(left, 1+v.c.link.r.IntN(most))
		}
		left -= piece
		v.at(func() { v.arrive(piece) })
	}
	return n
}

func (v *way) arrive(n int) {
	if v.reset { // what was on the way is lost
		return
	}
	n = min(n, v.travelling())
	v.arrived += n
	v.news(false, false)
}

// end sends a FIN.
func (v *way) end() {
	if !v.fin {
		v.fin = true
		v.at(func() {
			if !v.reset && !v.cut {
				v.ended = true
				v.news(true, false)
			}
		})
	}
}

// abort sends a RST; what is on the way gets there as far as luck has it.
func (v *way) abort() {
	if n := v.travelling(); n > 0 {
		left := v.c.link.r.IntN(n + 1)
		v.buf, v.cut = v.buf[:v.arrived+left], left < n
	}
	v.fin = true
	v.at(func() {
		if !v.reset {
			v.reset = true
			v.buf = v.buf[:v.arrived]
			v.news(false, true)
		}
	})
}

// take moves what has arrived to p.
func (v *way) take(p []byte) int {
	n := copy(p, v.buf[:v.arrived])
	v.arrived -= n
	v.buf = v.buf[n:]
	if len(v.buf) == 0 {
		v.buf = nil
	}
	return n
}

// tell has the worker hear of its end.
func (c *simConn) tell(b readiness) {
	if c.nearGone || b == 0 {
		return
	}
	if !c.registered {
		c.before |= b
		return
	}
	if c.bits == 0 {
		c.d.due = append(c.d.due, c)
	}
	c.bits |= b
}

// arrive is the answer to dialling.
func (c *simConn) arrive(refuse bool) {
	switch {
	case c.nearGone:
		if !refuse {
			c.farGone = true
		}
	case refuse:
		c.broken = syscall.ECONNREFUSED
		c.tell(hangup)
	default:
		c.up = true
		c.tell(writable)
		c.far.news()
	}
}

// nearNews: something arrived at the worker's end.
func (c *simConn) nearNews(fin, rst bool) {
	switch {
	case c.nearGone:
		if !rst && !fin && !c.out.reset { // a closed socket answers bytes with a RST
			c.out.abort()
		}
	case rst:
		if c.broken == 0 {
			c.broken = syscall.ECONNRESET
		}
		c.tell(readable | writable | peerDone | hangup)
	case fin:
		c.tell(readable | peerDone)
	default:
		c.tell(readable)
	}
}

// farNews: something arrived at the Peer's end.
func (c *simConn) farNews(fin, rst bool) {
	switch {
	case !c.farGone:
		c.far.news()
	case !rst && !fin && !c.in.reset:
		c.in.abort()
	}
}

func (c *simConn) recv(p []byte) (int, syscall.Errno) {
	if c.in.arrived > 0 {
		n := c.in.take(p)
		if c.farWaits {
			c.farWaits = false
			c.sim.at(c.sim.now+c.link.delay(), c.far.news)
		}
		return n, 0
	}
	switch {
	case c.broken != 0:
		return 0, c.broken
	case c.in.ended:
		return 0, 0
	}
	return 0, syscall.EAGAIN
}

func (c *simConn) send(bufs [][]byte) (n int, e syscall.Errno) {
	if c.broken != 0 {
		return 0, c.broken
	}
	for _, b := range bufs {
		k := c.out.put(b)
		n += k
		if k < len(b) {
			c.wantsRoom = true
			break
		}
	}
	if n == 0 {
		return 0, syscall.EAGAIN
	}
	return n, 0
}

func (c *simConn) shut(reset bool) {
	c.nearGone = true
	switch {
	case !c.up, c.broken != 0:
	case reset || c.in.arrived > 0:
		c.out.abort()
	default:
		c.out.end()
	}
}

// Peer is the far end of a connection: a client, an upstream, a mirror. News is called when something arrives, there is
// room again, or a connection that was dialled is accepted; what it finds, it looks up. All may be called at any time,
// from News too.
type Peer struct {
	News func()
	c    *simConn
}

func (p *Peer) news() {
	if p.News != nil && !p.c.farGone {
		p.News()
	}
}

// Arrived is the bytes that have arrived and were not taken. Valid until the next call.
func (p *Peer) Arrived() []byte { return p.c.out.buf[:p.c.out.arrived] }

// Take takes n of them.
func (p *Peer) Take(n int) {
	c := p.c
	c.out.arrived -= n
	if c.out.buf = c.out.buf[n:]; len(c.out.buf) == 0 {
		c.out.buf = nil
	}
	if c.wantsRoom && n > 0 {
		c.wantsRoom = false
		c.sim.at(c.sim.now+c.link.delay(), func() { c.tell(writable) })
	}
}

// Ended reports whether the worker has ended its direction and all of it was taken.
func (p *Peer) Ended() bool { return p.c.out.ended && len(p.c.out.buf) == 0 }

// Reset reports whether the worker has reset the connection.
func (p *Peer) Reset() bool { return p.c.out.reset }

// Over reports whether the Peer itself has closed or reset it.
func (p *Peer) Over() bool { return p.c.farGone }

// Send sends as much of b as there is room for; News tells when there is more. What is sent to a worker that has gone is
// lost.
func (p *Peer) Send(b []byte) int {
	if p.c.farGone || p.c.out.reset || p.c.in.fin {
		return len(b)
	}
	n := p.c.in.put(b)
	p.c.farWaits = n < len(b)
	return n
}

// Unread is how many of the bytes that were sent the worker has not taken.
func (p *Peer) Unread() int { return len(p.c.in.buf) }

// Left reports whether the worker has closed its end, at this moment: the Peer cannot know that yet.
func (p *Peer) Left() bool { return p.c.nearGone }

// CloseWrite sends a FIN.
func (p *Peer) CloseWrite() {
	if !p.c.farGone {
		p.c.in.end()
	}
}

// Close closes: a FIN if all that arrived was taken, a RST otherwise, and whenever more arrives.
func (p *Peer) Close() {
	c := p.c
	if c.farGone {
		return
	}
	c.farGone = true
	if c.out.reset {
		return
	}
	if c.out.arrived > 0 {
		c.in.abort()
		return
	}
	c.in.end()
}

// Abort closes with a RST.
func (p *Peer) Abort() {
	c := p.c
	if !c.farGone {
		c.farGone = true
		if !c.out.reset {
			c.in.abort()
		}
	}
}

// After is Sim.After.
func (p *Peer) After(d time.Duration, fn func()) { p.c.sim.After(d, fn) }
