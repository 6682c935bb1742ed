// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"bytes"
	"errors"
	"math"
	"syscall"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec/http1"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

const (
	maxAnswerHead   = 60 << 10
	maxAnswerFields = 100
	// idleDefault is how long an idle connection is kept when its peer does not tell its own limit; with a limit, 4 s
	// less, so that we close first, but idleLeast in any case.
	idleDefault = 60 * time.Second
	idleMargin  = 4 * time.Second
	idleLeast   = time.Second / 2
	maxKeep     = 86400 // s
)

// Conn is one HTTP/1.1 connection to a host. It carries one exchange at a time.
type Conn struct {
	// IO is where the user of the exchange writes the request.
	IO   *loop.Conn
	Host *Host
	// Whole is set by the user of the exchange when all of the request is in IO: until it is taken from there, an exchange
	// that fails is reset, so that the host does not take what it has for all.
	Whole bool

	w       *loop.Worker
	cluster *Cluster
	class   loop.Class
	user    Exchange // nil: idle, or ended
	dec     http1.ResponseDecoder
	head    codec.Head
	cfg     *Config       // in force when it was dialled
	keep    time.Duration // in the pool; 0 or less: for good
	idle    loop.Timer
	age     loop.Timer
	served  uint32
	sent    uint64 // bytes written before the exchange
	// protocol is what an Upgrader asks for.
	protocol []byte

	connected bool
	reused    bool
	answered  bool
	final     bool // the final head was seen
	ended     bool // the answer is complete
	last      bool // not to be reused
	old       bool // past max_connection_duration
	closed    bool
}

// Acquire gives x a connection to h: ready if it is an idle one (the request may be written at once), otherwise one
// that is being dialled and will say Connected or Failed in a later turn. fresh asks for a new connection in any case.
func (c *Cluster) Acquire(
	w *loop.Worker, h *Host, class loop.Class, timeout time.Duration, fresh bool, x Exchange,
) (conn *Conn, ready bool) {
	if !fresh {
		for u := h.takeIdle(w.Index, class); u != nil; u = h.takeIdle(w.Index, class) {
			if u.IO.RemoteClosed() {
				u.close()
				continue
			}
			u.begin(x)
			return u, true
		}
	}
	cfg := c.cfg.Load()
	u := &Conn{Host: h, w: w, cluster: c, class: class, cfg: cfg, keep: cfg.IdleTimeout}
	if u.keep == 0 {
		u.keep = idleDefault
	}
	u.dec.MaxHead, u.dec.MaxFields = maxAnswerHead, maxAnswerFields
	u.idle.Init(u.expire)
	u.begin(x)
	u.IO = h.dial(w, class, timeout, u)
	u.IO.SetHighWater(cfg.Buffer)
	if k := cfg.Keepalive; k.On {
		u.IO.KeepAlive(loop.KeepAlive{Probes: int(min(k.Probes, math.MaxInt32)), Time: k.Time, Interval: k.Interval})
	}
	if class == loop.Production {
		c.connections.Add(1)
		h.pools[w.Index].open++
	}
	s := c.Stats(w)
	s.Inc(CxTotal)
	s.Add(CxActive, 1)
	return u, false
}

// HasIdle reports whether Acquire would find an idle connection.
func (h *Host) HasIdle(w *loop.Worker, class loop.Class) bool {
	return len(h.pools[w.Index].idle[class]) > 0
}

func (u *Conn) begin(x Exchange) {
	u.user = x
	u.Whole = false
	u.answered, u.final, u.ended, u.last = false, false, false, u.old
	if u.served++; u.served == u.cfg.MaxRequestsPerConnection {
		u.last = true
		u.cluster.Stats(u.w).Inc(CxMaxRequests)
	}
}

// StartAnswer tells what the request was, before its answer can come.
func (u *Conn) StartAnswer(headRequest bool) {
	u.head.Reset()
	u.dec.Switching = false
	u.dec.Reset(&u.head, headRequest)
	u.sent = u.IO.Sent()
}

// StartUpgrade is StartAnswer for a request that asks for another protocol; the exchange's party is an Upgrader.
// protocol must live as long as the exchange.
func (u *Conn) StartUpgrade(protocol []byte) {
	u.StartAnswer(false)
	u.dec.Switching, u.protocol = true, protocol
}

// Ended does the accounts of a connection that was given another owner, which has closed it.
func (u *Conn) Ended() {
	u.user = nil
	if !u.closed {
		u.gone()
	}
}

// Release ends the exchange. The connection is kept if the answer is complete, the whole request was written, and both
// sides agree; otherwise it is closed.
func (u *Conn) Release(requestComplete bool) {
	u.user = nil
	if u.closed {
		return
	}
	if u.ended && requestComplete && !u.last && !u.IO.RemoteClosed() && u.Host.keepIdle(u) {
		u.reused = true
		return
	}
	u.close()
}

// Abort ends the exchange in the middle: the host sees a reset.
func (u *Conn) Abort() {
	u.user = nil
	if !u.closed {
		u.IO.Abort()
		u.gone()
	}
}

// expire ends a connection that was idle for its time.
func (u *Conn) expire() {
	u.cluster.Stats(u.w).Inc(CxIdleTimeout)
	u.Host.dropIdle(u)
	u.close()
}

// ages ends a connection that was open for its time: at once if it is idle, else with its exchange.
func (u *Conn) ages() {
	u.cluster.Stats(u.w).Inc(CxMaxDuration)
	u.old, u.last = true, true
	if u.user == nil {
		u.Host.dropIdle(u)
		u.close()
	}
}

func (u *Conn) close() {
	if !u.closed {
		u.IO.Close()
		u.gone()
	}
}

