// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// failures are ways for an attempt to fail, and the conditions of retry_on that take it for a failure.
var failures = map[string]struct {
	fail func(w *wire) // after the head of the first attempt; nil: nobody listens
	met  proxy.RetryOn
}{
	"500":     {fails("500 Internal Server Error"), proxy.Any5xx},
	"502":     {fails("502 Bad Gateway"), proxy.Any5xx | proxy.GatewayError},
	"503":     {fails("503 Service Unavailable"), proxy.Any5xx | proxy.GatewayError | proxy.RetriableStatusCodes},
	"504":     {fails("504 Gateway Timeout"), proxy.Any5xx | proxy.GatewayError},
	"404":     {fails("404 Not Found"), 0},
	"409":     {fails("409 Conflict"), proxy.Retriable4xx},
	"limited": {fails("429 Too Many Requests", "x-envoy-ratelimited: true"), proxy.EnvoyRateLimited},
	"limited with 503": {
		fails("503 Service Unavailable", "x-envoy-ratelimited: true"), proxy.EnvoyRateLimited,
	},
	"overloaded": {fails("503 Service Unavailable", "x-envoy-overloaded: true"), 0},
	"header":     {fails("200 OK", "X-Again: please"), proxy.RetriableHeaders},
	"grpc 1":     {fails("200 OK", "grpc-status: 1"), proxy.Cancelled},
	"grpc 4":     {fails("200 OK", "grpc-status: 4"), proxy.DeadlineExceeded},
	"grpc 8":     {fails("200 OK", "grpc-status: 8"), proxy.ResourceExhausted},
	"grpc 13":    {fails("200 OK", "grpc-status: 13"), proxy.Internal},
	"grpc 14":    {fails("200 OK", "grpc-status: 14"), proxy.Unavailable},
	"grpc 2":     {fails("200 OK", "grpc-status: 2"), 0},
	"reset":      {(*wire).reset, proxy.ResetOn | proxy.Any5xx | proxy.GatewayError},
	"closed":     {func(w *wire) { w.Close() }, proxy.ResetOn | proxy.Any5xx | proxy.GatewayError},
	"no HTTP":    {func(w *wire) { w.send("SSH-2.0\r\n\r\n") }, proxy.ResetOn | proxy.Any5xx | proxy.GatewayError},
	perTry:       {func(w *wire) { w.end() }, proxy.ResetOn | proxy.Any5xx | proxy.GatewayError},
	"refused": {
		nil, proxy.ConnectFailure | proxy.ResetOn | proxy.ResetBeforeRequest | proxy.Any5xx | proxy.GatewayError,
	},
}

// perTry is the failure that is none but for per_try_timeout.
const perTry = "per try"

func fails(status string, fields ...string) func(w *wire) {
	return func(w *wire) {
		w.send("HTTP/1.1 " + status + "\r\nContent-Length: 0\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n")
	}
}

func header(t testing.TB, m route.HeaderMatch) []*route.HeaderMatcher {
	t.Helper()
	h, err := route.NewHeaderMatcher(m)
	if err != nil {
		t.Fatal(err)
	}
	return []*route.HeaderMatcher{h}
}

const lastCondition = proxy.ResourceExhausted

func TestEachConditionRetriesItsFailuresAndNoOthers(t *testing.T) {
	for name, f := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup{workers: 1}.rig(t)
			var tries atomic.Int64
			first := nobody(t)
			if f.fail != nil {
				first = scripted(t, func(w *wire, _ int) {
					for {
						w.head()
						tries.Add(1)
						f.fail(w)
					}
				})
			}
			r.cluster("a", first)
			a := r.to("a")
			r.serve(a)
			for on := proxy.RetryOn(1); on <= lastCondition; on <<= 1 {
				tries.Store(0)
				before := r.metric("envoy_cluster_upstream_rq_retry")
				b := *a
				b.Retry = &proxy.Retry{
					On: on, Max: 1, BaseInterval: time.Millisecond, Codes: []int{503}, PerTryTimeout: patience,
					Headers: header(t, route.HeaderMatch{Name: "x-again", Kind: route.HeaderPrefix, Value: "pl"}),
				}
				if name == perTry {
					b.Retry.PerTryTimeout = brief
				}
				r.serve(&b)
				code, _ := r.get2("/")
				want := float64(0)
				if f.met&on != 0 {
					want = 1
				}
				r.counted(before+want, "envoy_cluster_upstream_rq_retry")
				if f.fail != nil && float64(tries.Load()) != 1+want {
					t.Errorf("retry_on %b: the upstream saw %d attempts (status %s)", on, tries.Load(), code)
				}
			}
			r.settled()
		})
	}
}

