// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

const brokenOff = "upstream_reset_after_response_started{connection_termination}"

func TestUpstreamThatBreaksOffIsSeenBroken(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		reset  bool // by RST
		flags  string
		detail string
	}{
		"within a length":             {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", false, "UC", brokenOff},
		"within a length, RST":        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", true, "UC", brokenOff},
		"within a chunk":              {chunked200 + "\r\na\r\nhello", false, "UC", brokenOff},
		"before the last chunk":       {chunked200 + "\r\n5\r\nhello\r\n", false, "UC", brokenOff},
		"within the trailers":         {chunked200 + "\r\n5\r\nhello\r\n0\r\nX: y\r\n", false, "UC", brokenOff},
		"a bad chunk":                 {chunked200 + "\r\n5\r\nhello\r\nzz\r\n", false, "UPE", "upstream_reset_after_response_started{protocol_error}"},
		"up to the close, then a RST": {"HTTP/1.1 200 OK\r\n\r\nhello", true, "UC", brokenOff},
	} {
		for _, version := range []string{"1.1", "1.0"} {
			t.Run(name+" to "+version, func(t *testing.T) {
				t.Parallel()
				r := setup{log: true}.rig(t)
				seen := make(chan bool)
				hadHello := sync.OnceFunc(func() { close(seen) })
				defer hadHello()
				r.cluster("a", scripted(t, func(w *wire, _ int) {
					w.head()
					w.send(c.answer)
					<-seen
					if c.reset {
						w.reset()
					}
				}))
				r.serve(r.to("a"))
				cl := r.raw()
				cl.send("GET / HTTP/" + version + "\r\nHost: a\r\n\r\n")
				open := version == "1.0" && !strings.Contains(c.answer, "Content-Length")
				if !open || c.flags == "UC" { // else the reset may overtake it
					cl.until("hello")
				}
				hadHello()
				if all, reset := cl.end(); reset != open || strings.HasSuffix(all, "0\r\n\r\n") {
					t.Errorf("reset %v: %q", reset, all)
				}
				r.logs(200, c.flags, c.detail)
				r.counted(1, "envoy_cluster_upstream_rq_rx_reset")
				r.settledAfter(cl)
			})
		}
	}
}

func TestUpstreamThatGivesNoAnswerIs503(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing": "", "half a head": "HTTP/1.1 200 OK\r\nX: ", "an interim": "HTTP/1.1 103 Early Hints\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup{log: true}.rig(t)
			r.cluster("a", scripted(t, func(w *wire, _ int) {
				w.head()
				w.send(answer)
			}))
			r.serve(r.to("a"))
			if code, _ := r.get("/"); code != 503 {
				t.Errorf("got %d", code)
			}
			r.logs(503, "UC", termination)
			r.counted(1, "envoy_cluster_upstream_rq_total")
			r.settled()
		})
	}
}

func TestUpstreamThatSpeaksNoHTTPIs502(t *testing.T) {
	for name, answer := range map[string]string{
		"garbage":      "SSH-2.0-OpenSSH\r\n\r\n",
		"two lengths":  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"endless head": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 70000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup{log: true}.rig(t)
			r.cluster("a", answering(t, answer))
			r.serve(r.to("a"))
			if code, _ := r.get("/"); code != 502 {
				t.Errorf("got %d", code)
			}
			r.logs(502, "UPE", "upstream_reset_before_response_started{protocol_error}")
			r.settled()
		})
	}
}

func TestClientThatGoesAway(t *testing.T) {
	for how, leave := range map[string]func(*wire){
		"RST": (*wire).reset,
		"FIN": func(w *wire) { w.CloseWrite() },
	} {
		// leaving serves what comes upstream so far, then has the client leave.
		leaving := func(t *testing.T, send, answer string, code, received int) {
			t.Parallel()
			r := setup{log: true}.rig(t)
			arrived, reset := make(chan bool, 1), make(chan bool, 1)
			r.cluster("a", scripted(t, func(w *wire, _ int) {
				w.head()
				w.take(received)
				w.send(answer)
				arrived <- true
				_, rst := w.end()
				reset <- rst
			}))
			r.serve(r.to("a"))
			cl := r.raw()
			cl.send(send)
			<-arrived
			if answer != "" {
				cl.until("hello")
			}
			leave(cl)
			if !<-reset {
				t.Error("the upstream saw a clean end")
			}
			if e := r.logs(code, "DC", "downstream_remote_disconnect"); e.received != received {
				t.Errorf("%+v", e)
			}
			r.counted(1, "envoy_http_downstream_rq_rx_reset")
			r.counted(1, "envoy_cluster_upstream_rq_tx_reset")
			r.settledAfter(cl)
		}
		t.Run(how+" within the body", func(t *testing.T) {
			leaving(t, request("POST", "/", "", "Content-Length: 10")+"hello", "", 0, 5)
		})
		t.Run(how+" waiting", func(t *testing.T) { leaving(t, get("/"), "", 0, 0) })
		t.Run(how+" within the answer", func(t *testing.T) {
			leaving(t, get("/"), "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 200, 0)
		})
		t.Run(how+" within the head", func(t *testing.T) {
			t.Parallel()
			r := setup{log: true}.rig(t)
			cl := r.raw()
			cl.send("GET / HTTP/1.1\r\nHost: ")
			r.counted(1, "envoy_http_downstream_rq_active")
			leave(cl)
			r.logs(0, "DC", "downstream_remote_disconnect")
			r.settledAfter(cl)
		})
		t.Run(how+" before a request", func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mirror.Limits{})
			cl := r.raw()
			r.counted(1, "envoy_http_downstream_cx_active")
			leave(cl)
			r.settledAfter(cl)
			r.counted(0, "envoy_http_downstream_rq_rx_reset")
		})
		t.Run(how+" during the back-off", func(t *testing.T) {
			t.Parallel()
			r := setup{log: true}.rig(t)
			r.cluster("a", answering(t, unavailable503))
			a := r.to("a")
			a.Retry.BaseInterval, a.Retry.MaxInterval = 1<<40, 1<<40 // 18 minutes
			r.serve(a)
			cl := r.raw()
			cl.send(get("/"))
			r.counted(1, "envoy_cluster_upstream_rq_retry")
			leave(cl)
			r.logs(0, "DC", "downstream_remote_disconnect")
			r.settledAfter(cl)
			r.counted(1, "envoy_cluster_upstream_rq_total")
		})
		t.Run(how+" while connecting", func(t *testing.T) {
			t.Parallel()
			r := setup{log: true}.rig(t)
			r.cluster("a", fullBacklog(t))
			r.serve(r.to("a"))
			cl := r.raw()
			cl.send(get("/"))
			r.counted(1, "envoy_cluster_upstream_cx_active")
			leave(cl)
			r.logs(0, "DC", "downstream_remote_disconnect")
			r.settledAfter(cl)
			r.counted(0, "envoy_cluster_upstream_cx_active")
		})
	}
}

// A client may shut its side down once it has its answer; what it has yet to read is not taken from it.
func TestAnswerIsWholeForAClientThatEndsItsSideAfterIt(t *testing.T) {
	r := setup{sndbuf: 8 << 10}.rig(t)
	const size = 256 << 10
	r.cluster("a", answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n"+strings.Repeat("x", size)))
	r.serve(r.to("a"))
	cl, left := r.late(size)
	cl.CloseWrite()
	r.counted(0, "envoy_http_downstream_cx_active")
	if rest, reset := cl.end(); len(rest) != left || reset {
		t.Errorf("reset %v after %d bytes of %d", reset, len(rest), left)
	}
	r.settledAfter(cl)
}
