// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

const (
	connectionFailure = "upstream_reset_before_response_started{connection_failure}"
	termination       = "upstream_reset_before_response_started{connection_termination}"
	unavailable503    = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
)

func TestRefusedConnectionsAreRetriedThen503(t *testing.T) {
	r := setup{log: true}.rig(t)
	r.cluster("a", nobody(t))
	r.serve(r.to("a"))
	code, body := r.get("/")
	if code != 503 || body != "upstream connect error or disconnect/reset before headers. retried and the latest "+
		"reset reason: connection failure" {
		t.Errorf("%d %q", code, body)
	}
	if e := r.logs(503, "UF,URX", connectionFailure); e.sent != len(body) || e.host == "-" || e.serviceTime != "-" {
		t.Errorf("%+v", e)
	}
	r.counted(3, "envoy_cluster_upstream_cx_connect_fail")
	r.counted(3, "envoy_cluster_upstream_rq_total")
	r.counted(2, "envoy_cluster_upstream_rq_retry")
	r.counted(1, "envoy_cluster_upstream_rq_retry_limit_exceeded")
	r.settled()
}

func TestConnectTimeoutIsARetriableFailure(t *testing.T) {
	r := setup{log: true}.rig(t)
	full := fullBacklog(t)
	r.cluster("a", full)
	cfg := *r.clusters.Slot("a").Cluster().Config()
	cfg.ConnectTimeout = 100 * time.Millisecond
	r.clusters.Set(cfg)
	r.serve(r.to("a"))
	if code, _ := r.get("/"); code != 503 {
		t.Errorf("got %d", code)
	}
	r.logs(503, "UF,URX", "upstream_reset_before_response_started{connection_timeout}")
	r.counted(3, "envoy_cluster_upstream_cx_connect_timeout")
	r.settled()
}

func TestWithoutPolicyNothingIsRetried(t *testing.T) {
	r := setup{log: true}.rig(t)
	var seen atomic.Int32
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		w.head()
		seen.Add(1)
		w.send(unavailable503)
		w.end()
	}))
	a := r.to("a")
	a.Retry = nil
	r.serve(a)
	if code, body := r.get("/"); code != 503 || body != "busy" || seen.Load() != 1 {
		t.Errorf("%d %q after %d tries", code, body, seen.Load())
	}
	r.logs(503, "-", "via_upstream")
}

func Test503IsRetriedOnAnotherHost(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var busy, fine atomic.Int32
	bad := scripted(t, func(w *wire, _ int) {
		for {
			w.head()
			busy.Add(1)
			w.send(unavailable503)
		}
	})
	good := scripted(t, func(w *wire, _ int) {
		for {
			w.head()
			fine.Add(1)
			w.send(empty200)
		}
	})
	r.cluster("a", bad, good)
	a := r.to("a")
	a.Retry.HostAttempts = 100 // the chance that all picks hit the host tried before: 2^-100
	r.serve(a)
	for range 100 {
		if code, _ := r.get("/"); code != 200 {
			t.Fatalf("got %d", code)
		}
	}
	if fine.Load() != 100 || busy.Load() == 0 {
		t.Errorf("%d answers of the good host, %d of the bad one", fine.Load(), busy.Load())
	}
	r.counted(float64(busy.Load()), "envoy_cluster_upstream_rq_retry")
	r.counted(float64(busy.Load()), "envoy_cluster_upstream_rq_retry_success")
	r.settled()
}

func TestRetryLimitPassesTheLastAnswerOn(t *testing.T) {
	r := setup{log: true}.rig(t)
	var counts []string
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		_, n, _ := strings.Cut(w.head(), "x-envoy-attempt-count: ")
		counts = append(counts, n[:1])
		w.send(unavailable503)
		w.end()
	}))
	r.serve(r.to("a"))
	if code, body := r.get("/"); code != 503 || body != "busy" {
		t.Errorf("%d %q", code, body)
	}
	r.logs(503, "URX", "via_upstream")
	if fmt.Sprint(counts) != "[1 2 3]" {
		t.Errorf("attempt counts %v", counts)
	}
	r.counted(0, "envoy_cluster_upstream_rq_retry_success")
}

func TestMaxIntervalBoundsTheBackOff(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("a", answering(t, unavailable503))
	a := r.to("a")
	a.Retry.BaseInterval, a.Retry.MaxInterval = time.Hour, 40*time.Millisecond
	r.serve(a)
	for range 5 {
		if code, _ := r.get("/"); code != 503 {
			t.Errorf("got %d", code)
		}
	}
	r.counted(10, "envoy_cluster_upstream_rq_retry")
}

func TestOverloadedUpstreamIsNotAskedAgain(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("a", answering(t, "HTTP/1.1 503 Service Unavailable\r\nx-envoy-overloaded: true\r\nContent-Length: 0\r\n\r\n"))
	r.serve(r.to("a"))
	if code, _ := r.get("/"); code != 503 {
		t.Errorf("got %d", code)
	}
	r.counted(1, "envoy_cluster_upstream_rq_total")
	r.counted(0, "envoy_cluster_upstream_rq_retry")
}

func TestRetryBudgetOfTheCluster(t *testing.T) {
	r := setup{log: true}.rig(t)
	r.cluster("a", answering(t, unavailable503))
	cfg := *r.clusters.Slot("a").Cluster().Config()
	cfg.MaxRetries = 0
	r.clusters.Set(cfg)
	r.serve(r.to("a"))
	if code, body := r.get("/"); code != 503 || body != "busy" {
		t.Errorf("%d %q", code, body)
	}
	r.logs(503, "UO", "via_upstream")
	r.counted(1, "envoy_cluster_upstream_rq_retry_overflow")
}

