// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

// fault is a way for a mirror to be ill.
type fault struct {
	name   string
	handle func(c *farConn)
	sound  bool     // copies are delivered all the same
	causes []string // those that may occur; one of them must, unless sound
}

func faults() []fault {
	const none = "Content-Length: 0\r\n"
	bomb := "X-Bomb: " + strings.Repeat("b", 8000) + "\r\n"
	endless := func(first, piece string) func(c *farConn) {
		return func(c *farConn) {
			if _, _, err := c.request(); err != nil {
				return
			}
			_, err := io.WriteString(c, first)
			for err == nil {
				_, err = io.WriteString(c, piece)
			}
		}
	}
	once := func(answer string) func(c *farConn) { // and then a FIN
		return func(c *farConn) {
			if _, _, err := c.request(); err == nil {
				io.WriteString(c, answer)
			}
		}
	}
	return []fault{
		{"never reads", (*farConn).wait, false, []string{"timeout", "buffer", "memory"}},
		{"reads slowly", func(c *farConn) {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			buf := make([]byte, 64)
			for {
				if _, err := c.Read(buf); err != nil {
					return
				}
				<-tick.C
			}
		}, false, []string{"timeout", "buffer", "memory"}},
		{"never answers", func(c *farConn) { c.request(); c.wait() }, false, []string{"timeout"}},
		{"resets on accept", (*farConn).reset, false, []string{"reset", "connect"}},
		{"resets after the head", func(c *farConn) { c.head(); c.reset() }, false, []string{"reset"}},
		{"ends after the request", func(c *farConn) { c.request() }, false, []string{"reset"}},
		{"resets in its answer's head", func(c *farConn) {
			c.request()
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
			c.reset()
		}, false, []string{"reset"}},
		{"ends in its answer's body", once("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort"), true, nil},
		{"huge answer", endless("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", strings.Repeat("x", 1<<16)),
			true, []string{"timeout"}}, // a flood: the head of an answer may come too late
		{"endless chunks", endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
			true, []string{"timeout"}},
		{"answer that stops", func(c *farConn) {
			c.request()
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort")
			c.wait()
		}, true, nil},
		{"endless 1xx", endless("", "HTTP/1.1 102 Processing\r\n\r\n"), false, []string{"protocol", "timeout"}},
		{"header bomb", endless("HTTP/1.1 200 OK\r\n", bomb), false, []string{"protocol", "timeout"}},
		{"garbage", once("\x16\x03\x01 is not HTTP\r\n\r\n"), false, []string{"protocol"}},
		{"two lengths", once("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk"),
			false, []string{"protocol"}},
		{"two answers", answers(okay + okay), true, nil},
		{"unasked 101", once("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
			false, []string{"protocol"}},
		{"early 413", func(c *farConn) {
			c.head()
			io.WriteString(c, "HTTP/1.1 413 Too Large\r\n"+none+"Connection: close\r\n\r\n")
		}, true, []string{"reset"}},
		{"redirect", answers("HTTP/1.1 307 T\r\nLocation: http://203.0.113.1/\r\n" + none + "\r\n"), true, nil},
		{"HTTP/1.0", once("HTTP/1.0 200 OK\r\n\r\nok"), true, []string{"framing"}},
		{"answer ends with the connection", once("HTTP/1.1 200 OK\r\n\r\nok"), true, nil},
		{"closes after each answer", once("HTTP/1.1 200 OK\r\n" + none + "Connection: close\r\n\r\n"), true, nil},
		{"closes without a word", once(okay), true, []string{"stale", "reset"}},
	}
}

// ill is traffic of every shape against a mirror that is ill: production must not notice, every copy is accounted for,
// nothing is left, and once the mirror is well copies arrive again.
func ill(t *testing.T, r *rig, served *atomic.Int64, f fault, b string, heal func()) {
	const rounds = 4
	body := randomBytes(100 << 10)
	start := served.Load()
	n := int64(0)
	for range rounds {
		for _, shape := range []struct {
			body    []byte
			chunked bool
		}{{nil, false}, {body[:10], false}, {body, false}, {body, true}} {
			r.must(shape.body, shape.chunked)
			n++
		}
	}
	got := r.copiesEnded(b)
	if k := served.Load() - start; k != n {
		t.Errorf("production saw %d requests for %d", k, n)
	}
	if got.Selected != n {
		t.Errorf("%d copies selected for %d requests: %+v", got.Selected, n, got)
	}
	only(t, got, f.causes...)
	if !f.sound && (len(got.Dropped) == 0 || got.Delivered > 0) || f.sound && got.Delivered == 0 {
		t.Errorf("not the expected outcome: %+v", got)
	}
	heal()
	deadline := time.Now().Add(5 * time.Second)
	for r.copiesEnded(b).Delivered == got.Delivered {
		if time.Now().After(deadline) {
			t.Fatalf("no delivery within 5 s of the mirror's return: %+v", r.mirrors.Stats("test", b).Counts())
		}
		r.must(nil, false)
	}
}

func TestNoIllnessOfAMirrorReachesProduction(t *testing.T) {
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mirror.Limits{Timeout: patience + patience/4}) // production that waited would be late
			var served atomic.Int64
			b := newFar(t, f.handle)
			r.cluster("a", origin(t, echo(&served)))
			r.cluster("b", b.addr)
			r.serve(r.to("a", r.policy("b", 100)))
			ill(t, r, &served, f, "b", func() { b.do(healthy) })
		})
	}
}