// gone does the accounts of a connection that is no more.
func (u *Conn) gone() {
	u.closed = true
	u.w.Disarm(&u.idle)
	u.w.Disarm(&u.age)
	if u.class == loop.Production {
		u.cluster.connections.Add(-1)
		u.Host.pools[u.w.Index].open--
		u.Host.Freed(u.w)
	}
	s := u.cluster.Stats(u.w)
	s.Add(CxActive, -1)
	s.Inc(CxDestroy)
}

// Connected implements loop.Owner.
func (u *Conn) Connected() {
	u.connected = true
	if d := u.cfg.MaxConnectionDuration; d > 0 {
		u.age.Init(u.ages)
		u.w.Arm(&u.age, d)
	}
	if u.user != nil {
		u.user.Connected(u)
	}
}

// Bytes implements loop.Owner.
func (u *Conn) Bytes(b chunk.Bytes) {
	switch {
	case u.user == nil: // an answer nobody asked for: the connection is out of step
		u.Host.dropIdle(u)
		u.close()
		return
	case u.ended:
		u.fail(Failure{Kind: Protocol, Err: errUnasked})
		return
	case u.reused && !u.answered && u.IO.Sent() == u.sent: // it came before a byte of the request was written
		u.fail(Failure{Kind: Reset, Err: errUnasked})
		return
	}
	u.answered = true
	for u.user != nil && !u.closed {
		ev, n, err := u.dec.Next(b.B)
		if err != nil {
			u.fail(Failure{Kind: Protocol, Err: err})
			return
		}
		switch ev {
		case http1.More:
			if u.class == loop.Copy {
				u.unfinished()
			}
			return
		case http1.HeadDone:
			b.B = b.B[n:]
			if u.head.Status == 101 {
				u.onSwitch(b)
				return
			}
			u.onHead()
		case http1.Data:
			u.user.AnswerData(u, chunk.Bytes{B: u.dec.Body(), C: b.C})
			b.B = b.B[n:]
		case http1.End:
			u.onEnd(len(b.B) > n)
			return
		}
	}
}

// onSwitch takes a 101: it has to agree to what was asked for (RFC 9110 §7.8).
func (u *Conn) onSwitch(rest chunk.Bytes) {
	agreed := 0
	for i := range u.head.Fields {
		if f := &u.head.Fields[i]; f.ID == codec.Upgrade { // its name is removed already: it is hop-by-hop
			if !bytes.EqualFold(f.Value, u.protocol) {
				agreed = -1
				break
			}
			agreed++
		}
	}
	x, ok := u.user.(Upgrader)
	if agreed != 1 || !ok {
		u.fail(Failure{Kind: Protocol, Err: errOtherProtocol})
		return
	}
	u.final, u.last = true, true
	x.Upgraded(u, &u.head, rest)
}

func (u *Conn) onHead() {
	h := &u.head
	if h.Status < 200 {
		u.user.AnswerHead(u, h)
		h.Reset()
		return
	}
	u.final = true
	u.last = u.last || h.Close
	if old := h.Minor == 0; old != u.Host.http10.Load() {
		u.Host.http10.Store(old)
	}
	if t := keepAliveTimeout(h); t > 0 {
		u.keep = t
		if limit := u.cfg.IdleTimeout; limit > 0 {
			u.keep = min(t, limit)
		}
	}
	u.user.AnswerHead(u, h)
	h.Reset()
}

// unfinished tells a copy what it holds of its answer: a mirror that goes on and on must not have memory that nobody
// counts.
func (u *Conn) unfinished() {
	if x, ok := u.user.(Holder); ok {
		x.AnswerHeld(u, u.dec.Held())
	}
}

func (u *Conn) onEnd(more bool) {
	u.ended = true
	u.last = u.last || more // bytes after the answer: nobody asked for them
	u.user.AnswerEnd(u, u.dec.Trailers())
	u.dec.Free()
}

// EOF implements loop.Owner.
func (u *Conn) EOF() {
	if u.user == nil {
		u.Host.dropIdle(u)
		u.close()
		return
	}
	if u.ended {
		u.last = true
		return
	}
	u.last = true
	if u.answered {
		if ev, err := u.dec.EOF(); err == nil && ev == http1.End {
			u.onEnd(false)
			return
		}
	}
	u.fail(Failure{Kind: Reset, Err: errClosed})
}

var (
	errClosed  = errors.New("connection closed before the answer was complete")
	errUnasked = errors.New("bytes that answer no request")

	errOtherProtocol = errors.New("switched to another protocol than was asked for")
)

// Writable implements loop.Owner.
func (u *Conn) Writable() {
	if u.user != nil {
		u.user.Writable(u)
	}
}

// Gone implements loop.Owner.
func (u *Conn) Gone(err error) {
	if u.user == nil {
		u.Host.dropIdle(u)
		if !u.closed {
			u.gone()
		}
		return
	}
	f := Failure{Kind: Reset, Err: err}
	if !u.connected {
		f.Kind = ConnectRefused
		s := u.cluster.Stats(u.w)
		s.Inc(CxConnectFail)
		if errors.Is(err, loop.ErrConnectTimeout) || errors.Is(err, syscall.ETIMEDOUT) {
			f.Kind = ConnectTimeout
			s.Inc(CxConnectTimeout)
		}
	}
	u.fail(f)
	if !u.connected && u.class == loop.Production {
		u.Host.refuse(u.w, f)
	}
}

func (u *Conn) fail(f Failure) {
	f.Answered, f.Reused = u.answered, u.reused
	x := u.user
	u.user = nil
	if !u.closed {
		if u.Whole && u.IO.Queued() == 0 {
			u.IO.Close()
		} else {
			u.IO.Abort()
		}
		u.gone()
	}
	x.Failed(u, f)
}
