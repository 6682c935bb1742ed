// SPDX-License-Identifier: Apache-2.0

// Package proxy is the life of a request: a client's connection (downstream.go), the request on it from head to last
// byte (serve.go), what may end or hold it before it goes anywhere (fault.go, local.go), what its route makes of it
// (shape.go), its answer (answer.go), what happens when an attempt fails (retry.go) or takes too long (timeout.go). It
// moves bytes between the parts; it does not parse, balance, copy or decide policy itself.
package proxy

import (
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
}

// Config is what a Server needs from outside.
type Config struct {
	Workers  []*loop.Worker
	Mirror   *mirror.Engine
	Registry *stats.Registry
	LocalIP  string         // this node's address
	Log      *format.Writer // access log; nil: none
	Tracer   *trace.Tracer  // nil: no spans, and trace contexts pass unchanged
}

// NewServer makes the parts; call before the workers run.
func NewServer(cfg Config) *Server {
	s := &Server{registry: cfg.Registry, localIP: cfg.LocalIP, logs: cfg.Log, tracer: cfg.Tracer}
	for _, w := range cfg.Workers {
		s.workers = append(s.workers, &Worker{w: w, server: s, mirror: cfg.Mirror.Local(w)})
	}
	return s
}

// Listener is one place where clients connect. Its settings may change under it; a connection takes them up with its
// next request.
type Listener struct {
	// Conns is how many connections the listener has. Who hands them to Accept counts them before; the proxy counts down.
	Conns    atomic.Int64
	cfg      atomic.Pointer[ListenerConfig]
	stats    []*stats.Block
	draining atomic.Bool
}

// NewListener returns the listener for a configuration.
func (s *Server) NewListener(cfg ListenerConfig) *Listener {
	l := &Listener{}
	set := s.registry.Set(httpStats, cfg.StatPrefix)
	for i := range s.workers {
		l.stats = append(l.stats, set.Block(i))
	}
	l.Update(cfg)
	return l
}

// Update changes the settings of a listener that stays at its address.
func (l *Listener) Update(cfg ListenerConfig) {
	cfg.server = []byte(cfg.ServerName)
	l.cfg.Store(&cfg)
}

// Retire tells the listener's connections to end after the request they carry.
func (l *Listener) Retire(s *Server) {
	l.draining.Store(true)
	for _, wk := range s.workers {
		wk.w.Post(func() { wk.closeIdle(l) })
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

// Cut ends all requests and copies under way at once: clients see their connection reset, and the access log tells. done
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
// moment for one that may be on its way.
func (wk *Worker) closeIdle(l *Listener) {
	for d := wk.conns; d != nil; {
		next := d.next
		switch {
		case l != nil && d.listener != l, d.stream != nil && !d.blank(), len(d.rest) > 0:
		case d.used:
			d.hangUp()
		default:
			d.idleSince = wk.w.Now()
			d.look()
		}
		d = next
	}
}

// shutdown is the details of requests that were cut.
const shutdown = "shutdown"

func (wk *Worker) cut() {
	wk.draining = true
	for d := wk.conns; d != nil; {
		next := d.next // its own end unlinks no other
		switch s := d.stream; {
		case s == nil || d.blank():
			d.hangUp()
		case s.relay != nil:
			s.relay.Cut()
		default:
			s.giveUp("", shutdown)
		}
		d = next
	}
	wk.mirror.End()
}

// checkDrained lets the copies end once production has.
func (wk *Worker) checkDrained() {
	if wk.draining && wk.drained != nil && wk.conns == nil {
		done := wk.drained
		wk.drained = nil
		wk.mirror.Drain(min(wk.grace, time.Duration(max(wk.deadline-wk.w.Now(), 0))), done)
	}
}
