// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

// Nothing malformed reaches the upstream as a request: the client is told, and its connection ends.
func TestMalformedRequests(t *testing.T) {
	for name, c := range map[string]struct {
		send, status string
	}{
		"HTTP/2 preface":     {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"},
		"TLS":                {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"},
		"two lengths":        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", "400"},
		"length and chunked": {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"no host":            {"GET / HTTP/1.1\r\n\r\n", "400"},
		"bare LF":            {"GET / HTTP/1.1\nHost: a\n\n", "400"},
		"version":            {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", "505"},
		"gzip, chunked":      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup{log: true}.rig(t)
			r.cluster("a", answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
			r.serve(r.to("a"))
			cl := r.raw()
			cl.send(c.send)
			if all, _ := cl.end(); status(all) != c.status || !has(all, "Connection: close") {
				t.Errorf("%q", all)
			}
			if e := r.logged(1)[0]; e.flags != "DPE" || e.details == "-" || e.host != "-" {
				t.Errorf("%+v", e)
			}
			if n := r.metric("envoy_cluster_upstream_rq_total"); n != 0 {
				t.Errorf("%v requests upstream", n)
			}
			r.counted(1, "envoy_http_downstream_cx_protocol_error")
			cl.Close()
			r.settled()
		})
	}
}

func TestTooLargeHeadIs431(t *testing.T) {
	r := setup{log: true}.rig(t)
	r.config.MaxHeadBytes, r.config.MaxHeadFields = 1000, 10
	r.listener.Update(r.config)
	many := make([]string, 11)
	for i := range many {
		many[i] = "X: y"
	}
	long := "X: " + string(make([]byte, 0))
	for len(long) < 1000 {
		long += "yyyyyyyyyy"
	}
	for _, send := range []string{get("/", many...), get("/", long)} {
		cl := r.raw()
		cl.send(send)
		if all, _ := cl.end(); status(all) != "431" || !has(all, "Connection: close") {
			t.Errorf("%q", all)
		}
	}
}

func TestBodyThatBreaks(t *testing.T) {
	t.Run("before the answer is 400, and the upstream sees a reset", func(t *testing.T) {
		r := setup{log: true}.rig(t)
		seen := make(chan bool, 1)
		r.cluster("a", scripted(t, func(w *wire, _ int) {
			w.head()
			_, reset := w.end()
			seen <- reset
		}))
		r.serve(r.to("a"))
		cl := r.raw()
		cl.send(request("POST", "/", "", "Transfer-Encoding: chunked") + "5\r\nhello\r\n")
		r.counted(1, "envoy_cluster_upstream_cx_total")
		cl.send("zz\r\n")
		if all, _ := cl.end(); status(all) != "400" || !has(all, "Connection: close") {
			t.Errorf("%q", all)
		}
		if !<-seen {
			t.Error("the upstream saw a clean end")
		}
		r.logs(400, "DPE", "http1.codec_error")
	})
	t.Run("during the answer breaks that", func(t *testing.T) {
		r := setup{log: true}.rig(t)
		r.cluster("a", scripted(t, func(w *wire, _ int) {
			w.head()
			w.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			w.end()
		}))
		r.serve(r.to("a"))
		cl := r.raw()
		cl.send(request("POST", "/", "", "Transfer-Encoding: chunked") + "5\r\nhello\r\n")
		cl.until("hello")
		cl.send("zz\r\n")
		if rest, reset := cl.end(); rest != "" || reset { // half of what Content-Length says
			t.Errorf("reset %v: %q", reset, rest)
		}
		r.logs(200, "DPE", "http1.codec_error")
	})
	t.Run("of a request we answer ourselves changes nothing", func(t *testing.T) {
		r := newRig(t, mirror.Limits{})
		cl := r.raw()
		cl.send(request("POST", "/", "", "Transfer-Encoding: chunked") + "zz\r\n")
		if all, _ := cl.end(); status(all) != "404" || !has(all, "Connection: close") {
			t.Errorf("%q", all)
		}
	})
}

func TestConnectIsRefusedAndWhatFollowsIsNotARequest(t *testing.T) {
	r := setup{log: true}.rig(t)
	r.cluster("a", answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.send("CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example:443\r\n\r\n" + get("/smuggled"))
	all, _ := cl.end()
	if status(all) != "405" || !has(all, "Connection: close") {
		t.Errorf("%q", all)
	}
	r.logs(405, "DPE", "connect_not_supported")
	if n := r.metric("envoy_cluster_upstream_rq_total"); n != 0 {
		t.Errorf("%v requests upstream", n)
	}
}

// RFC 9112 §2.2: an empty line behind a body, which some clients send, is no request and starts no head timeout.
func TestLoneEmptyLineLeavesTheConnectionIdle(t *testing.T) {
	r := setup{log: true}.rig(t)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		for {
			w.head()
			w.take(1)
			w.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}))
	r.serve(r.to("a"))
	cl := r.raw()
	for range 3 {
		cl.send(request("POST", "/", "x") + "\r\n")
		if h, _ := cl.answer(); status(h) != "200" {
			t.Errorf("%q", h)
		}
	}
	cl.Close()
	r.settled()
	r.logged(3)
	if n := r.metric("envoy_http_downstream_rq_rx_reset"); n != 0 {
		t.Errorf("%v requests given up", n)
	}
}
