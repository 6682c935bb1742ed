// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/test/faulty"
)

// Production must not notice a mirror's illness, every copy is accounted for, nothing is left, and once the mirror is well
// copies arrive again. A copy may take longer than production's clients wait: they would miss their answers if production
// waited for it.
func TestNoIllnessOfAMirrorReachesProduction(t *testing.T) {
	for _, f := range faulty.Faults("203.0.113.1:80") {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			limits := mirror.Limits{Timeout: 10 * patience, ConnectTime: patience}
			if f.Hangs && f.Delivered { // by time alone it ends
				limits.Timeout = time.Second
			}
			if f.Port == faulty.Deaf {
				limits.ConnectTime = ample
			}
			r := newRig(t, limits)
			var served atomic.Int64
			b := newFar(t, healthy)
			r.cluster("a", origin(t, echo(&served)))
			r.cluster("b", b.addr)
			r.serve(r.to("a", r.policy("b", 100)))
			b.suffer(t, &f)
			r.suffers(&f, b, &served)
		})
	}
}

// suffers is traffic of every shape, all of it copied to an ill mirror, until that is well.
func (r *rig) suffers(f *faulty.Fault, b *far, served *atomic.Int64) {
	t := r.t
	t.Helper()
	const rounds = 4
	body := randomBytes(100 << 10)
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
	causes := f.Causes
	if f.Hangs {
		causes = append(causes, "timeout", "reset", "connect")
		if !f.Delivered {
			b.suffer(t, &faulty.Fault{Serve: (*faulty.Conn).Reset})
		}
	}
	got := r.copiesEnded("b")
	if served.Load() != n || got.Selected != n {
		t.Errorf("production saw %d requests for %d: %+v", served.Load(), n, got)
	}
	only(t, got, causes...)
	if !f.Delivered && (len(got.Dropped) == 0 || got.Delivered > 0) || f.Delivered && got.Delivered == 0 {
		t.Errorf("not the expected outcome: %+v", got)
	}
	if err := b.Heal(); err != nil {
		t.Fatal(err)
	}
	healed := time.Now()
	for r.copiesEnded("b").Delivered == got.Delivered {
		if time.Since(healed) > patience { // on an idle machine: within a second of back-off and a connect
			t.Fatalf("no delivery after the mirror's return: %+v", r.mirrors.Stats("test", "b").Counts())
		}
		r.must(nil, false)
	}
}

func TestRedirectOfAMirrorIsNotFollowed(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	a := origin(t, echo(&served))
	b := newFar(t, answers(fmt.Sprintf("HTTP/1.1 307 T\r\nLocation: http://%s/\r\nContent-Length: 0\r\n\r\n", a)))
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
	b := newFar(t, func(c *faulty.Conn) {
		c.Request()
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

// A route may allow less time than a connect takes: the target must back off all the same.
func TestRouteTimeoutShorterThanTheConnectIsAConnectFailure(t *testing.T) {
	r := newRig(t, mirror.Limits{ConnectTime: patience})
	var served atomic.Int64
	addr := blackhole(t)
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", addr)
	action := r.to("a", r.policy("b", 100))
	action.Timeout = ample
	action.Retry = nil
	r.serve(action)
	r.must(nil, false)
	r.copiesEnded("b")
	r.must(nil, false) // at once: nobody dials now
	if n := r.copiesEnded("b"); n.Dropped["connect"] != 2 {
		t.Errorf("%+v", n)
	}
}
