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
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// keepStreams bounds the streams that a worker keeps for use again, and keepTail the memory each keeps of trailers.
const (
	keepStreams = 1024
	keepTail    = 1 << 10
)

// Stream is one request and its answer. Its methods stand in order of life: onHead and onEnd here, what is between them
// in body.go; the answer's in answer.go; an attempt's failure in retry.go. It owns its head for as long as it lives, pins
// the action and the cluster it was given, and is used again after that.
type Stream struct {
	wk      *Worker
	head    codec.Head
	replay  chunk.Queue // the body so far, while a retry may need it or no connection is up
	tail    []byte      // a chunked request's end with its trailers
	timeout loop.Timer  // the route's
	perTry  loop.Timer
	backoff loop.Timer
	next    *Stream // free list
	exchange
}

// exchange is what a stream forgets between requests.
type exchange struct {
	d       *Downstream
	action  *Action
	draw    [2]uint64 // one for all mirrors, one for the weighted pick: shares do not correlate
	tap     *mirror.Tap
	copying bool // the copies have begun

	// The request.
	headDone    bool
	requestDone bool
	chunked     bool
	paused      bool // reading from the client waits for the upstream
	bytesIn     int64
	start       int64 // loop time of the first byte
	active      int64 // loop time of the last event
	ended       int64 // loop time of the request's end

	// The attempt.
	cluster    *upstream.Cluster
	host       *upstream.Host
	conn       *upstream.Conn
	connected  bool // conn may be written
	upLocal    netip.AddrPort
	exhausted  bool // the last failure would have been retried
	counted    bool // in the cluster's and the host's active requests
	pending    bool // waits for a connection
	attempts   int
	retries    int
	retrying   bool // a retry is counted in the cluster
	refreshed  bool // a stale connection was replaced once
	replayable bool // replay holds the whole body so far
	tried      []*upstream.Host

	// The answer.
	reply         *filter.Local // to be sent once the bytes at hand are read
	answering     bool          // the final head went to the client
	answerChunked bool
	last          bool // the client's connection ends with this answer
	upPaused      bool // reading from the upstream waits for the client
	over          bool
	status        int
	flag, details string
	bytesOut      int64
	served        int64 // ms until the upstream's head, -1 unknown
}

func (wk *Worker) newStream(d *Downstream) *Stream {
	s := wk.free
	if s == nil {
		s = &Stream{wk: wk}
		s.timeout.Init(s.onTimeout)
		s.perTry.Init(s.onPerTryTimeout)
		s.backoff.Init(s.onBackoff)
	} else {
		wk.free, s.next = s.next, nil
		wk.nFree--
	}
	s.d, s.served = d, -1
	s.start = wk.w.Now()
	s.active = s.start
	return s
}

// Free implements the worker's end-of-turn freeing.
func (s *Stream) Free() {
	wk := s.wk
	if wk.nFree >= keepStreams {
		return
	}
	s.head.Reset()
	if cap(s.tail) > keepTail {
		s.tail = nil
	}
	clear(s.tried) // keeps no host alive
	s.exchange = exchange{tried: s.tried[:0]}
	s.next, wk.free = wk.free, s
	wk.nFree++
}

// onHead matches the request, arms its copies and begins the first attempt.
func (s *Stream) onHead() {
	d, h := s.d, &s.head
	s.headDone = true
	s.chunked = h.Length < 0
	s.last = h.Close || h.Minor == 0
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
	s.draw = [2]uint64{s.wk.w.Rand(), s.wk.w.Rand()}
	edge := s.wk.edge(d.cfg)
	edge.Request(h, d.peer.Addr(), [2]uint64{s.wk.w.Rand(), s.wk.w.Rand()})
	table := d.cfg.Routes.Load()
	if table == nil {
		s.reply = &filter.NoRoute
		return
	}
	action, out := table.Match(h)
	if out != route.Found {
		s.reply = &filter.NoRoute
		return
	}
	s.action = action
	if action.Direct != nil {
		s.reply = action.Direct
		return
	}
	if s.cluster = action.pick(s.draw[1]).Cluster(); s.cluster == nil {
		s.reply = &filter.NoCluster
		return
	}
	if len(action.Mirrors) > 0 {
		s.tap = s.wk.mirror.Arm(action.Mirrors, s.draw[0], h, action.Timeout)
	}
	s.replayable = true
	s.attempt(false)
}

