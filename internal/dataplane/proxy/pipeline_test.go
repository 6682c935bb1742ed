// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

// paths is an origin that answers each bodiless request with its target.
func paths(t testing.TB, served *atomic.Int64) string {
	return scripted(t, func(w *wire, _ int) {
		for {
			target := strings.Fields(w.head())[1]
			served.Add(1)
			w.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(target), target))
		}
	})
}

func TestThousandPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	for name, routed := range map[string]bool{"by the upstream": true, "by ourselves": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, mirror.Limits{})
			var served atomic.Int64
			r.cluster("a", paths(t, &served))
			if routed {
				r.serve(r.to("a"))
			}
			var b strings.Builder
			for i := range 1000 {
				b.WriteString(get(fmt.Sprintf("/%d", i)))
			}
			cl := r.raw()
			go cl.Write([]byte(b.String()))
			for i := range 1000 {
				head, body := cl.answer()
				if routed && body != fmt.Sprintf("/%d", i) || !routed && status(head) != "404" {
					t.Fatalf("answer %d: %q %q", i, head, body)
				}
			}
			r.settledAfter(cl)
			r.counted(1000, "envoy_http_downstream_rq_total")
		})
	}
}

func TestPipelinedBodiesStayApart(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		for {
			w.head()
			body := w.until("!")
			w.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		}
	}))
	r.serve(r.to("a"))
	cl := r.raw()
	want := []string{"one!", strings.Repeat("2", 200000) + "!", "three!"}
	go cl.Write([]byte(request("POST", "/", want[0]) + request("POST", "/", want[1]) + request("POST", "/", want[2])))
	for _, body := range want {
		if _, got := cl.answer(); got != body {
			t.Errorf("%d bytes, want %d", len(got), len(body))
		}
	}
}

func TestAfterCloseNothingIsServed(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	r.cluster("a", paths(t, &served))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.send(get("/1") + get("/2", "Connection: close") + get("/3"))
	cl.answer()
	if head, body := cl.answer(); body != "/2" || !has(head, "Connection: close") {
		t.Errorf("%q %q", head, body)
	}
	if rest, reset := cl.end(); rest != "" || reset || served.Load() != 2 {
		t.Errorf("reset %v, %d served: %q", reset, served.Load(), rest)
	}
	r.settledAfter(cl)
}

// A client that asks and never reads: no requests are begun for it once its answers wait.
func TestPipeliningClientThatDoesNotReadIsNotServed(t *testing.T) {
	for name, routed := range map[string]bool{"by the upstream": true, "by ourselves": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, mirror.Limits{})
			answer := "HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 20000)
			r.cluster("a", answering(t, answer))
			a := r.to("a")
			if !routed {
				a.Direct = directOf(strings.Repeat("x", 20000))
			}
			r.serve(a)
			cl := r.raw()
			cl.SetReadBuffer(64 << 10)
			base := heap()
			done := make(chan error, 1)
			go func() { // 400,000 requests would give 8 GB of answers
				// Those that were read before the client left are still served: few, as they are long.
				one := strings.Repeat(get("/", "X-Pad: "+strings.Repeat("x", 500)), 1000)
				var err error
				for range 400 {
					if _, err = cl.Write([]byte(one)); err != nil {
						break
					}
				}
				done <- err
			}()
			quiet(t, func() float64 { return r.metric("envoy_http_downstream_rq_total") })
			if n := r.metric("envoy_http_downstream_rq_total"); n > 2000 {
				t.Errorf("%v requests served", n)
			}
			if grown := heap() - base; grown > heapBound {
				t.Errorf("heap grew by %d MiB", grown>>20)
			}
			cl.Close()
			<-done
			r.settled()
		})
	}
}

func TestPipeliningClientThatReadsLateIsServed(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("a", answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"+strings.Repeat("x", 200000)))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.SetReadBuffer(64 << 10)
	go cl.Write([]byte(strings.Repeat(get("/"), 100)))
	quiet(t, func() float64 { return r.metric("envoy_http_downstream_rq_total") })
	for i := range 100 {
		if _, body := cl.answer(); len(body) != 200000 {
			t.Fatalf("answer %d: %d bytes", i, len(body))
		}
	}
	r.settledAfter(cl)
}