func TestRetryOnlyOfRequestsThatTheirFieldsSay(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var tries atomic.Int64
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		for {
			w.head()
			tries.Add(1)
			w.send(unavailable503)
		}
	}))
	a := r.to("a")
	a.Retry.RequestHeaders = append(header(t, route.HeaderMatch{Name: "x-idempotent"}),
		header(t, route.HeaderMatch{Name: ":method", Kind: route.HeaderExact, Value: "HEAD"})...)
	r.serve(a)
	for _, c := range []struct {
		send string
		want int64
	}{{get("/"), 1}, {get("/", "X-Idempotent: 1"), 3}} {
		tries.Store(0)
		cl := r.raw()
		cl.send(c.send)
		cl.answer()
		if n := tries.Load(); n != c.want {
			t.Errorf("%q: %d attempts, want %d", c.send, n, c.want)
		}
	}
}

func TestPerTryTimeoutsAreRetriedUntilOneIsInTime(t *testing.T) {
	t.Parallel()
	r := setup{log: true}.rig(t)
	counts := make(chan string, 5)
	r.cluster("a", scripted(t, func(w *wire, n int) {
		head := w.head()
		counts <- fmt.Sprint(has(head, fmt.Sprintf("x-envoy-attempt-count: %d", n+1)), has(head, "x-envoy-expected-rq-timeout-ms: 1000"))
		if n == 2 {
			w.send(empty200)
		}
		w.end()
	}))
	a := r.to("a")
	a.Timeout = time.Minute
	a.Retry = &proxy.Retry{On: proxy.GatewayError, Max: 2, PerTryTimeout: ample}
	r.serve(a)
	if code, _ := r.get("/"); code != 200 {
		t.Errorf("got %d", code)
	}
	for range 3 {
		if got := within(t, counts); got != "true true" {
			t.Errorf("attempt's fields: %s", got)
		}
	}
	r.counted(2, "envoy_cluster_upstream_rq_per_try_timeout")
	if e := r.logs(200, "-", "via_upstream"); e.duration < 2*ample {
		t.Errorf("%+v", e)
	}
	r.settled()
}

func TestPerTryTimeoutAboveTheWholeTimeDoesNotCount(t *testing.T) {
	t.Parallel()
	r := setup{log: true}.rig(t)
	heads := make(chan string, 5)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		heads <- w.head()
		w.end()
	}))
	a := r.to("a")
	a.Timeout = ample
	a.Retry = &proxy.Retry{On: proxy.Any5xx, Max: 5, PerTryTimeout: 10 * ample}
	r.serve(a)
	if code, _ := r.get("/"); code != 504 {
		t.Errorf("got %d", code)
	}
	if head := within(t, heads); !has(head, "x-envoy-expected-rq-timeout-ms: 1000") {
		t.Errorf("upstream:\n%s", head)
	}
	r.logs(504, "UT", "response_timeout")
	r.counted(1, "envoy_cluster_upstream_rq_total")
}

func TestIdleTryIsRetriedOrBroken(t *testing.T) {
	t.Parallel()
	r := setup{log: true}.rig(t)
	r.cluster("a", scripted(t, func(w *wire, n int) {
		w.head()
		if n > 0 { // the second begins an answer
			w.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		}
		w.end()
	}))
	a := r.to("a")
	a.Retry = &proxy.Retry{On: proxy.ResetOn, Max: 2, PerTryIdle: ample}
	r.serve(a)
	cl := r.raw()
	cl.send(get("/"))
	if all, reset := cl.end(); reset || !strings.HasSuffix(all, "hello") { // of 10 bytes
		t.Errorf("reset %v: %q", reset, all)
	}
	e := r.logs(200, "UT", "upstream_per_try_idle_timeout")
	if e.duration < 2*ample {
		t.Errorf("%+v", e)
	}
	r.counted(2, "envoy_cluster_upstream_rq_total")
}

