// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"syscall"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

// ready has c served in its class's part of the turn, or the next turn.
func (w *Worker) ready(c *Conn) {
	if !c.is(isReady | isDead) {
		c.state |= isReady
		w.lists[c.class].ready.push(c, linkReady)
	}
}

// dirty has c's unsent queue written in its class's part of the turn, or the next turn.
func (w *Worker) dirty(c *Conn) {
	if !c.is(isDirty | isDead) {
		c.state |= isDirty
		w.lists[c.class].dirty.push(c, linkDirty)
	}
}

// note takes an event down; it is served later, when all of the turn's are known.
func (w *Worker) note(e event) {
	if int(e.slot) >= len(w.slots) {
		return
	}
	c := w.slots[e.slot].conn
	if c == nil || w.slots[e.slot].gen != e.gen || c.is(isDead) {
		return
	}
	c.events |= e.bits
	if e.bits&(peerDone|hangup) != 0 && !c.is(connecting) {
		c.state |= peerEnded
	}
	if e.bits&(readable|peerDone|hangup) != 0 {
		c.state |= unread
	}
	w.ready(c)
}

// serve makes the callbacks that c's events and state call for.
func (w *Worker) serve(c *Conn) {
	c.state &^= isReady
	if c.is(isDead) || c.is(connecting) && !w.connect(c) {
		return
	}
	if c.events&writable != 0 {
		c.events &^= writable
		if c.is(blocked) {
			c.state &^= blocked
			w.dirty(c)
		}
	}
	if c.is(writableDue) {
		c.state &^= writableDue
		if c.owner != nil {
			c.owner.Writable()
		}
	}
	w.read(c)
}

// connect looks how connecting went and reports whether the connection is up and still wanted.
func (w *Worker) connect(c *Conn) bool {
	if c.err == nil {
		if c.events == 0 {
			return false
		}
		c.err = w.drv.connected(int(c.fd))
	}
	if c.err != nil {
		w.gone(c, c.err)
		return false
	}
	c.state &^= connecting
	if c.events&(peerDone|hangup) != 0 {
		c.state |= peerEnded
	}
	w.Disarm(&c.timer)
	c.local, _ = w.drv.addrs(int(c.fd))
	if c.out.Len() > 0 || c.is(ending) {
		w.dirty(c)
	}
	c.owner.Connected()
	return !c.is(isDead)
}

// read hands over what the socket holds, up to ReadCap; for copies one receive, so that the budget is looked at often.
func (w *Worker) read(c *Conn) {
	room := ReadCap
	if c.class == Copy {
		room = chunk.Size
	}
	for c.is(unread) && !c.is(isDead|eof) {
		if c.is(paused) && !c.is(closing) {
			if c.is(broken) && c.is(high) { // its owner waits for Writable, which will not come
				w.gone(c, c.err)
			}
			return
		}
		if room <= 0 {
			w.ready(c)
			return
		}
		buf := w.rx.Buf()
		n, errno := w.drv.recv(int(c.fd), buf)
		switch {
		case errno == syscall.EAGAIN:
			c.state &^= unread
		case errno == syscall.EINTR:
		case errno != 0:
			w.gone(c, errno)
			return
		case n == 0:
			c.state = c.state&^unread | eof | peerEnded
			w.ended(c)
		default:
			if n < len(buf) && !c.is(peerEnded) {
				c.state &^= unread // a short read has drained a stream socket
			}
			room -= n
			w.moved += n
			if !c.is(closing) {
				c.owner.Bytes(chunk.Bytes{B: buf[:n], C: w.rx})
				w.renew(n)
			}
		}
	}
	if c.is(isDead) {
		return
	}
	switch {
	case c.is(broken) && !c.is(paused):
		w.gone(c, c.err)
	case c.is(eof) && c.events&hangup != 0 && !c.is(shutSent):
		err := w.drv.connected(int(c.fd))
		if err == nil {
			err = syscall.ECONNRESET
		}
		w.gone(c, err)
	case c.is(eof):
		c.state &^= unread
	}
}

// renew takes another chunk to receive into if the n bytes of the present one are still referenced.
func (w *Worker) renew(n int) {
	if w.rx.Shared() {
		w.rx.Release()
		w.rx = w.Pool.Large()
		return
	}
	chunk.Poison(w.rx.Buf()[:n])
}

// ended is called when c has been read to its end.
func (w *Worker) ended(c *Conn) {
	if !c.is(closing) {
		c.owner.EOF()
	} else if c.is(shutSent) {
		w.kill(c)
	}
}

// flush writes c's unsent queue, up to WriteCap. It makes no callback.
func (w *Worker) flush(c *Conn) {
	c.state &^= isDirty
	if c.is(isDead | connecting | broken) {
		return
	}
	for room := WriteCap; c.out.Len() > 0 && !c.is(blocked); {
		if room <= 0 {
			w.dirty(c)
			break
		}
		bufs := c.out.Buffers(w.bufs[:0])
		want := 0
		for _, b := range bufs {
			want += len(b)
		}
		n, errno := w.drv.send(int(c.fd), bufs)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 && errno != syscall.EAGAIN {
			w.fail(c, errno)
			return
		}
		c.out.Discard(n)
		c.sent += uint64(n)
		w.moved += n
		room -= n
		if n < want {
			c.state |= blocked
		}
	}
	if c.is(high) && c.out.Len() <= int(c.highWater)/4 {
		c.state = c.state&^high | writableDue
		w.ready(c)
	}
	if c.is(closing|ending) && c.out.Len() == 0 {
		w.finish(c)
	}
}

// fail takes down that nothing can be written any more. The owner hears of it when what the peer sent is read.
func (w *Worker) fail(c *Conn, errno syscall.Errno) {
	if c.is(closing) {
		w.kill(c)
		return
	}
	c.out.Free()
	c.err = errno
	c.state |= broken | peerEnded
	if !c.is(eof) {
		c.state |= unread
	}
	w.ready(c)
}

// finish sends the FIN of EndFlushed or CloseFlushed; for the latter it waits for the peer's.
func (w *Worker) finish(c *Conn) {
	if !c.is(closing) {
		c.state = c.state&^ending | shutSent
		w.drv.shutdown(int(c.fd))
		return
	}
	if c.is(eof) {
		w.kill(c)
		return
	}
	w.drv.shutdown(int(c.fd))
	c.state |= shutSent
	w.Arm(&c.timer, lingerStep)
	if c.is(unread) {
		w.ready(c)
	}
}

// gone ends c and tells its owner.
func (w *Worker) gone(c *Conn, err error) {
	o := c.owner
	w.kill(c)
	if o != nil {
		o.Gone(err)
	}
}

// kill ends c. Its socket and memory are given back at the end of the turn.
func (w *Worker) kill(c *Conn) {
	c.state |= isDead
	c.owner = nil
	w.Disarm(&c.timer)
	w.dead = append(w.dead, c)
}

// reap gives back what dead connections held.
func (w *Worker) reap() {
	for i, c := range w.dead {
		w.dead[i] = nil
		c.out.Free()
		if c.fd >= 0 {
			w.shut(c)
		}
		if c.atEnd != nil {
			c.atEnd.Free()
			c.atEnd = nil
		}
	}
	w.dead = keep(w.dead)
}

// shut closes c's socket and gives its slot back.
func (w *Worker) shut(c *Conn) {
	w.drv.shut(int(c.fd), c.is(resetting))
	s := &w.slots[c.slot]
	s.conn = nil
	s.gen++
	w.free = append(w.free, c.slot)
	if c.is(adopted) {
		w.conns.Add(-1)
	}
}
