// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"strconv"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// times are the limits of one request; 0 is none. They run from the end of the request.
type times struct {
	all        time.Duration
	perTry     time.Duration
	perTryIdle time.Duration
	grpc       bool // all comes from grpc-timeout, which is rewritten with what is left
}

// setTimes takes the limits from the route, and from grpc-timeout if the route lets it (Envoy:
// FilterUtility::finalTimeout).
func (s *Stream) setTimes() {
	a, t := s.action, &s.times
	t.all = a.Timeout
	if s.grpc && a.MaxGRPCTimeout >= 0 {
		t.grpc = true
		t.all = grpcTimeout(s.head.Get(codec.GRPCTimeout))
		if most := a.MaxGRPCTimeout; most > 0 && (t.all == 0 || t.all > most) {
			t.all = most
		}
	}
	if r := a.Retry; r != nil {
		t.perTryIdle = r.PerTryIdle
		if t.all == 0 || r.PerTryTimeout < t.all {
			t.perTry = r.PerTryTimeout
		}
	}
}

// writeAttempt tells the upstream which attempt this is and how long it may take: what is left of the whole time, or
// the attempt's own.
func (s *Stream) writeAttempt(n int) {
	t := &s.times
	limit := t.perTry
	if limit == 0 {
		limit = t.all
	}
	if t.all > 0 && n > 1 && s.requestDone {
		limit = min(limit, max(t.all-time.Duration(s.wk.w.Now()-s.ended), time.Millisecond))
	}
	filter.Attempt(&s.head, s.action.AttemptCount, n, limit)
	if t.grpc && limit > 0 {
		at := len(s.head.Buf)
		s.head.Buf = appendGRPCTimeout(s.head.Buf, limit)
		s.head.Set(codec.GRPCTimeout, s.head.Buf[at:len(s.head.Buf):len(s.head.Buf)])
	}
}

// grpcTimeout reads a grpc-timeout field, rounded up to ms; 0 is none, or one that is malformed.
func grpcTimeout(v []byte) time.Duration {
	if len(v) < 2 || len(v) > 9 {
		return 0
	}
	n, err := strconv.ParseUint(string(v[:len(v)-1]), 10, 32)
	if err != nil {
		return 0
	}
	var unit time.Duration
	switch v[len(v)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0
	}
	const most = 365 * 24 * time.Hour
	if time.Duration(n) > most/unit {
		return most
	}
	d := time.Duration(n) * unit
	if cut := d.Truncate(time.Millisecond); cut < d {
		d = cut + time.Millisecond
	}
	return d
}

// appendGRPCTimeout writes d in at most eight digits.
func appendGRPCTimeout(dst []byte, d time.Duration) []byte {
	const most = 99_999_999
	if n := int64(d / time.Millisecond); n <= most {
		return append(strconv.AppendInt(dst, max(n, 1), 10), 'm')
	}
	return append(strconv.AppendInt(dst, min(int64(d/time.Second), most), 10), 'S')
}

// startTimeout begins the whole request's time, once the route has the request's end: the times are known with the
// route, and a fault may have held the request back until after its end.
func (s *Stream) startTimeout() {
	if s.requestDone && s.times.all > 0 {
		s.wk.w.Arm(&s.timeout, s.times.all)
	}
}

// requestSent begins the attempt's times.
func (s *Stream) requestSent() {
	if s.times.perTry > 0 {
		s.wk.w.Arm(&s.perTry, s.times.perTry)
	}
	s.upstreamActive()
}

// upstreamActive moves per_try_idle_timeout.
func (s *Stream) upstreamActive() {
	if s.times.perTryIdle > 0 && s.requestDone {
		s.wk.w.Arm(&s.perTryIdle, s.times.perTryIdle)
	}
}

func (s *Stream) onTimeout() {
	s.cluster.Stats(s.wk.w).Inc(upstream.RqTimeout)
	s.action.Stats.inc(s.wk.w.Index, routeTimeout)
	if !s.answering {
		s.blame(s.connected)
	}
	s.fail(&filter.TimedOut)
}

func (s *Stream) onPerTryTimeout() {
	s.cluster.Stats(s.wk.w).Inc(upstream.RqPerTryTimeout)
	s.tryTimedOut(&filter.PerTryTimedOut)
}

func (s *Stream) onPerTryIdle() { s.tryTimedOut(&perTryIdleTimedOut) }

var perTryIdleTimedOut = filter.Local{
	Status: 504, Body: "upstream request timeout", Flag: "UT", Details: "upstream_per_try_idle_timeout",
}

// tryTimedOut gives the attempt up; for the retry policy that is a reset.
func (s *Stream) tryTimedOut(reply *filter.Local) {
	s.blame(s.connected)
	if s.answering || !s.retry(resetConditions) {
		s.fail(reply)
	}
}
