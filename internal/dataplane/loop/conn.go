// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"math"
	"net/netip"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

// Conn is a connection of a worker. Its methods only mark what is to be done and call nobody back: bytes are written, a
// socket is closed at the end of the turn or of its part. All may be called on a dead connection and then do nothing.
type Conn struct {
	w     *Worker
	owner Owner
	out   chunk.Queue // not yet written
	next  [2]*Conn    // in the lists of ready and of dirty ones
	timer Timer       // connecting, then lingering
	err   error       // what Gone will say
	atEnd Freer       // nil: nobody

	local, remote netip.AddrPort
	sent, mark    uint64 // written; of it acknowledged at the last look of the lingering timer
	fd            int32
	highWater     int32 // of out
	slot          uint32
	state         state
	events        readiness
	class         Class
	lingers       uint8
}

// state is a set of what is true of a connection.
type state uint32

const (
	adopted     state = 1 << iota
	connecting        // dialled and not up
	paused            // the owner wants no bytes
	unread            // the socket may hold more than was read: edge triggering will not say it again
	peerEnded         // FIN or RST seen
	eof               // all was read
	blocked           // the socket takes no more
	high              // more than the mark was queued, and Writable not said since
	writableDue       // Writable is to be said
	broken            // a write failed
	closing           // CloseFlushed: no owner any more
	ending            // EndFlushed, and not all is written
	shutSent          // our FIN is queued or sent
	resetting         // end with RST
	isReady           // in the list of ready connections
	isDirty           // in the list of dirty connections
	isDead
)

func (c *Conn) is(s state) bool { return c.state&s != 0 }

// Adopt takes over an accepted, non-blocking socket. It owns fd from the call on, also if it fails.
func (w *Worker) Adopt(fd int, class Class, o Owner) (*Conn, error) {
	fd, err := w.drv.adopt(fd)
	if err != nil {
		return nil, err
	}
	local, remote := w.drv.addrs(fd)
	return w.adopted(fd, class, o, local, remote)
}

// AdoptFrom is Adopt with addresses that are known already.
func (w *Worker) AdoptFrom(fd int, class Class, o Owner, local, remote netip.AddrPort) (*Conn, error) {
	fd, err := w.drv.adopt(fd)
	if err != nil {
		return nil, err
	}
	return w.adopted(fd, class, o, local, remote)
}

func (w *Worker) adopted(fd int, class Class, o Owner, local, remote netip.AddrPort) (*Conn, error) {
	c := &Conn{w: w, fd: int32(fd), class: class, state: adopted, highWater: HighWater, local: local, remote: remote}
	w.drv.prepare(fd, class)
	if err := w.register(c); err != nil {
		w.drv.shut(fd, true)
		return nil, err
	}
	if w.claimed {
		w.claimed = false
	} else {
		w.conns.Add(1)
	}
	c.owned(o)
	return c, nil
}

// Dial begins to connect to addr. It never blocks and never calls o before it returns: Connected or Gone follow. Bytes
// may be queued at once. A timeout of 0 or less is none.
func (w *Worker) Dial(addr netip.AddrPort, class Class, timeout time.Duration, o Owner) *Conn {
	fd, err := w.drv.dial(addr, class)
	c := &Conn{w: w, owner: o, fd: -1, class: class, state: connecting, highWater: HighWater, remote: addr}
	w.dialled(c, fd, err, timeout)
	return c
}

// DialUnix is Dial for a Unix socket; a path that begins with '@' is one in the abstract namespace. Its connection has
// no addresses.
func (w *Worker) DialUnix(path string, class Class, timeout time.Duration, o Owner) *Conn {
	fd, err := w.drv.dialUnix(path, class)
	c := &Conn{w: w, owner: o, fd: -1, class: class, state: connecting, highWater: HighWater}
	w.dialled(c, fd, err, timeout)
	return c
}

