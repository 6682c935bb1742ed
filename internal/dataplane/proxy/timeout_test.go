// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

// brief is a time that a test lets pass; ample is one within which something must happen, on a slow machine too.
const (
	brief = 150 * time.Millisecond
	ample = time.Second
)

// silent is an origin that reads and never answers.
func silent(t *testing.T) string {
	return scripted(t, func(w *wire, _ int) { w.end() })
}

// begun is an origin that begins an answer and never ends it.
func begun(t *testing.T) string {
	return scripted(t, func(w *wire, _ int) {
		w.head()
		w.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		w.end()
	})
}

func TestIdleConnectionIsClosed(t *testing.T) {
	t.Parallel()
	r := setup{log: true, change: func(c *proxy.ListenerConfig) { c.IdleTimeout = ample }}.rig(t)
	r.cluster("a", answering(t, empty200))
	r.serve(r.to("a"))
	fresh, used, lone := r.raw(), r.raw(), r.raw()
	used.send(get("/"))
	used.answer()
	lone.send("\r\n")
	for _, c := range []*wire{fresh, used, lone} {
		if all, reset := c.end(); all != "" || reset {
			t.Errorf("reset %v: %q", reset, all)
		}
	}
	r.counted(3, "envoy_http_downstream_cx_idle_timeout")
	r.logs(200, "-", "via_upstream")
	r.settledAfter(fresh, used, lone)
}

func TestHeadThatDoesNotComeIs408(t *testing.T) {
	t.Parallel()
	r := setup{log: true, change: func(c *proxy.ListenerConfig) { c.HeadTimeout = brief }}.rig(t)
	cl := r.raw()
	cl.send("GET / HTTP/1.1\r\nHost: a\r\nX: ")
	if all, reset := cl.end(); status(all) != "408" || !has(all, "Connection: close") || reset {
		t.Errorf("reset %v: %q", reset, all)
	}
	r.logs(408, "DT", "request_header_timeout")
	r.counted(1, "envoy_http_downstream_rq_header_timeout")
	r.settledAfter(cl)
}

func TestHeadTimeoutIsNotRestartedByEachByte(t *testing.T) {
	t.Parallel()
	r := setup{change: func(c *proxy.ListenerConfig) { c.HeadTimeout = brief }}.rig(t)
	cl := r.raw()
	cl.send("GET / HTTP/1.1\r\nHost: a\r\nX: ")
	done := make(chan string)
	go func() {
		all, _ := cl.end()
		done <- all
	}()
	tick := time.NewTicker(brief / 10)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			cl.Write([]byte("x"))
		case all := <-done:
			if status(all) != "408" {
				t.Errorf("%q", all)
			}
			return
		}
	}
}

func TestWithoutHeadTimeoutAHeadMayTakeItsTime(t *testing.T) {
	t.Parallel()
	r := setup{change: func(c *proxy.ListenerConfig) { c.HeadTimeout, c.IdleTimeout = 0, ample }}.rig(t)
	r.cluster("a", answering(t, empty200))
	r.serve(r.to("a"))
	cl, other := r.raw(), r.raw()
	cl.send("GET / HTTP/1.1\r\nHost: a\r\nX: ")
	other.end() // longer than any time that could have been taken for a limit of the head
	cl.send("y\r\n\r\n")
	if head, _ := cl.answer(); status(head) != "200" {
		t.Errorf("%q", head)
	}
}

func TestRouteTimeoutIs504(t *testing.T) {
	t.Parallel()
	r := setup{log: true}.rig(t)
	r.cluster("a", silent(t))
	a := r.to("a")
	a.Timeout = brief
	r.serve(a)
	if code, body := r.get("/"); code != 504 || body != "upstream request timeout" {
		t.Errorf("%d %q", code, body)
	}
	if e := r.logs(504, "UT", "response_timeout"); e.duration < brief {
		t.Errorf("after %v", e.duration)
	}
	r.counted(1, "envoy_cluster_upstream_rq_timeout")
	r.counted(1, "envoy_cluster_upstream_rq_tx_reset")
	r.settled()
}

func TestRouteTimeoutRunsFromTheEndOfTheRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t, mirror.Limits{})
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		w.head()
		w.until("!")
		w.send(empty200)
	}))
	a := r.to("a")
	a.Timeout = ample
	r.serve(a)
	r.config.IdleTimeout = 2 * ample
	r.listener.Update(r.config)
	cl, other := r.raw(), r.raw()
	cl.send(request("POST", "/", "", "Content-Length: 2") + "x")
	other.end()
	cl.send("!")
	if head, _ := cl.answer(); status(head) != "200" {
		t.Errorf("%q", head)
	}
}

func TestRouteTimeoutDuringTheAnswerBreaksIt(t *testing.T) {
	t.Parallel()
	r := setup{log: true}.rig(t)
	r.cluster("a", begun(t))
	a := r.to("a")
	a.Timeout = ample
	r.serve(a)
	cl := r.raw()
	cl.send(get("/"))
	if all, reset := cl.end(); reset || !strings.HasSuffix(all, "hello") { // of 10 bytes
		t.Errorf("reset %v: %q", reset, all)
	}
	if e := r.logs(200, "UT", "response_timeout"); e.sent != 5 {
		t.Errorf("%+v", e)
	}
	r.settledAfter(cl)
}

