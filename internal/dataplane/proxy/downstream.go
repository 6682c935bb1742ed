// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/netip"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec/http1"
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

const (
	// maxPipelined is how many requests of one connection are begun before others get their turn.
	maxPipelined = 16
	// drainWait is how long a connection that has not carried a request yet has for its first while its listener drains:
	// the request of a client that connected just before may be on its way.
	drainWait = time.Second
)

// Downstream is one client connection. It decodes requests one after another and owns no buffer while idle.
type Downstream struct {
	wk       *Worker
	listener *Listener
	cfg      *ListenerConfig // of the current request
	io       *loop.Conn
	peer     netip.AddrPort
	local    netip.AddrPort

	dec      http1.RequestDecoder
	stream   *Stream         // the request being read or answered; nil: none
	original *netip.AddrPort // where the client was going, once asked; nil: not yet
	rest     []byte          // what came after the current request (pipelining), at most one read
	feeding  bool            // feed is on the stack
	resuming bool            // a feed of rest is posted
	used     bool            // has carried a request
	closed   bool

	// One lazy timer: it fires at or before the deadline of what the connection waits for, and looks again.
	timer     loop.Timer
	timerAt   int64
	idleSince int64

	prev, next *Downstream
}

func (wk *Worker) accept(l *Listener, fd int, peer, local netip.AddrPort) {
	d := &Downstream{wk: wk, listener: l, cfg: l.cfg.Load(), peer: peer, local: local, idleSince: wk.w.Now()}
	d.timer.Init(d.expire)
	io, err := wk.w.AdoptFrom(fd, loop.Production, d, local, peer)
	if err != nil { // the loop has closed it
		(*socket)(l).Free()
		l.left()
		return
	}
	d.io = io
	io.FreeAtEnd((*socket)(l))
	io.SetHighWater(d.cfg.Buffer)
	s := d.stats()
	s.Inc(cxTotal)
	s.Add(cxActive, 1)
	if d.next = wk.conns; d.next != nil {
		d.next.prev = d
	}
	wk.conns = d
	d.look()
}

func (d *Downstream) stats() *stats.Block { return d.listener.stats[d.wk.w.Index] }

// Connected implements loop.Owner; accepted connections are up already.
func (d *Downstream) Connected() {}

// Bytes implements loop.Owner.
func (d *Downstream) Bytes(b chunk.Bytes) {
	left := b.B
	if len(d.rest) == 0 && (d.stream == nil || !d.stream.requestDone) {
		left = d.feed(b)
	}
	if !d.closed {
		d.rest = append(d.rest, left...)
		d.goOn()
	}
}

// feed decodes b, as far as the current request goes, and returns what is left. A client that does not take its answers
// gets no more requests begun.
func (d *Downstream) feed(b chunk.Bytes) (left []byte) {
	d.feeding = true
	for begun := 0; !d.closed; {
		if d.stream == nil {
			if begun++; begun > maxPipelined || len(b.B) == 0 || d.io.Full() {
				break
			}
			d.begin()
		}
		s := d.stream
		if s.requestDone {
			break
		}
		ev, n, err := d.dec.Next(b.B)
		if err != nil {
			d.malformed(err)
			break
		}
		switch ev {
		case http1.HeadDone:
			s.onHead()
		case http1.Data:
			s.onData(chunk.Bytes{B: d.dec.Body(), C: b.C})
		case http1.End:
			s.onEnd(d.dec.Trailers())
		}
		b.B = b.B[n:]
		if ev == http1.More {
			break
		}
		if s.requestDone && s.reply != nil {
			s.answerLocally()
		}
	}
	d.feeding = false
	if s := d.stream; s != nil && s.reply != nil {
		s.answerLocally() // the rest of its body is not waited for
	}
	if d.closed {
		return nil
	}
	d.look()
	return b.B
}

// goOn reads from the client unless something must be dealt with first, and sees to what was held back.
func (d *Downstream) goOn() {
	d.steer()
	if d.stream == nil && len(d.rest) > 0 && !d.resuming && !d.io.Full() {
		d.resuming = true
		d.wk.w.Post(d.feedRest) // other connections get their turn first
	}
}

// steer stops reading while bytes wait for their turn or the request's body for its upstream.
func (d *Downstream) steer() {
	if len(d.rest) > 0 || d.stream != nil && d.stream.paused {
		d.io.Pause()
	} else {
		d.io.Resume()
	}
}

// feedRest decodes what was held back.
func (d *Downstream) feedRest() {
	d.resuming = false
	if d.closed || d.stream != nil {
		return
	}
	left := d.feed(chunk.Bytes{B: d.rest})
	if d.closed {
		return
	}
	if d.rest = left; len(left) == 0 {
		d.rest = nil
	}
	d.goOn()
}

// begin makes the stream for a request whose first byte is here.
func (d *Downstream) begin() {
	d.cfg = d.listener.cfg.Load()
	s := d.wk.newStream(d)
	d.stream = s
	d.dec.MaxHead, d.dec.MaxFields = d.cfg.MaxHeadBytes, d.cfg.MaxHeadFields
	d.dec.Reset(&s.head)
	d.stats().Add(rqActive, 1)
}

