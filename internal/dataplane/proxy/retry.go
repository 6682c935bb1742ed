// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// Envoy's defaults (envoy.config.route.v3.RetryPolicy.RetryBackOff).
const backoffBase = 25 * time.Millisecond

// Conditions that an attempt without an answer meets (Envoy: RetryStateImpl::wouldRetryFromReset). A reset counts as
// the 5xx that it would end in.
const (
	resetConditions   = ResetOn | Any5xx | GatewayError
	connectConditions = resetConditions | ConnectFailure | ResetBeforeRequest
)

// canRetry reports whether another attempt would still be allowed by count and by what is kept of the body.
func (s *Stream) canRetry() bool {
	r := s.action.Retry
	return s.replayable && (r != nil && s.retryOn != 0 && s.retries < r.Max || !s.refreshed && s.idempotent())
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
	s.tellAttempt(f)
	connected := s.connected
	s.conn, s.connected = nil, false
	stale := f.Kind == upstream.Reset && f.Reused && !f.Answered && !s.answering &&
		!s.refreshed && s.replayable && s.idempotent()
	if !stale {
		s.blame(connected)
	}
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
	case stale:
		// The host closed an idle connection at the moment we used it (RFC 9112 §9.3.1).
		s.refreshed = true
		s.endAttempt()
		s.attempts--
		s.attempt(true)
	case f.Kind == upstream.ConnectRefused:
		s.retryOr(connectConditions, &filter.ConnectFailed)
	case f.Kind == upstream.ConnectTimeout:
		s.retryOr(connectConditions, &filter.ConnectTimedOut)
	case f.Kind == upstream.Protocol:
		s.retryOr(resetConditions, &filter.BadAnswer)
	default:
		s.cluster.Stats(s.wk.w).Inc(upstream.RqRxReset)
		s.retryOr(resetConditions, &filter.Terminated)
	}
}

// blame tells outlier detection that the attempt's host gave no answer. A host whose line is long is not to blame for
// that.
func (s *Stream) blame(connected bool) {
	if s.counted && !s.waiting {
		s.cluster.Report(s.wk.w, s.host, upstream.Result{Local: true, Connected: connected})
	}
}

// retryAnswer retries an answer that the policy counts as a failure, instead of passing it on.
func (s *Stream) retryAnswer(h *codec.Head) bool {
	if s.retryOn == 0 {
		return false
	}
	return s.retry(s.action.Retry.failures(h))
}

// failures are the conditions that an answer meets (Envoy: RetryStateImpl::wouldRetryFromHeaders). Who says that it is
// overloaded is not asked again, nor is who limits a rate, unless the policy says so.
func (r *Retry) failures(h *codec.Head) (met RetryOn) {
	if h.Get(codec.EnvoyOverloaded) != nil {
		return 0
	}
	if h.Get(codec.EnvoyRateLimited) != nil {
		return EnvoyRateLimited
	}
	switch {
	case h.Status == 502, h.Status == 503, h.Status == 504:
		met = Any5xx | GatewayError
	case h.Status >= 500:
		met = Any5xx
	case h.Status == 409:
		met = Retriable4xx
	}
	for _, code := range r.Codes {
		if code == h.Status {
			met |= RetriableStatusCodes
		}
	}
	if r.On&RetriableHeaders != 0 && anyMatches(r.Headers, h) {
		met |= RetriableHeaders
	}
	// A gRPC answer without messages tells its status in the head.
	switch string(h.Get(codec.GRPCStatus)) {
	case "1":
		met |= Cancelled
	case "4":
		met |= DeadlineExceeded
	case "8":
		met |= ResourceExhausted
	case "13":
		met |= Internal
	case "14":
		met |= Unavailable
	}
	return met
}

func anyMatches(list []*route.HeaderMatcher, h *codec.Head) bool {
	for i := range list {
		if list[i].Match(h) {
			return true
		}
	}
	return false
}

func (s *Stream) retryOr(why RetryOn, reply *filter.Local) {
	if !s.retry(why) {
		s.fail(reply)
	}
}

// retry schedules another attempt after the back-off, if the policy has the condition and allows one more.
func (s *Stream) retry(why RetryOn) bool {
	r := s.action.Retry
	if s.retryOn&why == 0 || !s.replayable {
		return false
	}
	c, stats := s.cluster.Stats(s.wk.w), s.action.Stats
	if s.retries >= r.Max {
		if r.Max > 0 {
			c.Inc(upstream.RqRetryLimitExceeded)
			stats.inc(s.wk.w.Index, routeRetryLimit)
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
		stats.inc(s.wk.w.Index, routeRetryOverflow)
		s.flag = filter.Overflow.Flag
		return false
	}
	c.Inc(upstream.RqRetry)
	stats.inc(s.wk.w.Index, routeRetry)
	if s.conn != nil {
		s.conn.Abort() // the answer is not read: the connection is of no use
	}
	s.tried = append(s.tried, s.host)
	s.endAttempt()
	s.refreshed = false // another attempt, which may find another stale connection
	s.retrying = true
	s.retries++
	s.wk.w.Arm(&s.backoff, s.wait(r))
	return true
}

// wait is the jittered exponential back-off: random below base * (2^n - 1), at most the maximum.
func (s *Stream) wait(r *Retry) time.Duration {
	base, most := r.BaseInterval, r.MaxInterval
	if base == 0 {
		base = backoffBase
	}
	if most == 0 {
		most = 10 * base
	}
	below, times := int64(most), int64(1)<<min(max(s.retries, 1), 20)-1
	if int64(base) <= below/times {
		below = int64(base) * times
	}
	return time.Duration(s.wk.w.Rand() % uint64(max(below, 1)))
}

func (s *Stream) onBackoff() {
	if !s.over {
		s.attempt(false)
	}
}
