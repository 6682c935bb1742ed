// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

const answer503 = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

// answers checks the status codes that a client has, in order.
func (c *simClient) answers(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(string(c.got)) {
		if strings.HasPrefix(line, "HTTP/1.1 ") {
			got = append(got, status(line))
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// That a stale connection was replaced is over with the attempt: the next one takes what is idle, and dials nobody.
func TestARetryAfterAStaleConnectionTakesAnIdleOne(t *testing.T) {
	s := newSimRig(t, 1, nil)
	first, second := s.dial(), s.dial()
	s.at(10*time.Millisecond, func() { first.send("/warm") })
	s.at(20*time.Millisecond, func() { s.far.answer(0, false) })
	s.at(30*time.Millisecond, func() { first.send("/retried") })
	s.at(40*time.Millisecond, func() { s.far.conns[1].Abort() }) // stale: it is sent again over a new connection
	s.at(50*time.Millisecond, func() { second.send("/waits") })
	s.at(60*time.Millisecond, func() { s.far.conns[2].Send([]byte(answer503)) }) // retried, behind who waits
	s.at(200*time.Millisecond, func() { s.far.answer(3, false) })
	s.at(220*time.Millisecond, func() {
		if len(s.far.conns) > 4 {
			s.far.answer(4, false)
		}
	})
	s.sim.Run(time.Second)
	if d := cmp.Diff([]string{"/warm", "/retried", "/retried", "/waits", "/retried"}, s.far.asked); d != "" {
		t.Fatal(d)
	}
	first.answers(t, "200", "200")
	second.answers(t, "200")
	if s.far.dials != 3 {
		t.Errorf("%d connections were made, want 3", s.far.dials)
	}
}

// Each attempt may meet a connection that is stale, which is no failure of its host.
func TestARetryMayMeetAStaleConnectionToo(t *testing.T) {
	s := newSimRig(t, upstream.Unlimited, func(a *proxy.Action) { a.Retry.Max = 1 })
	first, second := s.dial(), s.dial()
	s.at(10*time.Millisecond, func() { first.send("/warm"); second.send("/warm") })
	s.at(20*time.Millisecond, func() { s.far.answer(0, false); s.far.answer(1, false) })
	s.at(30*time.Millisecond, func() { first.send("/retried") })
	s.at(40*time.Millisecond, func() { s.far.conns[2].Abort() })
	s.at(60*time.Millisecond, func() { s.far.conns[3].Send([]byte(answer503)) })
	s.at(200*time.Millisecond, func() { s.far.conns[4].Abort() }) // over the other one that was idle
	s.at(220*time.Millisecond, func() {
		if len(s.far.conns) > 5 {
			s.far.answer(5, false)
		}
	})
	s.sim.Run(time.Second)
	if len(s.far.asked) != 6 || s.far.dials != 4 {
		t.Fatalf("asked for %v over %d connections", s.far.asked, s.far.dials)
	}
	first.answers(t, "200", "200")
}