func TestRouteTimeoutDuringTheBackOff(t *testing.T) {
	t.Parallel()
	r := setup{log: true}.rig(t)
	r.cluster("a", answering(t, unavailable503))
	a := r.to("a")
	a.Timeout, a.Retry.Max = brief, 1<<30
	a.Retry.BaseInterval, a.Retry.MaxInterval = time.Hour, time.Hour
	r.serve(a)
	if code, _ := r.get("/"); code != 504 {
		t.Errorf("got %d", code)
	}
	r.logs(504, "UT", "response_timeout")
	r.settled()
}

func TestPerTryTimeoutIs504AndNotRetried(t *testing.T) {
	t.Parallel()
	r := setup{log: true}.rig(t)
	r.cluster("a", silent(t))
	a := r.to("a")
	a.Retry.PerTryTimeout = brief
	r.serve(a)
	if code, _ := r.get("/"); code != 504 {
		t.Errorf("got %d", code)
	}
	r.logs(504, "UT", "upstream_per_try_timeout")
	r.counted(1, "envoy_cluster_upstream_rq_per_try_timeout")
	r.counted(1, "envoy_cluster_upstream_rq_total")
	r.settled()
}

func TestPerTryTimeoutDoesNotRunDuringTheBackOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, mirror.Limits{})
	r.cluster("a", scripted(t, func(w *wire, n int) {
		w.head()
		if n == 0 {
			w.send(unavailable503)
			w.end()
		}
		w.send(empty200)
	}))
	a := r.to("a")
	a.Retry.PerTryTimeout = ample
	a.Retry.BaseInterval, a.Retry.MaxInterval = 4*ample, 4*ample
	r.serve(a)
	for range 2 { // the back-off is longer than the limit in three of four
		if code, _ := r.get("/"); code != 200 {
			t.Errorf("got %d", code)
		}
	}
}

func TestStreamIdle(t *testing.T) {
	idle := setup{log: true, change: func(c *proxy.ListenerConfig) { c.StreamIdle = brief }}
	t.Run("waiting for the upstream is 504", func(t *testing.T) {
		t.Parallel()
		r := idle.rig(t)
		r.cluster("a", silent(t))
		r.serve(r.to("a"))
		if code, body := r.get("/"); code != 504 || body != "stream timeout" {
			t.Errorf("%d %q", code, body)
		}
		r.logs(504, "SI", "stream_idle_timeout")
		r.counted(1, "envoy_http_downstream_rq_idle_timeout")
		r.settled()
	})
	t.Run("waiting for the client is 408", func(t *testing.T) {
		t.Parallel()
		r := idle.rig(t)
		r.cluster("a", silent(t))
		r.serve(r.to("a"))
		cl := r.raw()
		cl.send(request("POST", "/", "", "Content-Length: 10") + "hello")
		if all, reset := cl.end(); status(all) != "408" || reset || !has(all, "Connection: close") {
			t.Errorf("reset %v: %q", reset, all)
		}
		if e := r.logs(408, "SI", "stream_idle_timeout"); e.received != 5 {
			t.Errorf("%+v", e)
		}
		r.settledAfter(cl)
	})
	t.Run("within a head without a limit of its own is 408", func(t *testing.T) {
		t.Parallel()
		r := setup{log: true, change: func(c *proxy.ListenerConfig) { c.HeadTimeout, c.StreamIdle = 0, brief }}.rig(t)
		cl := r.raw()
		cl.send("GET / HTTP/1.1\r\nHost: ")
		if all, reset := cl.end(); status(all) != "408" || reset {
			t.Errorf("reset %v: %q", reset, all)
		}
		r.logs(408, "SI", "stream_idle_timeout")
		r.settledAfter(cl)
	})
	t.Run("within the answer breaks it", func(t *testing.T) {
		t.Parallel()
		r := setup{log: true, change: func(c *proxy.ListenerConfig) { c.StreamIdle = ample }}.rig(t)
		r.cluster("a", begun(t))
		r.serve(r.to("a"))
		cl := r.raw()
		cl.send(get("/"))
		if all, reset := cl.end(); reset || !strings.HasSuffix(all, "hello") { // of 10 bytes
			t.Errorf("reset %v: %q", reset, all)
		}
		r.logs(200, "SI", "stream_idle_timeout")
		r.settledAfter(cl)
	})
	t.Run("a stream that moves is not idle", func(t *testing.T) {
		t.Parallel()
		r := setup{log: true, change: func(c *proxy.ListenerConfig) { c.StreamIdle = 2 * ample }}.rig(t)
		r.cluster("a", scripted(t, func(w *wire, _ int) {
			w.head()
			w.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
			for range 5 { // longer than the limit, all in all
				<-time.After(ample / 2)
				w.send("x")
			}
			w.end()
		}))
		r.serve(r.to("a"))
		if code, body := r.get("/"); code != 200 || body != "xxxxx" {
			t.Errorf("%d %q", code, body)
		}
	})
}
