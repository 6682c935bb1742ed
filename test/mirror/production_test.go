// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/test/faulty"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// This file is about production's own far end being ill, with a mirror beside: what clients get, and that each request
// has one copy all the same.

// answered is one request's status; 0 is a broken connection.
func (m *mesh) answered(method, id, body string) int {
	q, err := http.NewRequest(method, "http://"+m.Addr+"/path", strings.NewReader(body))
	if err != nil {
		m.t.Error(err)
		return 0
	}
	q.Header.Set("X-Id", id)
	resp, err := m.base.Do(q)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

const done = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// An origin that closes idle connections as it likes: requests that may be sent again never fail, the others are never
// carried out twice, and each has one copy.
func TestOriginThatClosesIdleConnectionsAtRandom(t *testing.T) {
	for _, reset := range []bool{false, true} {
		t.Run(fmt.Sprint("reset ", reset), func(t *testing.T) {
			a, seenA := newFaulty(t)
			a.Serve(func(c *faulty.Conn) {
				for last := false; !last; last = rand.IntN(3) == 0 {
					if _, _, err := c.Request(); err != nil || c.Send(done) != nil {
						return
					}
				}
				c.Pause(time.Duration(rand.IntN(300)) * time.Microsecond)
				if reset {
					c.Reset()
				}
			})
			b, seenB := newFaulty(t)
			m := newMesh(t, mirrored(a.Addr(), b.Addr()), mirror.Limits{})
			var posts, failed atomic.Int64
			var wg sync.WaitGroup
			const clients, each = 6, 150
			var ids [clients * each]string
			for k := range clients {
				wg.Go(func() {
					for i := range each {
						id := newID()
						ids[k*each+i] = id
						method := []string{"GET", "PUT", "POST", "GET"}[i%4]
						code := m.answered(method, id, map[bool]string{true: "body"}[method != "GET"])
						switch {
						case method == "POST":
							posts.Add(1)
							if code == 503 {
								failed.Add(1)
							} else if code != 200 {
								t.Errorf("POST: %d", code)
							}
							if n := seenA.of(id).times; n > 1 || code == 200 && n != 1 {
								t.Errorf("POST was carried out %d times, answered %d", n, code)
							}
						case code != 200:
							t.Errorf("%s: %d", method, code)
						}
					}
				})
			}
			wg.Wait()
			got := m.ended("b")
			shed := got.Dropped["overload"] // where the machine leaves the workers too little time
			if got.Selected != clients*each || got.Delivered+shed != clients*each {
				t.Errorf("%+v", got)
			}
			for _, id := range ids {
				if n := seenB.of(id).times; n > 1 || n == 0 && shed == 0 {
					t.Errorf("request %s has %d copies", id, n)
				}
			}
			t.Logf("%d of %d POSTs met a connection that was closed", failed.Load(), posts.Load())
		})
	}
}

// attempts is the field that says how often a request was tried.
const attempts = "X-Envoy-Attempt-Count"

// gate is an origin that reads requests, and answers those that a test lets through.
type gate struct {
	*faulty.Server
	arrived chan string   // attempts
	open    chan struct{} // one answer each
}

func newGate(t *testing.T, first string) *gate {
	t.Helper()
	far, _ := newFaulty(t)
	g := &gate{far, make(chan string, 100), make(chan struct{}, 100)}
	held := heldBack(attempts, g.arrived, g.open)
	far.Serve(faulty.Answer(func(q *http.Request) string {
		if first != "" && q.Header.Get(attempts) == "1" {
			return first
		}
		return held(q)
	}))
	t.Cleanup(func() { close(g.open) })
	return g
}

// collect sends n requests at once and returns where their statuses come.
func (m *mesh) collect(n int) <-chan int {
	codes := make(chan int, n)
	for range n {
		go func() { codes <- m.answered("GET", newID(), "") }()
	}
	return codes
}

// While one retry is under way the budget of one lets no other begin: who fails then has the failure passed on.
func TestRetryBudgetBoundsRetriesInFlight(t *testing.T) {
	a := newGate(t, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
	b, _ := newFaulty(t)
	m := newMesh(t, mirrored(a.Addr(), b.Addr())+
		policyYAML("a", "retryBudget: {percent: 1, minRetryConcurrency: 1}"), mirror.Limits{})
	const n = 8
	codes := m.collect(n)
	for range n - 1 {
		if code := receive(t, codes); code != 503 {
			t.Errorf("got %d beside a retry", code)
		}
	}
	if attempt := receive(t, a.arrived); attempt != "2" {
		t.Errorf("attempt %s", attempt)
	}
	a.open <- struct{}{}
	if code := receive(t, codes); code != 200 {
		t.Errorf("the retry got %d", code)
	}
	if over, retries := m.metric("envoy_cluster_upstream_rq_retry_overflow", cluster("a")),
		m.metric("envoy_cluster_upstream_rq_retry", cluster("a")); over != n-1 || retries != 1 {
		t.Errorf("%v retries, %v refused by the budget", retries, over)
	}
	if got := m.ended("b"); got.Selected != n || got.Delivered != n {
		t.Errorf("%+v", got)
	}
}

// A full circuit breaker answers at once, and what it refuses has no copy.
func TestFullBreakerAnswersAtOnceAndSendsNoCopy(t *testing.T) {
	const counter = "envoy_cluster_upstream_rq_pending_overflow"
	a := newGate(t, "")
	b, _ := newFaulty(t)
	m := newMesh(t, mirrored(a.Addr(), b.Addr())+
		policyYAML("a", "connectionPool: {http: {http2MaxRequests: 2}}"), mirror.Limits{})
	held := m.collect(2)
	receive(t, a.arrived)
	receive(t, a.arrived)
	const n = 6
	refused := m.collect(n)
	for range n {
		if code := receive(t, refused); code != 503 {
			t.Errorf("got %d from a full cluster", code)
		}
	}
	if k := m.metric(counter, cluster("a")); k < n {
		t.Errorf("%v counted for %d refused", k, n)
	}
	got := m.ended("b")
	if got.Delivered != 2 || got.Dropped["refused"] != n || got.Selected != n+2 {
		t.Errorf("%+v", got)
	}
	a.open <- struct{}{}
	a.open <- struct{}{}
	for range 2 {
		if code := receive(t, held); code != 200 {
			t.Errorf("one that was under way got %d", code)
		}
	}
	again := m.collect(1)
	receive(t, a.arrived)
	a.open <- struct{}{}
	if code := receive(t, again); code != 200 {
		t.Errorf("with places free: %d", code)
	}
}

// Requests beyond max_connections wait in line for one of the connections there are, as many as may be pending; each worker
// may have one, whatever the limit.
func TestRequestsBeyondMaxConnectionsWaitInLine(t *testing.T) {
	a := newGate(t, "")
	b, _ := newFaulty(t)
	m := newMesh(t, mirrored(a.Addr(), b.Addr())+
		policyYAML("a", "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 6}}"), mirror.Limits{})
	const inLine, workers = 5, 2
	codes := m.collect(inLine)
	for range inLine {
		receive(t, a.arrived)
		a.open <- struct{}{}
	}
	for range inLine {
		if code := receive(t, codes); code != 200 {
			t.Errorf("one in line got %d", code)
		}
	}
	if opened := m.metric("envoy_cluster_upstream_cx_total", cluster("a")); opened > workers {
		t.Errorf("%v connections", opened)
	}

	const n, pending = 20, 6
	codes = m.collect(n)
	for range n - pending - workers {
		if code := receive(t, codes); code != 503 {
			t.Errorf("got %d from a line that is full", code)
		}
	}
	for range n {
		a.open <- struct{}{}
	}
	served := 0
	for range pending + workers {
		if receive(t, codes) == 200 {
			served++
		}
	}
	if served < pending+1 {
		t.Errorf("%d served, want those in line and the one before them", served)
	}
}

// Hosts that fail are ejected; once too few are left all are used again, rather than none.
func TestEjectionStopsAtThePanicThreshold(t *testing.T) {
	var ill atomic.Int32 // the first so many hosts fail
	ill.Store(1)
	var addrs []string
	var served [3]atomic.Int64
	for i := range int32(len(served)) {
		far, _ := newFaulty(t)
		far.Serve(faulty.Answer(func(*http.Request) string {
			served[i].Add(1)
			if i < ill.Load() {
				return "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
			}
			return done
		}))
		addrs = append(addrs, far.Addr())
	}
	b, _ := newFaulty(t)
	m := newMesh(t, meshtest.Gateway+serviceYAML("a", addrs...)+serviceYAML("b", b.Addr())+routeYAML("a", mirrorYAML("b"))+
		policyYAML("a", "loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutive5xxErrors: 3, interval: 1h, "+
			"baseEjectionTime: 1h, maxEjectionPercent: 100, minHealthPercent: 50}"), mirror.Limits{})
	ejected := func(want float64) {
		t.Helper()
		meshtest.Until(t, fmt.Sprint(want, " hosts are ejected"), func() bool {
			m.answered("GET", newID(), "")
			return m.metric("envoy_cluster_outlier_detection_ejections_active", cluster("a")) == want
		})
	}
	ejected(1)
	was := served[0].Load()
	for range 60 {
		if code := m.answered("GET", newID(), ""); code != 200 {
			t.Fatalf("%d with the ill host ejected", code)
		}
	}
	if served[0].Load() != was || m.metric("envoy_cluster_lb_healthy_panic", cluster("a")) != 0 {
		t.Errorf("the ejected host was asked %d times", served[0].Load()-was)
	}
	ill.Store(2)
	ejected(2) // one of three is healthy: less than half, so all are used
	was = served[0].Load()
	good := 0
	for range 60 {
		if m.answered("GET", newID(), "") == 200 {
			good++
		}
	}
	if served[0].Load() == was || m.metric("envoy_cluster_lb_healthy_panic", cluster("a")) == 0 || good == 0 {
		t.Errorf("no panic: the first host was asked %d times, %d answers were good", served[0].Load()-was, good)
	}
	if got := m.ended("b"); got.Delivered != got.Selected {
		t.Errorf("%+v", got)
	}
}

// Endpoints that leave while they serve requests lose none: these end where they are.
func TestEndpointsThatLeaveWithRequestsInFlight(t *testing.T) {
	a, other := newGate(t, ""), newGate(t, "")
	b, _ := newFaulty(t)
	text := func(addrs ...string) string {
		return meshtest.Gateway + serviceYAML("a", addrs...) + serviceYAML("b", b.Addr()) + routeYAML("a", mirrorYAML("b"))
	}
	m := newMesh(t, text(a.Addr()), mirror.Limits{}, func(o *app.Options) { o.Workers = 1 })
	const n = 6
	inFlight := m.collect(n)
	for range n {
		receive(t, a.arrived)
	}
	m.Reload(t, text(other.Addr()))
	later := m.collect(n)
	for range n {
		receive(t, other.arrived)
		other.open <- struct{}{}
	}
	for range n {
		if code := receive(t, later); code != 200 {
			t.Errorf("after the change: %d", code)
		}
		a.open <- struct{}{}
	}
	for range n {
		if code := receive(t, inFlight); code != 200 {
			t.Errorf("one that was under way got %d", code)
		}
	}
	meshtest.Until(t, "an endpoint that left keeps no connection", func() bool {
		open, _ := a.Connections()
		return open == 0
	})
	if got := m.ended("b"); got.Selected != 2*n || got.Delivered != 2*n {
		t.Errorf("%+v", got)
	}
}
