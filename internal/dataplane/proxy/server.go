// SPDX-License-Identifier: Apache-2.0

// Package proxy is the life of a request: a client's connection (downstream.go), the request on it from head to last
// byte (serve.go), what may end or hold it before it goes anywhere (fault.go, local.go), what its route makes of it
// (shape.go), its answer (answer.go), what happens when an attempt fails (retry.go) or takes too long (timeout.go). It
// moves bytes between the parts; it does not parse, balance, copy or decide policy itself.
package proxy

import (
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
)

// Server is the proxy of one process: a part for each worker, and what they share.
type Server struct {
	workers  []*Worker
	registry *stats.Registry
	localIP  string
	logs     *format.Writer
	tracer   *trace.Tracer
	logger   *slog.Logger
}

// Config is what a Server needs from outside.
type Config struct {
	Workers  []*loop.Worker
	Mirror   *mirror.Engine
	Registry *stats.Registry
	LocalIP  string         // this node's address
	Log      *format.Writer // access log; nil: none
	Tracer   *trace.Tracer  // nil: no spans, and trace contexts pass unchanged
	Logger   *slog.Logger   // told of what fails, at debug level; it must not block. nil: none
}

// NewServer makes the parts; call before the workers run.
func NewServer(cfg Config) *Server {
	s := &Server{registry: cfg.Registry, localIP: cfg.LocalIP, logs: cfg.Log, tracer: cfg.Tracer, logger: cfg.Logger}
	for _, w := range cfg.Workers {
		s.workers = append(s.workers, &Worker{w: w, server: s, mirror: cfg.Mirror.Local(w)})
	}
	return s
}

// Listener is one place where clients connect. Its settings may change under it; a connection takes them up with its
// next request.
type Listener struct {
	// Conns is how many connections the listener has. Who hands them to Accept counts them before; the proxy counts down.
	Conns atomic.Int64
	// Sockets, if set, is counted up likewise, and down when a connection's socket is closed: that is up to a minute after
	// the connection has ended, if its client does not end its own side. Listeners may share it. Set before use.
	Sockets *atomic.Int64

	cfg      atomic.Pointer[ListenerConfig]
	set      *stats.Set
	stats    []*stats.Block // set's, by worker
	draining atomic.Bool
	over     atomic.Bool   // ended is closed
	ended    chan struct{} // closed when it is retired and its last connection has ended
}

// NewListener returns the listener for a configuration.
func (s *Server) NewListener(cfg ListenerConfig) *Listener {
	l := &Listener{set: s.registry.Set(httpStats, cfg.StatPrefix), ended: make(chan struct{})}
	for i := range s.workers {
		l.stats = append(l.stats, l.set.Block(i))
	}
	l.Update(cfg)
	return l
}

// Update changes the settings of a listener that stays at its address. What is counted stays where it is: a listener
// with another StatPrefix is another Listener, to which new connections go while this one is retired, as Envoy drains
// the filter chain.
func (l *Listener) Update(cfg ListenerConfig) {
	cfg.server = []byte(cfg.ServerName)
	l.cfg.Store(&cfg)
}

// Retire tells the listener's connections to end after the request they carry. It must not be given new ones from then
// on. Ended tells when the last has ended; then Release is to follow.
func (l *Listener) Retire(s *Server) {
	l.draining.Store(true)
	for _, wk := range s.workers {
		wk.w.Post(func() { wk.closeIdle(l) })
	}
	l.checkEnded()
}

// Cut ends the connections that a retired listener still has, with what they carry.
func (l *Listener) Cut(s *Server) {
	for _, wk := range s.workers {
		wk.w.Post(func() { wk.cutConns(l) })
	}
}

// Ended is closed when the listener is retired and has no connection any more.
func (l *Listener) Ended() <-chan struct{} { return l.ended }

// Release ends the listener's series, unless another one counts under the same stat_prefix. It is called once.
func (l *Listener) Release() { l.set.Release() }

// socket is what a Listener's connections give back when their sockets are closed. It implements loop.Freer.
type socket Listener

// Free implements loop.Freer.
func (s *socket) Free() {
	if s.Sockets != nil {
		s.Sockets.Add(-1)
	}
}

// left takes one connection off the count.
func (l *Listener) left() {
	l.Conns.Add(-1)
	l.checkEnded()
}

func (l *Listener) checkEnded() {
	if l.draining.Load() && l.Conns.Load() <= 0 && l.over.CompareAndSwap(false, true) {
		close(l.ended)
	}
}

// Accept takes over a client's connection; on worker w's loop.
func (s *Server) Accept(w *loop.Worker, l *Listener, fd int, peer, local netip.AddrPort) {
	s.workers[w.Index].accept(l, fd, peer, local)
}