func TestRedirectOfAMirrorIsNotFollowed(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	a := origin(t, echo(&served))
	b := newFar(t, nil)
	b.do(answers(fmt.Sprintf("HTTP/1.1 307 T\r\nLocation: http://%s/\r\nContent-Length: 0\r\n\r\n", a)))
	r.cluster("a", a)
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	for range 10 {
		r.must([]byte("data"), false)
	}
	if n := r.copiesEnded("b"); n.Delivered != 10 || served.Load() != 10 || b.seenAll() != 10 {
		t.Errorf("%+v, production saw %d, mirror %d", n, served.Load(), b.seenAll())
	}
}

func TestConnectionWithTwoAnswersIsNotUsedAgain(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	b := newFar(t, answers(okay+okay))
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	for range 10 {
		r.must(nil, false)
		r.copiesEnded("b")
	}
	if b.connections() != 10 {
		t.Errorf("%d connections for 10 copies", b.connections())
	}
}

func TestChunkedCopyIsNotSentToAMirrorSeenAtHTTP10(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	b := newFar(t, func(c *farConn) {
		c.request()
		io.WriteString(c, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	r.must(nil, false)
	r.copiesEnded("b")
	r.must([]byte("chunked"), true, "X-Id", "chunked")
	r.must([]byte("sized"), false, "X-Id", "sized")
	n := r.copiesEnded("b")
	if n.Dropped["framing"] != 1 || n.Delivered != 2 || b.seen("chunked") != 0 || b.seen("sized") != 1 {
		t.Errorf("%+v", n)
	}
}

func TestMirrorThatRefusesConnections(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	b := newFar(t, healthy)
	b.close()
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	ill(t, r, &served, fault{causes: []string{"connect"}}, "b", func() { b.listen(t, b.addr) })
}

func TestMirrorThatDropsConnectionAttempts(t *testing.T) {
	r := newRig(t, mirror.Limits{ConnectTime: 200 * time.Millisecond})
	var served atomic.Int64
	addr, open := blackhole(t)
	b := newFar(t, healthy)
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", addr)
	r.serve(r.to("a", r.policy("b", 100)))
	ill(t, r, &served, fault{causes: []string{"connect"}}, "b", func() { open(); b.listen(t, addr) })
}

// A route may allow less time than a connect takes: the target must back off all the same.
func TestRouteTimeoutShorterThanTheConnectIsAConnectFailure(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	addr, _ := blackhole(t)
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", addr)
	action := r.to("a", r.policy("b", 100))
	action.Timeout = 50 * time.Millisecond
	action.Retry = nil
	r.serve(action)
	r.must(nil, false)
	r.copiesEnded("b")
	r.must(nil, false) // at once: nobody dials now
	if n := r.copiesEnded("b"); n.Dropped["connect"] != 2 {
		t.Errorf("%+v", n)
	}
}
