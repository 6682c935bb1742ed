// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec/http1"
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// onHead takes the request to its route, and from there onward unless a fault holds it back.
func (s *Stream) onHead() {
	d, h := s.d, &s.head
	d.cfg = d.listener.cfg.Load() // heads may take their time: all of it goes by what is in force now, as its route does
	s.headDone = true
	s.chunked = h.Length < 0
	s.last = h.Close || h.Minor == 0 || h.Upgrade
	d.stats().Inc(rqTotal)
	switch {
	case string(h.Method) == "CONNECT":
		s.last = true // what follows is not HTTP
		s.reply = &filter.NoConnect
		return
	case h.Minor == 0 && !d.cfg.HTTP10Accepted:
		s.reply = &filter.LowVersion
		return
	}
	s.grpc = filter.IsGRPC(h)
	if s.wk.refusing {
		d.stats().Inc(rqOverload)
		s.reply = &filter.Overloaded
		return
	}
	if !s.normalize() || h.Upgrade && !s.upgrade() {
		return
	}
	s.draw = [2]uint64{s.wk.w.Rand(), s.wk.w.Rand()}
	edge := s.wk.edge(d.cfg)
	edge.Request(h, d.peer.Addr(), [2]uint64{s.wk.w.Rand(), s.wk.w.Rand()})
	s.startSpan()
	if s.match() && !s.fault(s.faults()) {
		s.onward()
	}
}

// normalize makes the path what routes are matched with and upstreams get; false if the request is answered here.
func (s *Stream) normalize() bool {
	switch v := s.d.cfg.Paths.Apply(&s.head); {
	case v == filter.PathFine:
		return true
	case v == filter.PathMoved && !s.grpc: // whose clients do not follow
		s.d.stats().Inc(rqPathMoved)
		s.reply = &filter.PathIsElsewhere
	default:
		s.d.stats().Inc(rqBadPath)
		s.reply = &filter.BadPath
	}
	return false
}

// match finds the request's action; without one the request is answered here.
func (s *Stream) match() bool {
	table, out := s.d.cfg.Routes.Load(), route.NoRoute
	if table != nil {
		s.action, out = table.Match(&s.head, s.wk.w.Rand())
	}
	switch out {
	case route.Found:
		return true
	case route.NeedsTLS:
		s.redirectTo(filter.ToHTTPS)
	default:
		s.d.stats().Inc(rqNoRoute)
		s.reply = &filter.NoRoute
	}
	return false
}

// onward answers the request here, if that is what its route is for, or sends it to a cluster: what CORS and Envoy's
// router do. CORS is for routes that lead to a cluster.
func (s *Stream) onward() {
	switch a := s.action; {
	case a.Direct != nil:
		s.d.stats().Inc(rqDirect)
		s.respond(a.Direct)
	case a.Redirect != nil:
		s.redirectTo(a.Redirect)
	case s.cors() != nil && s.preflight(s.cors()):
		s.respond(&filter.CORSAnswer)
	case s.cluster == nil && !s.pickCluster():
		s.d.stats().Inc(rqNoCluster)
		s.respond(s.notFound())
	default:
		s.shape()
		s.arm()
		s.replayable = true
		s.attempt(false)
	}
}

// attempt sends the request to a host: at once over an idle connection, when one is up, or, with as many as there may be
// (max_connections), when one is free.
func (s *Stream) attempt(fresh bool) {
	w := s.wk.w
	if s.attempts++; s.attempts > 1 {
		s.writeAttempt(s.attempts)
	}
	host := s.pickHost()
	if host == nil {
		s.cluster.Stats(w).Inc(upstream.CxNoneHealthy)
		s.fail(&filter.NoHost)
		return
	}
	if !s.cluster.AcquireRequest() {
		s.cluster.Stats(w).Inc(upstream.RqPendingOverflow)
		s.fail(&filter.Overflow)
		return
	}
	c := s.cluster.Stats(w)
	idle := host.HasIdle(w, loop.Production)
	if fresh || !idle || host.InLine(w) {
		if s.pending = s.cluster.AcquirePending(); !s.pending {
			s.cluster.ReleaseRequest()
			c.Inc(upstream.RqPendingOverflow)
			s.fail(&filter.Overflow)
			return
		}
		c.Inc(upstream.RqPendingTotal)
		c.Add(upstream.RqPendingActive, 1)
	}
	s.host, s.upRemote = host, host.Addr
	host.Begin()
	s.counted = true
	c.Inc(upstream.RqTotal)
	c.Add(upstream.RqActive, 1)
	if s.pending {
		dial := s.cluster.CanDial(w, host)
		if !dial {
			c.Inc(upstream.CxOverflow)
		}
		if !dial || host.InLine(w) {
			s.waiting = true
			host.Wait(w, s)
			if dial || idle {
				host.Freed(w) // to whoever is first
			}
			return
		}
	}
	s.acquire(fresh)
}

// Freed implements upstream.Waiter.
func (s *Stream) Freed() bool {
	w := s.wk.w
	dial := s.cluster.CanDial(w, s.host)
	if !dial && !s.host.HasIdle(w, loop.Production) {
		return false
	}
	s.waiting = false
	s.host.Leave(w, s)
	if s.refreshed && !dial {
		s.host.CloseIdle(w) // one that was idle has failed it already
	}
	s.acquire(s.refreshed)
	return true
}

// Refused implements upstream.Waiter. That one connection was refused is told of its host once, not for all in line.
func (s *Stream) Refused(f upstream.Failure) { s.Failed(nil, f) }