// malformed answers a request that is no HTTP/1.1 and ends the connection (RFC 9112 §2.2).
func (d *Downstream) malformed(err *codec.Error) {
	s := d.stream
	d.stats().Inc(cxProtocolError)
	switch s.last = true; {
	case s.answering:
		s.giveUp("DPE", err.Detail)
	case s.reply == nil:
		s.fail(&filter.Local{Status: err.Status, Flag: "DPE", Details: err.Detail})
	}
}

// finished is called when the stream's exchange is over.
func (d *Downstream) finished(last bool) {
	d.stream, d.used = nil, true
	if d.closed {
		d.wk.checkDrained()
		return
	}
	if last || d.draining() {
		d.closeFlushed()
		return
	}
	d.idleSince = d.wk.w.Now()
	if !d.feeding {
		d.look()
		d.goOn()
	}
}

func (d *Downstream) draining() bool { return d.wk.draining || d.listener.draining.Load() }

// originalDst is where the client's connection was going before it was redirected here.
func (d *Downstream) originalDst() netip.AddrPort {
	if d.original == nil {
		to := d.io.OriginalDst()
		d.original = &to
	}
	return *d.original
}

// blank reports whether the stream was begun for no more than the empty line that some clients send behind a body
// (RFC 9112 §2.2): the connection is idle.
func (d *Downstream) blank() bool { return d.stream != nil && !d.stream.headDone && d.dec.Empty() }

// EOF implements loop.Owner. A client that ends its side during a request has given it up.
func (d *Downstream) EOF() {
	if d.stream == nil || d.blank() {
		d.hangUp()
		return
	}
	d.stats().Inc(rqRxReset)
	d.stream.giveUp("DC", "downstream_remote_disconnect")
}

// Gone implements loop.Owner.
func (d *Downstream) Gone(error) {
	if d.stream != nil {
		if !d.blank() {
			d.stats().Inc(rqRxReset)
		}
		d.stream.giveUp("DC", "downstream_remote_disconnect")
	}
	d.unlink()
}

// Writable implements loop.Owner: the client took what was unsent.
func (d *Downstream) Writable() {
	if s := d.stream; s != nil {
		s.clientReady()
		return
	}
	d.goOn()
}

// due is when the time for what the connection waits for is over, 0 if there is no limit.
func (d *Downstream) due() int64 {
	s := d.stream
	from, limit := d.idleSince, d.cfg.IdleTimeout
	switch {
	case s == nil || d.blank():
		if d.draining() && (limit == 0 || limit > drainWait) {
			limit = drainWait
		}
	case !s.headDone && d.cfg.HeadTimeout > 0:
		from, limit = s.start, d.cfg.HeadTimeout
	case s.relay != nil:
		return 0 // it has its own
	default:
		from, limit = s.active, s.idleTimeout()
	}
	if limit <= 0 {
		return 0
	}
	return from + int64(limit)
}

// look sees to it that the timer fires when what the connection now waits for is due, or before.
func (d *Downstream) look() {
	at := d.due()
	if at != 0 && (d.timerAt == 0 || d.timerAt > at) {
		d.timerAt = at
		d.wk.w.Arm(&d.timer, time.Duration(at-d.wk.w.Now()))
	}
}

// expire looks what the connection waits for and whether its time is over.
func (d *Downstream) expire() {
	d.timerAt = 0
	if d.closed {
		return
	}
	if at := d.due(); at == 0 || d.wk.w.Now() < at {
		d.look()
		return
	}
	s := d.stream
	switch {
	case s == nil || d.blank():
		d.stats().Inc(cxIdleTimeout)
		d.tell("idle timeout")
		d.hangUp()
	case !s.headDone && d.cfg.HeadTimeout > 0:
		d.stats().Inc(rqTimeout)
		s.fail(&filter.HeadTimeout)
	case s.requestDone:
		d.stats().Inc(rqIdleTimeout)
		s.fail(&filter.IdleUpstream)
	default:
		d.stats().Inc(rqIdleTimeout)
		s.fail(&filter.StreamIdle)
	}
}

// hangUp ends a connection without a request. What its client has yet to take of the last answer still goes out.
func (d *Downstream) hangUp() {
	switch {
	case d.stream != nil: // blank
		d.stream.last = true
		d.stream.finish()
	case d.io.Queued() > 0:
		d.closeFlushed()
	default:
		d.close()
	}
}

func (d *Downstream) close() {
	if !d.closed {
		d.io.Close()
		d.unlink()
	}
}

func (d *Downstream) closeFlushed() {
	if !d.closed {
		d.io.CloseFlushed()
		d.unlink()
	}
}

// abort breaks the connection so that the client sees that an answer is not whole.
func (d *Downstream) abort() {
	if !d.closed {
		d.io.Abort()
		d.unlink()
	}
}

func (d *Downstream) unlink() {
	if d.closed {
		return
	}
	d.closed = true
	d.listener.left()
	d.rest = nil
	wk := d.wk
	wk.w.Disarm(&d.timer)
	s := d.stats()
	s.Inc(cxDestroy)
	s.Add(cxActive, -1)
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		wk.conns = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	}
	if d.stream == nil { // else when that is finished
		wk.checkDrained()
	}
}