func (w *Worker) dialled(c *Conn, fd int, err error, timeout time.Duration) {
	c.owned(c.owner)
	if err == nil {
		c.fd = int32(fd)
		if err = w.register(c); err != nil {
			w.drv.shut(fd, true)
			c.fd = -1
		}
	}
	if err != nil {
		c.err = err
		w.ready(c)
		return
	}
	if timeout > 0 {
		c.timer.Init(c.expire)
		w.Arm(&c.timer, timeout)
	}
}

// KeepAlive is how the kernel asks after a peer that is silent. Zero fields are the system's; what is no whole number of
// seconds is rounded up.
type KeepAlive struct {
	Probes         int // unanswered, before the connection is given up
	Time, Interval time.Duration
}

// KeepAlive turns keep-alive probes on. A Unix socket has none.
func (c *Conn) KeepAlive(k KeepAlive) {
	if !c.is(isDead) && c.fd >= 0 {
		c.w.drv.keepAlive(int(c.fd), k)
	}
}

// OriginalDst is where an adopted connection was going before the kernel redirected it here (SO_ORIGINAL_DST); not valid
// if it was not redirected. It is a system call or two: ask once.
func (c *Conn) OriginalDst() netip.AddrPort {
	if c.is(isDead|connecting) || c.fd < 0 {
		return netip.AddrPort{}
	}
	return c.w.drv.originalDst(int(c.fd), c.local)
}

// register gives c a slot and puts its socket into the set.
func (w *Worker) register(c *Conn) error {
	if n := len(w.free); n > 0 {
		c.slot = w.free[n-1]
		w.free = w.free[:n-1]
	} else {
		c.slot = uint32(len(w.slots))
		w.slots = append(w.slots, slot{})
	}
	s := &w.slots[c.slot]
	if err := w.drv.register(int(c.fd), key{c.slot, s.gen}); err != nil {
		w.free = append(w.free, c.slot)
		return err
	}
	s.conn = c
	return nil
}

// SetOwner hands the connection to another owner.
func (c *Conn) SetOwner(o Owner) {
	if !c.is(isDead | closing) {
		c.owned(o)
	}
}

func (c *Conn) owned(o Owner) {
	c.owner = o
	if c.w.guard != nil {
		c.owner = c.w.guard(c, o)
	}
}

// FreeAtEnd has f.Free called once the connection's socket is closed, at the end of that turn, however it comes to its
// end and whoever owns it then: CloseFlushed may take a minute. Called once, on a connection that is not dead.
func (c *Conn) FreeAtEnd(f Freer) { c.atEnd = f }

// Write copies p into the unsent queue. After EndFlushed, CloseFlushed and a failed write it is dropped.
func (c *Conn) Write(p []byte) {
	if !c.is(isDead | closing | ending | shutSent | broken) {
		c.out.Append(c.w.Pool, p)
		c.MarkDirty()
	}
}

// Push adds b to the unsent queue, by reference if it is big and has a chunk.
func (c *Conn) Push(b chunk.Bytes) {
	if !c.is(isDead | closing | ending | shutSent | broken) {
		c.out.Push(c.w.Pool, b)
		c.MarkDirty()
	}
}

// Out is the unsent queue, to be appended to or moved into; MarkDirty must follow.
func (c *Conn) Out() *chunk.Queue { return &c.out }

// Queued is the number of unsent bytes.
func (c *Conn) Queued() int { return c.out.Len() }

// SetHighWater changes the unsent queue's mark, in bytes; 0 is the usual one. Call it before anything is queued.
func (c *Conn) SetHighWater(n int) {
	if n <= 0 {
		n = HighWater
	}
	c.highWater = int32(min(n, math.MaxInt32))
}

// Full reports whether more is unsent than the mark: it is time to stop until Writable.
func (c *Conn) Full() bool { return c.out.Len() > int(c.highWater) }

// MarkDirty has the unsent queue written at the end of this part of the turn.
func (c *Conn) MarkDirty() {
	if c.is(isDead) {
		return
	}
	if c.is(broken) {
		c.out.Free()
		return
	}
	if c.Full() {
		c.state |= high
	}
	c.w.dirty(c)
}

