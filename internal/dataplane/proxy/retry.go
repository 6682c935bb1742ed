// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// Envoy's defaults (envoy.config.route.v3.RetryPolicy.RetryBackOff).
const backoffBase = 25 * time.Millisecond

// canRetry reports whether another attempt would still be allowed by count and by what is kept of the body.
func (s *Stream) canRetry() bool {
	r := s.action.Retry
	return s.replayable && (r != nil && s.retries < r.Max || !s.refreshed && s.idempotent())
}

// idempotent methods may be sent again when nobody knows whether they were carried out (RFC 9110 §9.2.2).
func (s *Stream) idempotent() bool {
	switch string(s.head.Method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// Failed implements upstream.Exchange: the attempt's connection is gone.
func (s *Stream) Failed(_ *upstream.Conn, f upstream.Failure) {
	s.conn, s.connected = nil, false
	if s.answering {
		s.cluster.Stats(s.wk.w).Inc(upstream.RqRxReset)
		if f.Kind == upstream.Protocol {
			s.breakOff("UPE", "upstream_reset_after_response_started{protocol_error}")
		} else {
			s.breakOff("UC", "upstream_reset_after_response_started{connection_termination}")
		}
		return
	}
	switch {
	case f.Kind == upstream.Reset && f.Reused && !f.Answered && !s.refreshed && s.replayable && s.idempotent():
		// The host closed an idle connection at the moment we used it (RFC 9112 §9.3.1).
		s.refreshed = true
		s.endAttempt()
		s.attempts--
		s.attempt(true)
	case f.Kind == upstream.ConnectRefused:
		s.retryOr(ConnectFailure, &filter.ConnectFailed)
	case f.Kind == upstream.ConnectTimeout:
		s.retryOr(ConnectFailure, &filter.ConnectTimedOut)
	case f.Kind == upstream.Protocol:
		s.fail(&filter.BadAnswer)
	default:
		s.cluster.Stats(s.wk.w).Inc(upstream.RqRxReset)
		s.fail(&filter.Terminated)
	}
}

// retryAnswer retries an answer that the policy counts as a failure, instead of passing it on.
func (s *Stream) retryAnswer(h *codec.Head) bool {
	r := s.action.Retry
	if r == nil || h.Get(codec.EnvoyOverloaded) != nil { // who says that it is overloaded is not asked again
		return false
	}
	var why RetryOn
	for _, code := range r.Codes {
		if code == h.Status {
			why = RetriableStatusCodes
		}
	}
	// A gRPC answer without messages tells its status in the head.
	switch string(h.Get(codec.GRPCStatus)) {
	case "1":
		why |= Cancelled
	case "14":
		why |= Unavailable
	}
	return s.retry(why)
}

func (s *Stream) retryOr(why RetryOn, reply *filter.Local) {
	if !s.retry(why) {
		s.fail(reply)
	}
}

// retry schedules another attempt after the back-off, if the policy has the condition and allows one more.
func (s *Stream) retry(why RetryOn) bool {
	r := s.action.Retry
	if r == nil || r.On&why == 0 || !s.replayable {
		return false
	}
	c := s.cluster.Stats(s.wk.w)
	if s.retries >= r.Max {
		if r.Max > 0 {
			c.Inc(upstream.RqRetryLimitExceeded)
			s.exhausted = true
		}
		return false
	}
	if s.retrying {
		s.cluster.ReleaseRetry()
		s.retrying = false
	}
	if !s.cluster.AcquireRetry() {
		c.Inc(upstream.RqRetryOverflow)
		s.flag = filter.Overflow.Flag
		return false
	}
	c.Inc(upstream.RqRetry)
	if s.conn != nil {
		s.conn.Abort() // the answer is not read: the connection is of no use
	}
	s.tried = append(s.tried, s.host)
	s.endAttempt()
	s.retrying = true
	s.retries++
	s.wk.w.Arm(&s.backoff, s.delay(r))
	return true
}

// delay is the jittered exponential back-off: random below base * (2^n - 1), at most the maximum.
func (s *Stream) delay(r *Retry) time.Duration {
	base, most := r.BaseInterval, r.MaxInterval
	if base == 0 {
		base = backoffBase
	}
	if most == 0 {
		most = 10 * base
	}
	below := min(base*time.Duration(int64(1)<<min(s.retries, 20)-1), most)
	return time.Duration(s.wk.w.Rand() % uint64(max(below, 1)))
}

func (s *Stream) onBackoff() {
	if !s.over {
		s.attempt(false)
	}
}

func (s *Stream) onTimeout() {
	s.cluster.Stats(s.wk.w).Inc(upstream.RqTimeout)
	s.fail(&filter.TimedOut)
}

func (s *Stream) onPerTryTimeout() {
	s.cluster.Stats(s.wk.w).Inc(upstream.RqPerTryTimeout)
	s.fail(&filter.PerTryTimedOut)
}