func TestGRPCStatusInAHeadOnlyAnswerIsRetried(t *testing.T) {
	for grpc, tries := range map[string]int32{"14": 2, "1": 2, "2": 1, "0": 1, "141": 1} {
		t.Run(grpc, func(t *testing.T) {
			r := newRig(t, mirror.Limits{})
			var n atomic.Int32
			r.cluster("a", scripted(t, func(w *wire, _ int) {
				for {
					w.head()
					if n.Add(1) == 1 {
						w.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\ngrpc-status: " + grpc + "\r\n\r\n")
					} else {
						w.send(empty200)
					}
				}
			}))
			r.serve(r.to("a"))
			if code, _ := r.get("/"); code != 200 || n.Load() != tries {
				t.Errorf("status %d after %d tries, want %d tries", code, n.Load(), tries)
			}
		})
	}
}

// bodies sends one request whose first attempt gets a 503 once the whole of it is read, and returns what each attempt got.
func bodies(t *testing.T, r *rig, send, end string) (got []string, head string) {
	t.Helper()
	seen := make(chan string, 3)
	r.cluster("a", scripted(t, func(w *wire, n int) {
		w.head()
		seen <- w.until(end)
		if n == 0 {
			w.send(unavailable503)
		} else {
			w.send(empty200)
		}
		w.end()
	}))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.send(send)
	head, _ = cl.answer()
	close(seen)
	for b := range seen {
		got = append(got, b)
	}
	return got, head
}

func TestBodyIsReplayed(t *testing.T) {
	for name, n := range map[string]int{"short": 5, "64 KiB": 64 << 10} {
		body := strings.Repeat("x", n-1) + "!"
		t.Run(name, func(t *testing.T) {
			r := newRig(t, mirror.Limits{})
			got, head := bodies(t, r, request("POST", "/", body), "!")
			if status(head) != "200" || len(got) != 2 || got[0] != body || got[1] != body {
				t.Errorf("%s: %d attempts", status(head), len(got))
			}
			r.counted(0, "envoy_cluster_retry_or_shadow_abandoned")
		})
		t.Run(name+" chunked with trailers", func(t *testing.T) {
			r := newRig(t, mirror.Limits{})
			send := request("POST", "/", "", "Transfer-Encoding: chunked")
			for i := 0; i < len(body); i += 1000 {
				piece := body[i:min(i+1000, len(body))]
				send += fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
			}
			got, head := bodies(t, r, send+"0\r\nX-Sum: 7\r\n\r\n", "X-Sum: 7\r\n\r\n")
			if status(head) != "200" || len(got) != 2 {
				t.Fatalf("%s: %d attempts", status(head), len(got))
			}
			for _, g := range got {
				if strings.Count(g, "x") != n-1 || strings.Count(g, "!") != 1 {
					t.Errorf("%d bytes of body", strings.Count(g, "x"))
				}
			}
		})
	}
}

func TestBodyBeyond64KiBIsNotRetriedAndCounted(t *testing.T) {
	r := setup{log: true}.rig(t)
	got, head := bodies(t, r, request("POST", "/", strings.Repeat("x", 64<<10)+"!"), "!")
	if status(head) != "503" || len(got) != 1 {
		t.Errorf("%s after %d attempts", status(head), len(got))
	}
	r.counted(1, "envoy_cluster_retry_or_shadow_abandoned")
	r.logs(503, "-", "via_upstream")
}

func TestBodyReadWhileConnectingMayNotExceedTheReplay(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	body := strings.Repeat("x", 1<<20) + "!"
	for range 10 { // each time the body is read while the connection comes up
		got, head := bodies(t, r, request("POST", "/", body), "!")
		if len(got) != 1 || status(head) != "503" {
			t.Fatalf("%s after %d attempts", status(head), len(got))
		}
	}
	r.counted(10, "envoy_cluster_retry_or_shadow_abandoned")
}

func TestRetryWhileTheUploadRuns(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	second := make(chan string, 1)
	r.cluster("a", scripted(t, func(w *wire, n int) {
		w.head()
		if n == 0 {
			w.take(5)
			w.send(unavailable503)
			w.end()
			return
		}
		second <- w.take(5)
		second <- w.take(6)
		w.send(empty200)
		w.end()
	}))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.send(request("POST", "/", "", "Content-Length: 11") + "hello")
	if got := <-second; got != "hello" {
		t.Errorf("replayed %q", got)
	}
	cl.send(" world")
	if head, _ := cl.answer(); status(head) != "200" || has(head, "Connection: close") {
		t.Errorf("%q", head)
	}
	if got := <-second; got != " world" {
		t.Errorf("then %q", got)
	}
}

// A body in many small chunks is mostly framing; it is replayed as one chunk, and its client is read on.
func TestRetryOfManySmallChunks(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	const chunks = 20000 // 120 KB on the wire, 20 KB of body
	r.cluster("a", scripted(t, func(w *wire, n int) {
		w.head()
		if n == 0 {
			w.send(unavailable503)
			w.end()
			return
		}
		w.until("0\r\n\r\n")
		w.send(empty200)
		w.end()
	}))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.send(request("POST", "/", "", "Transfer-Encoding: chunked"))
	cl.send(strings.Repeat("1\r\nx\r\n", chunks))
	cl.send("0\r\n\r\n")
	if head, _ := cl.answer(); status(head) != "200" {
		t.Errorf("%q", head)
	}
	r.settledAfter(cl)
	p := r.metric("envoy_http_downstream_flow_control_paused_reading_total")
	if q := r.metric("envoy_http_downstream_flow_control_resumed_reading_total"); p != q {
		t.Errorf("paused %v times, resumed %v", p, q)
	}
}
