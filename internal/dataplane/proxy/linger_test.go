// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"sync/atomic"
	"testing"
	"time"
)

// A client that keeps its side open after its connection has ended has a socket here for some seconds more: who limits
// sockets counts it as long.
func TestASocketIsCountedUntilItIsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		closes  bool
	}{
		"after a broken request, while the client stays": {"no HTTP\r\n\r\n", false},
		"after a broken request, as the client closes":   {"no HTTP\r\n\r\n", true},
		"after the last answer, while the client stays":  {get("/", "Connection: close"), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSimRig(t, 1, nil)
			s.listener.Sockets = new(atomic.Int64)
			s.listener.Sockets.Add(1)
			client := s.dial()
			if !c.closes {
				client.p.News = func() { client.p.Take(len(client.p.Arrived())) }
			}
			client.p.Send([]byte(c.request))
			s.at(10*time.Millisecond, func() {
				if len(s.far.asked) > 0 {
					s.far.answer(0, false)
				}
			})
			left := func(when time.Duration, conns, sockets int64) {
				t.Helper()
				s.sim.Run(when)
				if n, m := s.listener.Conns.Load(), s.listener.Sockets.Load(); n != conns || m != sockets {
					t.Errorf("after %v there are %d connections and %d sockets, want %d and %d", when, n, m, conns, sockets)
				}
			}
			left(step/2, 1, 1)
			if c.closes {
				left(time.Second, 0, 0)
				return
			}
			left(time.Second, 0, 1)
			left(time.Minute, 0, 0)
		})
	}
}
