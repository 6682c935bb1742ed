// SPDX-License-Identifier: Apache-2.0

package proxy

import "github.com/umbra-mesh/umbra/internal/dataplane/filter"

// faults are those of the request's route, or of its cluster; nil: none.
func (s *Stream) faults() *filter.Fault {
	switch a := s.action; {
	case s.d.cfg.NoFaults:
		return nil
	case a.OwnFilters:
		return a.pick(s.draw[1]).Fault
	default:
		return a.Fault
	}
}

// cors is the policy of the request's route, or of its cluster; nil: none.
func (s *Stream) cors() *filter.CORS {
	switch a := s.action; {
	case s.d.cfg.NoCORS:
		return nil
	case a.OwnFilters:
		return a.pick(s.draw[1]).CORS
	default:
		return a.CORS
	}
}

// fault holds the request back or ends it, as its route's faults say: true if it does not go onward now. Each fault has
// a draw of its own (Envoy: FaultFilter).
func (s *Stream) fault(f *filter.Fault) bool {
	if f == nil {
		return false
	}
	w := s.wk.w
	if t := f.Holds(w.Rand()); t > 0 {
		s.delayed = true
		if a := s.action; a.Direct == nil && a.Redirect == nil {
			s.pickCluster() // it goes where its route leads now, whatever becomes of the configuration meanwhile
		}
		s.d.stats().Inc(faultDelays)
		s.countFault()
		w.Arm(&s.delay, t)
		return true
	}
	return s.abort(f)
}

// abort ends the request here if its draw says so; no copy is sent then.
func (s *Stream) abort(f *filter.Fault) bool {
	answer, ok := f.Aborts(s.wk.w.Rand())
	if !ok {
		return false
	}
	s.d.stats().Inc(faultAborts)
	s.countFault()
	s.local = answer
	s.respond(&s.local)
	return true
}

// countFault counts the request among the active faults until it is over.
func (s *Stream) countFault() {
	if !s.faulted {
		s.faulted = true
		s.d.stats().Add(faultsActive, 1)
	}
}

// onDelay goes on with a request that was held back. What came of its body meanwhile is in the replay, and its client
// was paused when that was enough (body.go).
func (s *Stream) onDelay() {
	if s.over || s.reply != nil {
		return
	}
	s.active = s.wk.w.Now()
	if s.requestDone {
		s.ended = s.active // for the route's times it ends now
	}
	if !s.abort(s.faults()) {
		s.onward()
	}
}
