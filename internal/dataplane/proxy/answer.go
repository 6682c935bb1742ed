// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec/http1"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// AnswerHead implements upstream.Exchange: an interim head goes on as it is, and binds the request to this attempt; a
// final one, which 101 is too, may be retried instead.
func (s *Stream) AnswerHead(_ *upstream.Conn, h *codec.Head) {
	w := s.wk.w
	s.active = w.Now()
	s.upstreamActive()
	if h.Status < 200 && h.Status != 101 {
		if s.head.Minor > 0 { // RFC 9110 §15.2: never to an HTTP/1.0 client
			s.commit()
			s.wk.out = http1.AppendResponseHead(s.wk.out[:0], h, 0)
			s.d.io.Write(s.wk.out)
			s.holdUpstream()
		}
		return
	}
	c := s.cluster.Stats(w)
	c.Inc(upstream.RqCompleted)
	c.Code(h.Status)
	s.action.Stats.answered(w.Index, h.Status)
	s.cluster.Report(w, s.host, upstream.Result{Status: s.verdict(h)})
	if s.retryAnswer(h) {
		return
	}
	if s.retries > 0 && h.Status < 500 {
		c.Inc(upstream.RqRetrySuccess)
		s.action.Stats.inc(w.Index, routeRetrySuccess)
	}
	s.commit()
	s.answering, s.status, s.details = true, h.Status, "via_upstream"
	from := s.start
	if s.requestDone {
		from = s.ended
	}
	took := time.Duration(w.Now() - from)
	s.served = took.Milliseconds()
	s.dress(h, took)
	var flags http1.Flags
	if s.head.IsHead {
		flags |= http1.ToHead
	}
	if s.head.Minor == 0 {
		flags |= http1.ToHTTP10 // s.last is set: the connection's end is the body's
	}
	s.answerChunked = h.Length < 0 && !s.head.IsHead && s.head.Minor > 0
	s.answerOpen = h.Length < 0 && !s.answerChunked || h.Status == 101
	s.last = s.last || !s.requestDone || s.d.draining()
	if s.last {
		flags |= http1.Close
	}
	s.wk.out = http1.AppendResponseHead(s.wk.out[:0], h, flags)
	s.d.io.Write(s.wk.out)
}

// commit binds the request to its attempt, for the client has heard of it: no other is made, and the attempt has all
// the time there is (Envoy: Router::Filter::onUpstream1xxHeaders).
func (s *Stream) commit() {
	s.replayable = false
	s.replay.Free()
	s.times.perTry = 0
	s.wk.w.Disarm(&s.perTry)
}

// AnswerData implements upstream.Exchange.
func (s *Stream) AnswerData(_ *upstream.Conn, b chunk.Bytes) {
	s.active = s.wk.w.Now()
	s.upstreamActive()
	s.bytesOut += int64(len(b.B))
	io := s.d.io
	if s.answerChunked {
		s.wk.out = http1.AppendChunkHead(s.wk.out[:0], len(b.B))
		io.Write(s.wk.out)
	}
	io.Push(b)
	if s.answerChunked {
		io.Write(crlf)
	}
	s.holdUpstream()
}

// holdUpstream stops reading the answer while too much of it waits for the client.
func (s *Stream) holdUpstream() {
	if !s.upPaused && s.d.io.Full() {
		s.upPaused = true
		s.conn.IO.Pause()
	}
}

// clientReady goes on reading the answer once the client has taken what waited for it.
func (s *Stream) clientReady() {
	s.active = s.wk.w.Now()
	if s.upPaused && s.conn != nil {
		s.upPaused = false
		s.conn.IO.Resume()
	}
}

// AnswerEnd implements upstream.Exchange.
func (s *Stream) AnswerEnd(conn *upstream.Conn, trailers []codec.Field) {
	if s.answerChunked {
		s.wk.out = http1.AppendTrailers(s.wk.out[:0], trailers)
		s.d.io.Write(s.wk.out)
	}
	took := s.wk.w.Now() - s.start
	s.cluster.Stats(s.wk.w).Observe(upstream.RqTime, float64(took)/1e6)
	s.action.Stats.took(s.wk.w.Index, float64(took)/1e6)
	if s.upPaused {
		s.upPaused = false
		conn.IO.Resume()
	}
	conn.Release(s.requestDone && conn.IO.Queued() == 0)
	s.finish()
}

// verdict is the status that outlier detection sees: a gRPC answer without messages tells its own.
func (s *Stream) verdict(h *codec.Head) int {
	if s.grpc {
		if v := h.Get(codec.GRPCStatus); v != nil {
			return grpcToHTTP(v)
		}
	}
	return h.Status
}

// grpcToHTTP is the status that a grpc-status stands for (Envoy: Grpc::Utility::grpcToHttpStatus).
func grpcToHTTP(code []byte) int {
	switch string(code) {
	case "0":
		return 200
	case "1":
		return 499
	case "3", "9", "11":
		return 400
	case "4":
		return 504
	case "5":
		return 404
	case "6", "10":
		return 409
	case "7":
		return 403
	case "8":
		return 429
	case "12":
		return 501
	case "14":
		return 503
	case "16":
		return 401
	}
	return 500
}
