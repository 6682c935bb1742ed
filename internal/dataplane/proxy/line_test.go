// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// One request has the only connection, another waits. In the very turn in which the first is done somebody comes, after
// that: who waits has the connection all the same, and who came gets in line.
func TestNewcomerCannotPassTheLine(t *testing.T) {
	for name, c := range map[string]struct {
		last      bool // the connection ends, so that a new one may be made
		pipelined bool // the newcomer is of the client that is done
	}{
		"the connection is free":                    {},
		"there may be another one":                  {last: true},
		"one more of the same client":               {pipelined: true},
		"the same client, there may be another one": {pipelined: true, last: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSimRig(t, 1, nil)
			first, second, third := s.dial(), s.dial(), s.dial()
			newcomer := third
			s.at(10*time.Millisecond, func() { first.send("/first") })
			s.at(20*time.Millisecond, func() { second.send("/waits") })
			s.at(30*time.Millisecond, func() {
				if d := cmp.Diff([]string{"/first"}, s.far.asked); d != "" {
					t.Fatal(d)
				}
				if c.pipelined {
					newcomer = first
					first.send("/newcomer") // its turn comes when the answer has been written
				}
			})
			s.at(40*time.Millisecond, func() {
				s.far.answer(0, c.last)
				if !c.pipelined {
					third.send("/newcomer")
				}
			})
			s.at(60*time.Millisecond, func() { s.far.answer(1, false) })
			s.at(80*time.Millisecond, func() { s.far.answer(2, false) })
			s.sim.Run(100 * time.Millisecond)
			if d := cmp.Diff([]string{"/first", "/waits", "/newcomer"}, s.far.asked); d != "" {
				t.Error(d)
			}
			for who, cl := range map[string]*simClient{"first": first, "second": second, "newcomer": newcomer} {
				want := 1
				if c.pipelined && cl == first {
					want = 2
				}
				if n := strings.Count(string(cl.got), "HTTP/1.1 200"); n != want {
					t.Errorf("%s: %d answers, want %d: %q", who, n, want, cl.got)
				}
			}
			dials := 1
			if c.last {
				dials = 2
			}
			if s.far.dials != dials {
				t.Errorf("%d connections were made, want %d", s.far.dials, dials)
			}
		})
	}
}

// As many come as are served, for a while: the line is served in the order in which they came, however long it is.
func TestLineIsServedInOrderWhileOthersCome(t *testing.T) {
	s := newSimRig(t, 1, nil)
	const clients = 40
	var want []string
	for i := range clients {
		path := "/" + strings.Repeat("x", i+1)
		want = append(want, path)
		c := s.dial()
		// Five at once, then one with each answer.
		when := 10 * time.Millisecond
		if i >= 5 {
			when = time.Duration(20+10*(i-5)) * time.Millisecond
		}
		s.at(when, func() { c.send(path) })
	}
	for i := range clients {
		s.at(time.Duration(20+10*i)*time.Millisecond, func() {
			if len(s.far.conns) != i+1 {
				t.Fatalf("%d requests were taken, %d answered", len(s.far.conns), i)
			}
			s.far.answer(i, i%7 == 6)
		})
	}
	s.sim.Run(time.Second)
	if d := cmp.Diff(want, s.far.asked); d != "" {
		t.Error(d)
	}
}