// acquire takes a connection to the host; one that has to be dialled says Connected or Failed later.
func (s *Stream) acquire(fresh bool) {
	timeout := s.cluster.Config().ConnectTimeout
	conn, ready := s.cluster.Acquire(s.wk.w, s.host, loop.Production, timeout, fresh, s)
	s.conn = conn
	if ready {
		s.send()
	}
}

// endPending tells that the request does not wait for a connection any more.
func (s *Stream) endPending() {
	if s.pending {
		s.pending = false
		s.cluster.ReleasePending()
		s.cluster.Stats(s.wk.w).Add(upstream.RqPendingActive, -1)
	}
}

// pickHost is the cluster's choice; a retry's policy may want another host than those tried.
func (s *Stream) pickHost() *upstream.Host {
	c := &s.choice
	if r := s.action.Retry; r != nil && s.retries > 0 {
		c.Tried, c.PriorityEvery = s.tried, r.PriorityEvery
		if r.PreviousHosts {
			c.HostAttempts = max(r.HostAttempts, 1)
		}
	}
	if s.cluster.Redirects() { // by now
		c.Original = s.d.originalDst()
	}
	h := s.cluster.Pick(s.wk.w, c)
	if h == nil && !c.Original.IsValid() && s.cluster.Redirects() { // since a moment ago
		c.Original = s.d.originalDst()
		h = s.cluster.Pick(s.wk.w, c)
	}
	return h
}

// Connected implements upstream.Exchange.
func (s *Stream) Connected(*upstream.Conn) { s.send() }

// send writes the head, and what has been read of the body, on the attempt's connection. The first time this happens
// the copies begin.
func (s *Stream) send() {
	h, wk := &s.head, s.wk
	s.connected = true
	s.endPending()
	s.upLocal, s.upRemote = s.conn.IO.Local(), s.conn.IO.Remote()
	s.action.Stats.inc(wk.w.Index, routeTotal)
	if h.Protocol != nil {
		s.conn.StartUpgrade(h.Protocol)
	} else {
		s.conn.StartAnswer(h.IsHead)
	}
	wk.out = http1.AppendRequestHead(wk.out[:0], s.forHost(), 0)
	s.conn.IO.Write(wk.out)
	if !h.ExpectContinue || s.replay.Len() > 0 || s.requestDone {
		s.beginCopies()
	}
	s.sendReplay()
	if s.requestDone {
		s.conn.IO.Write(s.tail)
		s.requestSent()
	}
	s.holdClient()
}

// beginCopies starts the copies, once, with what has been read of the request.
func (s *Stream) beginCopies() {
	if s.tap == nil || s.copying {
		return
	}
	s.copying = true
	if s.attempts > 1 { // a copy is always a first attempt
		s.writeAttempt(1)
		defer s.writeAttempt(s.attempts)
	}
	var v *format.Values
	if s.tap.WantsValues() {
		v = s.values()
	}
	s.tap.Begin(&s.head, v, s.head.Length == 0 || s.requestDone)
	s.tap.Replay(&s.replay)
	if s.requestDone {
		s.tap.End(s.tail)
	}
}

// onEnd completes the request.
func (s *Stream) onEnd(trailers []codec.Field) {
	s.requestDone = true
	s.ended = s.wk.w.Now()
	s.active = s.ended
	if s.over || s.reply != nil {
		return
	}
	s.tail = s.tail[:0]
	if s.chunked {
		s.tail = http1.AppendTrailers(s.tail, trailers)
	}
	if s.copying {
		s.tap.End(s.tail)
	}
	if s.connected {
		s.beginCopies() // with Expect, and an empty body after all
		s.conn.IO.Write(s.tail)
		s.requestSent()
	}
	s.startTimeout()
}

// finish ends the stream: everything it holds is given back, and its line is logged.
func (s *Stream) finish() {
	if s.over {
		return
	}
	s.over = true
	w := s.wk.w
	w.Disarm(&s.delay)
	w.Disarm(&s.timeout)
	w.Disarm(&s.backoff)
	s.endAttempt()
	s.replay.Free()
	took := time.Duration(w.Now() - s.start)
	s.tap.Done(s.status, took)
	s.tap = nil
	c := s.d.stats()
	c.Add(rqActive, -1)
	if s.faulted {
		c.Add(faultsActive, -1)
	}
	if s.headDone && s.status != 0 {
		c.Code(s.status)
		c.Observe(histTime, float64(took)/1e6)
	}
	d := s.d
	if s.wk.server.logs != nil && (s.status != 0 || !d.blank()) {
		s.log(took)
	}
	s.tell()
	s.endSpan(took)
	s.readOn()
	w.Defer(s)
	d.finished(s.last || !s.requestDone)
}

// endAttempt takes the attempt out of the accounts. Its connection must have been dealt with.
func (s *Stream) endAttempt() {
	if s.counted {
		s.counted = false
		s.host.End()
		s.cluster.ReleaseRequest()
		s.cluster.Stats(s.wk.w).Add(upstream.RqActive, -1)
	}
	if s.retrying {
		s.retrying = false
		s.cluster.ReleaseRetry()
	}
	if s.waiting {
		s.waiting = false
		s.host.Leave(s.wk.w, s)
	}
	s.endPending()
	s.wk.w.Disarm(&s.perTry)
	s.wk.w.Disarm(&s.perTryIdle)
	s.conn, s.connected = nil, false
}