// pick chooses the cluster of one request.
func (a *Action) pick(draw uint64) *upstream.Slot {
	if len(a.Clusters) == 1 || a.TotalWeight == 0 {
		return a.Clusters[0].Slot
	}
	at := draw % a.TotalWeight
	for i := range a.Clusters {
		if at < a.Clusters[i].Weight {
			return a.Clusters[i].Slot
		}
		at -= a.Clusters[i].Weight
	}
	return a.Clusters[0].Slot
}

// attempt sends the request to a host: at once over an idle connection, or when one is up.
func (s *Stream) attempt(fresh bool) {
	w := s.wk.w
	s.attempts++
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
	if fresh || !host.HasIdle(w, loop.Production) {
		over := upstream.CxOverflow
		if s.cluster.CanDial() {
			over, s.pending = upstream.RqPendingOverflow, s.cluster.AcquirePending()
		}
		if !s.pending {
			s.cluster.ReleaseRequest()
			s.cluster.Stats(w).Inc(over)
			s.fail(&filter.Overflow)
			return
		}
	}
	s.host = host
	host.Begin()
	s.counted = true
	c := s.cluster.Stats(w)
	c.Inc(upstream.RqTotal)
	c.Add(upstream.RqActive, 1)
	timeout := s.cluster.Config().ConnectTimeout
	conn, ready := s.cluster.Acquire(w, host, loop.Production, timeout, fresh, s)
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
	}
}

// pickHost is the cluster's choice; a retry asks again for a host not tried yet, if its policy says so.
func (s *Stream) pickHost() *upstream.Host {
	h := s.cluster.Pick(s.wk.w)
	if h == nil || s.attempts == 1 || s.action.Retry == nil || !s.action.Retry.PreviousHosts {
		return h
	}
	for i := 0; i < s.action.Retry.HostAttempts && s.wasTried(h); i++ {
		h = s.cluster.Pick(s.wk.w)
	}
	return h
}

func (s *Stream) wasTried(h *upstream.Host) bool {
	for _, t := range s.tried {
		if t == h {
			return true
		}
	}
	return false
}

// Connected implements upstream.Exchange.
func (s *Stream) Connected(*upstream.Conn) { s.send() }

// send writes the head, and what has been read of the body, on the attempt's connection. The first time this happens
// the copies begin.
func (s *Stream) send() {
	h, wk := &s.head, s.wk
	s.connected = true
	s.endPending()
	s.upLocal = s.conn.IO.Local()
	s.conn.StartAnswer(h.IsHead)
	filter.Attempt(h, s.action.AttemptCount, s.attempts, s.limit())
	wk.out = http1.AppendRequestHead(wk.out[:0], h, 0)
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

// limit is the time an attempt has, 0 if there is no limit: its own, or what is left of the route's.
func (s *Stream) limit() time.Duration {
	limit := s.action.Timeout
	if limit > 0 && s.requestDone && s.attempts > 1 {
		limit = max(limit-time.Duration(s.wk.w.Now()-s.ended), time.Millisecond)
	}
	if r := s.action.Retry; r != nil && r.PerTryTimeout > 0 && (limit == 0 || r.PerTryTimeout < limit) {
		limit = r.PerTryTimeout
	}
	return limit
}

// beginCopies starts the copies, once, with what has been read of the request.
func (s *Stream) beginCopies() {
	if s.tap == nil || s.copying {
		return
	}
	s.copying = true
	s.tap.Begin(&s.head, s.head.Length == 0 || s.requestDone)
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
	if t := s.action.Timeout; t > 0 {
		s.wk.w.Arm(&s.timeout, t)
	}
}

// requestSent begins the times that run from the end of the request.
func (s *Stream) requestSent() {
	if r := s.action.Retry; r != nil && r.PerTryTimeout > 0 {
		s.wk.w.Arm(&s.perTry, r.PerTryTimeout)
	}
}

// finish ends the stream: everything it holds is given back, and its line is logged.
func (s *Stream) finish() {
	if s.over {
		return
	}
	s.over = true
	w := s.wk.w
	w.Disarm(&s.timeout)
	w.Disarm(&s.backoff)
	s.endAttempt()
	s.replay.Free()
	took := time.Duration(w.Now() - s.start)
	s.tap.Done(s.status, took)
	s.tap = nil
	c := s.d.stats()
	c.Add(rqActive, -1)
	if s.headDone && s.status != 0 {
		c.Code(s.status)
		c.Observe(histTime, float64(took)/1e6)
	}
	d := s.d
	if s.wk.server.logs != nil && (s.status != 0 || !d.blank()) {
		s.log(took)
	}
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
	s.endPending()
	s.wk.w.Disarm(&s.perTry)
	s.conn, s.connected = nil, false
}