// Pause stops reading, at once. EOF is not told either; an error may be, see Owner.Gone.
func (c *Conn) Pause() { c.state |= paused }

// Resume goes on reading, in a later part of the turn or the next turn.
func (c *Conn) Resume() {
	if !c.is(paused) {
		return
	}
	c.state &^= paused
	if c.is(unread | broken) {
		c.w.ready(c)
	}
}

// EndFlushed ends this direction when the unsent queue is written: a FIN, and nothing can be written any more. Reading
// and the callbacks go on. A peer that takes nothing keeps it waiting: the owner sees to how long.
func (c *Conn) EndFlushed() {
	if !c.is(isDead | closing | ending | shutSent) {
		c.state |= ending
		c.w.dirty(c)
	}
}

// CloseFlushed closes when the unsent queue is written: a FIN, then what still arrives is read and thrown away until
// the peer's FIN, so that the kernel does not follow the answer with a RST that overtakes it. It waits as long as the
// peer acknowledges something every 5 s, at most a minute; then the connection is reset if not all was written, else
// closed. One that is not up yet is closed at once. No callback is made any more.
func (c *Conn) CloseFlushed() {
	if c.is(isDead | closing) {
		return
	}
	if c.is(connecting|broken) || c.fd < 0 {
		c.Close()
		return
	}
	c.owner = nil
	c.state |= closing
	c.timer.Init(c.expire)
	c.mark = c.acked()
	c.w.Arm(&c.timer, lingerStep)
	if c.is(unread) {
		c.w.ready(c)
	}
	c.w.dirty(c)
}

// Close closes now; unsent bytes are dropped.
func (c *Conn) Close() {
	if !c.is(isDead) {
		c.w.kill(c)
	}
}

// Abort closes with a RST: the peer sees that what it got is not all.
func (c *Conn) Abort() {
	if !c.is(isDead) {
		c.state |= resetting
		c.w.kill(c)
	}
}

// Local is the address of this end. For a dialled connection it is known from Connected on.
func (c *Conn) Local() netip.AddrPort { return c.local }

// Remote is the address of the other end, also after it is gone.
func (c *Conn) Remote() netip.AddrPort { return c.remote }

// RemoteClosed reports whether the peer's FIN or RST has arrived, told to the owner or not.
func (c *Conn) RemoteClosed() bool { return c.is(peerEnded | isDead) }

// Unread reports whether something came of the peer, bytes or its end, that the owner has not been told of.
func (c *Conn) Unread() bool { return c.is(unread) }

// Closed reports whether the connection is over, or only flushes for CloseFlushed.
func (c *Conn) Closed() bool { return c.is(isDead | closing) }

// Sent is the number of bytes the kernel has taken.
func (c *Conn) Sent() uint64 { return c.sent }

// expire is the timer's callback.
func (c *Conn) expire() {
	w := c.w
	acked := uint64(0)
	if !c.is(isDead | connecting) {
		acked = c.acked()
	}
	switch {
	case c.is(isDead), c.is(connecting) && c.events != 0: // or about to hear how connecting went
	case c.is(connecting):
		c.err = ErrConnectTimeout
		w.ready(c)
	case c.is(shutSent) && acked >= c.sent: // it has all and keeps its own direction open
		w.kill(c)
	case acked > c.mark && c.lingers < lingerSteps-1:
		c.mark = acked
		c.lingers++
		w.Arm(&c.timer, lingerStep)
	case c.is(shutSent):
		w.kill(c)
	default:
		c.Abort()
	}
}

// acked is the number of bytes the peer has acknowledged. What the kernel took says little of a slow peer: with large
// buffers it takes nothing for many seconds, then megabytes.
func (c *Conn) acked() uint64 { return c.sent - min(c.sent, uint64(c.w.drv.unacked(int(c.fd)))) }
