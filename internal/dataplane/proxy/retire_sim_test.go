// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"testing"
	"time"
)

// A request that is here already when its listener goes, or the process, is answered, however idle its connection was.
func TestARequestThatIsHereIsAnsweredWhenItsListenerGoes(t *testing.T) {
	for name, ends := range map[string]func(*simRig){
		"retire": func(s *simRig) { s.listener.Retire(s.server) },
		"drain":  func(s *simRig) { s.server.Drain(time.Second, time.Minute, func() {}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSimRig(t, 1, nil)
			c := s.dial()
			s.at(10*time.Millisecond, func() { c.send("/first") })
			s.at(50*time.Millisecond, func() { s.far.answer(0, false) })
			s.at(100*time.Millisecond, func() { c.send("/second") })
			s.at(100*time.Millisecond+step, func() { ends(s) })
			s.at(200*time.Millisecond, func() {
				if len(s.far.conns) > 1 {
					s.far.answer(1, false)
				}
			})
			s.sim.Run(time.Minute)
			c.answers(t, "200", "200")
		})
	}
}