func TestRoutesIdleTimeoutWinsOverTheListeners(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ listener, route time.Duration }{
		"shorter": {time.Hour, brief}, "instead of none": {0, brief},
	} {
		t.Run(name, func(t *testing.T) {
			r := setup{log: true, change: func(l *proxy.ListenerConfig) { l.StreamIdle = c.listener }}.rig(t)
			r.cluster("a", silent(t))
			a := r.to("a")
			a.IdleTimeout = c.route
			r.serve(a)
			if code, _ := r.get("/"); code != 504 {
				t.Errorf("got %d", code)
			}
			r.logs(504, "SI", "stream_idle_timeout")
		})
	}
	t.Run("none", func(t *testing.T) {
		r := setup{change: func(l *proxy.ListenerConfig) { l.StreamIdle = brief }}.rig(t)
		r.cluster("a", scripted(t, func(w *wire, _ int) {
			w.head()
			<-time.After(3 * brief)
			w.send(empty200)
		}))
		a := r.to("a")
		a.IdleTimeout = -1
		r.serve(a)
		if code, _ := r.get("/"); code != 200 {
			t.Errorf("got %d", code)
		}
	})
}

func TestTimeoutOfGRPC(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		most  time.Duration
		field string
		want  string // what the upstream is told; "": nothing
		ends  bool   // for the time
	}{
		"the client's":           {0, "grpc-timeout: 1000m", "grpc-timeout: 1000m", true},
		"capped":                 {ample, "grpc-timeout: 1H", "grpc-timeout: 1000m", true},
		"none, capped":           {ample, "x: y", "grpc-timeout: 1000m", true},
		"none":                   {0, "x: y", "", false},
		"not meant by the route": {-1, "grpc-timeout: 1m", "grpc-timeout: 1m", false},
		"malformed":              {0, "grpc-timeout: soon", "grpc-timeout: soon", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mirror.Limits{})
			heads := make(chan string, 1)
			r.cluster("a", scripted(t, func(w *wire, _ int) {
				heads <- w.head()
				if c.ends {
					w.end()
				}
				<-time.After(brief)
				w.send(empty200)
			}))
			a := r.to("a")
			a.MaxGRPCTimeout = c.most
			r.serve(a)
			cl := r.raw()
			cl.send(request("POST", "/pkg.Svc/Do", "", "Content-Type: application/grpc", "Content-Length: 0", c.field))
			up := within(t, heads)
			if c.want != "" && !has(up, c.want) || c.want == "" && strings.Contains(up, "grpc-timeout") {
				t.Errorf("upstream:\n%s", up)
			}
			head, _ := cl.answer()
			if ended := has(head, "grpc-status: 14"); status(head) != "200" || ended != c.ends {
				t.Errorf("%q", head)
			}
		})
	}
}

func TestFailedHostIsEjectedAndTheCopiesHaveTheirOwnAccount(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	bad := answering(t, unavailable503)
	var served counter
	good := paths(t, &served)
	for _, name := range []string{"a", "b"} {
		cfg := unlimited
		cfg.Name, cfg.Policy = name, upstream.RoundRobin
		cfg.Outlier = &upstream.Outlier{
			Consecutive5xx: 3, Enforce5xx: 100, Interval: time.Hour, BaseEjection: time.Hour, MaxEjectionPercent: 100,
		}
		for _, addr := range []string{bad, good} {
			cfg.Static = append(cfg.Static, upstream.Endpoint{Addr: netip.MustParseAddrPort(addr)})
		}
		r.clusters.Set(cfg)
	}
	a := r.to("a", r.policy("b", 100))
	a.Retry = nil
	r.serve(a)
	for _, name := range []string{"a", "b"} {
		deadline := time.Now().Add(patience)
		for r.metric("envoy_cluster_outlier_detection_ejections_active", "cluster_name="+name) != 1 {
			if time.Now().After(deadline) {
				t.Fatalf("no host of %s is ejected", name)
			}
			r.get2("/")
		}
	}
	for range 20 {
		if code, _ := r.get2("/"); code != "200" {
			t.Fatalf("got %s with the bad host ejected", code)
		}
	}
	r.copiesEnded("b")
}