// Drain ends the process's traffic: answers tell clients to close, idle connections are closed; then copies get grace,
// but no more than is left of within. done is called once for each worker when it has no request and no copy left.
func (s *Server) Drain(grace, within time.Duration, done func()) {
	for _, wk := range s.workers {
		wk.w.Post(func() { wk.drain(grace, within, done) })
	}
}

// Refuse has new requests answered 503 from now on, or served again; those under way go on.
func (s *Server) Refuse(on bool) {
	for _, wk := range s.workers {
		wk.w.Post(func() { wk.refusing = on })
	}
}

// ShedCopies drops the copies under way.
func (s *Server) ShedCopies() {
	for _, wk := range s.workers {
		wk.w.Post(wk.mirror.Shed)
	}
}

// Trim leaves the workers' free memory to the collector.
func (s *Server) Trim() {
	for _, wk := range s.workers {
		wk.w.Post(wk.w.Pool.Trim)
	}
}

// Cut ends all requests and copies under way at once: clients see that an answer is cut, and the access log tells. done
// is called once for each worker that still runs.
func (s *Server) Cut(done func()) {
	for _, wk := range s.workers {
		wk.w.Post(func() { wk.cut(); done() })
	}
}

// Worker is one worker's part of the server; everything in it belongs to that worker's loop.
type Worker struct {
	w      *loop.Worker
	server *Server
	mirror *mirror.Local

	conns    *Downstream // open client connections
	free     *Stream     // at most keepStreams
	nFree    int
	out      []byte        // where heads are rendered
	answer   codec.Head    // where fields of local answers are put together
	auto     codec.Head    // where a request's head is, as changed for one host
	values   format.Values // for templates
	logBuf   []byte
	date     []byte
	dateAt   int64 // loop second of date
	draining bool
	refusing bool // new requests are answered 503
	grace    time.Duration
	deadline int64 // loop time: the drain is over then
	drained  func()
}

// now is the Date field's value (RFC 9110 §6.6.1), made once a second.
func (wk *Worker) now() []byte {
	if sec := wk.w.Now() / int64(time.Second); sec != wk.dateAt || wk.date == nil {
		wk.dateAt = sec
		wk.date = wk.w.Wall().UTC().AppendFormat(wk.date[:0], "Mon, 02 Jan 2006 15:04:05 GMT")
	}
	return wk.date
}

func (wk *Worker) edge(cfg *ListenerConfig) filter.Edge {
	return filter.Edge{Use: cfg.UseRemoteAddress, LocalIP: wk.server.localIP}
}

func (wk *Worker) drain(grace, within time.Duration, done func()) {
	wk.draining, wk.grace, wk.drained = true, grace, done
	wk.deadline = wk.w.Now() + int64(within)
	wk.closeIdle(nil)
	wk.checkDrained()
}

// closeIdle closes the connections of a listener (nil: of all) that carry no request; those that never did have a
// moment for one that may be on its way, and those of which something came have it read first.
func (wk *Worker) closeIdle(l *Listener) {
	for d := wk.conns; d != nil; {
		next := d.next
		switch {
		case l != nil && d.listener != l, d.stream != nil && !d.blank(), len(d.rest) > 0:
		case d.used && !d.io.Unread():
			d.hangUp()
		default: // a request may be here
			d.idleSince = wk.w.Now()
			d.look()
		}
		d = next
	}
}

// The details of requests that were cut: because the process ends, or because their listener is gone.
const (
	shutdown     = "shutdown"
	listenerGone = "listener_gone"
)

func (wk *Worker) cut() {
	wk.draining = true
	wk.cutConns(nil)
	wk.mirror.End()
}

// cutConns ends the connections of a listener (nil: of all), with what they carry.
func (wk *Worker) cutConns(l *Listener) {
	for d := wk.conns; d != nil; {
		next := d.next // its own end unlinks no other
		switch s := d.stream; {
		case l != nil && d.listener != l:
		case s == nil || d.blank():
			d.hangUp()
		case s.relay != nil:
			s.relay.Cut()
		default:
			s.giveUp("", d.cutBy())
		}
		d = next
	}
}

// cutBy is the details of a request that is cut.
func (d *Downstream) cutBy() string {
	if d.wk.draining {
		return shutdown
	}
	return listenerGone
}

// checkDrained lets the copies end once production has.
func (wk *Worker) checkDrained() {
	if wk.draining && wk.drained != nil && wk.conns == nil {
		done := wk.drained
		wk.drained = nil
		wk.mirror.Drain(min(wk.grace, time.Duration(max(wk.deadline-wk.w.Now(), 0))), done)
	}
}
