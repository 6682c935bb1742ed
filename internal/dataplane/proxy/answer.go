// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec/http1"
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// AnswerHead implements upstream.Exchange: an interim head goes on as it is, a final one may be retried instead.
func (s *Stream) AnswerHead(_ *upstream.Conn, h *codec.Head) {
	w := s.wk.w
	s.active = w.Now()
	if h.Status < 200 {
		if s.head.Minor > 0 { // RFC 9110 §15.2: never to an HTTP/1.0 client
			s.wk.out = http1.AppendResponseHead(s.wk.out[:0], h, 0)
			s.d.io.Write(s.wk.out)
		}
		return
	}
	c := s.cluster.Stats(w)
	c.Inc(upstream.RqCompleted)
	c.Code(h.Status)
	if s.retryAnswer(h) {
		return
	}
	if s.retries > 0 && h.Status < 500 {
		c.Inc(upstream.RqRetrySuccess)
	}
	w.Disarm(&s.perTry)
	s.replayable = false // no other attempt any more
	s.replay.Free()
	s.answering, s.status, s.details = true, h.Status, "via_upstream"
	from := s.start
	if s.requestDone {
		from = s.ended
	}
	took := time.Duration(w.Now() - from)
	s.served = took.Milliseconds()
	filter.Answer(h, s.d.cfg.server, took, s.wk.now())
	var flags http1.Flags
	if s.head.IsHead {
		flags |= http1.ToHead
	}
	if s.head.Minor == 0 {
		flags |= http1.ToHTTP10 // s.last is set: the connection's end is the body's
	}
	s.answerChunked = h.Length < 0 && !s.head.IsHead && s.head.Minor > 0
	s.last = s.last || !s.requestDone || s.d.draining()
	if s.last {
		flags |= http1.Close
	}
	s.wk.out = http1.AppendResponseHead(s.wk.out[:0], h, flags)
	s.d.io.Write(s.wk.out)
}

// AnswerData implements upstream.Exchange.
func (s *Stream) AnswerData(_ *upstream.Conn, b chunk.Bytes) {
	s.active = s.wk.w.Now()
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
	if !s.upPaused && io.Queued() > loop.HighWater {
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
	if s.upPaused {
		s.upPaused = false
		conn.IO.Resume()
	}
	conn.Release(s.requestDone && conn.IO.Queued() == 0)
	s.finish()
}

// answerLocally sends s.reply: the request never reached an upstream, or none answered it.
func (s *Stream) answerLocally() {
	r := s.reply
	s.status, s.flag, s.details = r.Status, r.Flag, r.Details
	s.last = s.last || !s.requestDone || s.d.draining()
	if !s.headDone {
		s.d.stats().Inc(rqTotal)
	}
	s.wk.out = r.Append(s.wk.out[:0], s.d.cfg.server, s.wk.now(), s.head.IsHead, s.last)
	s.bytesOut = int64(len(r.Sent(s.head.IsHead)))
	s.d.io.Write(s.wk.out)
	s.finish()
}

// fail ends the request with an answer of our own, or visibly broken if an answer is under way.
func (s *Stream) fail(r *filter.Local) {
	if s.conn != nil {
		s.cluster.Stats(s.wk.w).Inc(upstream.RqTxReset)
		s.conn.Abort()
		s.conn = nil
	}
	if s.answering {
		s.breakOff(r.Flag, r.Details)
		return
	}
	s.endAttempt()
	s.reply = r
	if !s.d.feeding { // while it is, feed sends the reply when it has read what is at hand
		s.answerLocally()
	}
}

// giveUp ends the request because the client has: nothing can be answered.
func (s *Stream) giveUp(flag, details string) {
	if s.over {
		return
	}
	if s.conn != nil {
		s.cluster.Stats(s.wk.w).Inc(upstream.RqTxReset)
		s.conn.Abort()
		s.conn = nil
	}
	if !s.answering {
		s.status = 0
	}
	s.breakOff(flag, details)
}

// breakOff resets the client's connection, so that it cannot take what it has for a whole answer.
func (s *Stream) breakOff(flag, details string) {
	s.flag, s.details = flag, details
	d := s.d
	s.last = true
	s.tap.Abort()
	d.abort()
	s.finish()
}
