// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

const (
	coded       = "Transfer-Encoding: chunked"
	chunkedPost = "POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n"
	chunked200  = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" // and more fields, or the empty line
)

func TestRequestFraming(t *testing.T) {
	for name, c := range map[string]struct {
		send   string
		framed string // the field that frames it upstream, "" for none
		body   string // the bytes after the head upstream
	}{
		"no body":         {get("/"), "", ""},
		"length":          {request("POST", "/", "hello"), "Content-Length: 5", "hello"},
		"length 0":        {request("POST", "/", "", "Content-Length: 0"), "Content-Length: 0", ""},
		"body of a GET":   {request("GET", "/", "hello"), "Content-Length: 5", "hello"},
		"chunked":         {chunkedPost + "5\r\nhello\r\n0\r\n\r\n", coded, "5\r\nhello\r\n0\r\n\r\n"},
		"chunked, empty":  {chunkedPost + "0\r\n\r\n", coded, "0\r\n\r\n"},
		"chunk extension": {chunkedPost + "5;x=y\r\nhello\r\n0\r\n\r\n", coded, "5\r\nhello\r\n0\r\n\r\n"},
		"trailers": {request("POST", "/", "", "TE: trailers", "Trailer: X-Sum", coded) +
			"1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n", coded, "1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n"},
		"trailer that frames": {chunkedPost + "1\r\na\r\n0\r\nContent-Length: 7\r\nX-A: b\r\n\r\n", coded, "1\r\na\r\n0\r\nX-A: b\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, mirror.Limits{})
			got := make(chan [2]string, 1)
			r.cluster("a", scripted(t, func(w *wire, _ int) {
				got <- [2]string{w.head(), w.take(len(c.body))}
				w.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				w.head()
				w.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
			}))
			r.serve(r.to("a"))
			cl := r.raw()
			cl.send(c.send)
			if _, body := cl.answer(); body != "ok" {
				t.Errorf("answer %q", body)
			}
			u := <-got
			for _, field := range []string{"Content-Length: 0", "Content-Length: 5", coded} {
				if has(u[0], field) != (field == c.framed) {
					t.Errorf("%s: %v\n%s", field, has(u[0], field), u[0])
				}
			}
			if u[1] != c.body {
				t.Errorf("body upstream %q, want %q", u[1], c.body)
			}
			cl.send(get("/"))
			if _, body := cl.answer(); body != "next" {
				t.Errorf("second answer %q", body)
			}
			if n := r.metric("envoy_cluster_upstream_cx_total"); n > 1 {
				t.Errorf("%v connections upstream, want 1 kept", n)
			}
			cl.Close()
			r.settled()
		})
	}
}

func TestAnswerFraming(t *testing.T) {
	for name, c := range map[string]struct {
		method, answer string
		framed         string // the field that frames it for the client
		body           string
	}{
		"length":   {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "Content-Length: 5", "hello"},
		"length 0": {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "Content-Length: 0", ""},
		"chunked":  {"GET", chunked200 + "\r\n5\r\nhello\r\n0\r\n\r\n", coded, "5\r\nhello\r\n0\r\n\r\n"},
		"trailers": {"GET", chunked200 +
			"Trailer: X-Sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n", coded, "1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n"},
		"HEAD, length":   {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "Content-Length: 5", ""},
		"HEAD, chunked":  {"HEAD", chunked200 + "\r\n", "", ""},
		"HEAD, none":     {"HEAD", "HTTP/1.1 200 OK\r\n\r\n", "", ""},
		"204":            {"GET", "HTTP/1.1 204 No Content\r\n\r\n", "", ""},
		"304 with field": {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "Content-Length: 5", ""},
		"304 without":    {"GET", "HTTP/1.1 304 Not Modified\r\n\r\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, mirror.Limits{})
			r.cluster("a", answering(t, c.answer))
			r.serve(r.to("a"))
			cl := r.raw()
			for range 3 { // the connection stays in step on both sides
				cl.send(request(c.method, "/", ""))
				head := cl.head()
				for _, field := range []string{"Content-Length: 0", "Content-Length: 5", coded} {
					if has(head, field) != (field == c.framed) {
						t.Errorf("%s: %v\n%s", field, has(head, field), head)
					}
				}
				if body := cl.take(len(c.body)); body != c.body {
					t.Errorf("body %q, want %q", body, c.body)
				}
			}
			cl.Close()
			r.settled()
			if n := r.metric("envoy_cluster_upstream_cx_total"); n != 1 {
				t.Errorf("%v connections upstream, want 1", n)
			}
		})
	}
}

func TestCloseDelimitedAnswer(t *testing.T) {
	closing := func(t *testing.T) string {
		return scripted(t, func(w *wire, _ int) {
			w.head()
			w.send("HTTP/1.1 200 OK\r\n\r\nhello ")
			w.send("world")
		})
	}
	t.Run("is chunked for a 1.1 client, whose connection stays", func(t *testing.T) {
		r := newRig(t, mirror.Limits{})
		r.cluster("a", closing(t))
		r.serve(r.to("a"))
		cl := r.raw()
		for range 2 {
			cl.send(get("/"))
			head := cl.head()
			body := cl.until("0\r\n\r\n")
			if !has(head, coded) || has(head, "Connection: close") ||
				body != "b\r\nhello world\r\n0\r\n\r\n" && body != "6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n" {
				t.Errorf("%s%q", head, body)
			}
		}
	})
	t.Run("ends with the connection of a 1.0 client", func(t *testing.T) {
		r := newRig(t, mirror.Limits{})
		r.cluster("a", closing(t))
		r.serve(r.to("a"))
		cl := r.raw()
		cl.send("GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n")
		all, reset := cl.end()
		head, body, _ := strings.Cut(all, "\r\n\r\n")
		head += "\r\n"
		if reset || body != "hello world" || has(head, coded) || !has(head, "Connection: close") {
			t.Errorf("reset %v: %q", reset, all)
		}
	})
}

func TestChunkedAnswerToHTTP10IsBareAndItsTrailersDropped(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("a", answering(t, chunked200+"\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.send("GET / HTTP/1.0\r\n\r\n")
	all, reset := cl.end()
	if _, body, _ := strings.Cut(all, "\r\n\r\n"); reset || body != "hello" {
		t.Errorf("reset %v: %q", reset, all)
	}
}

func TestHTTP10IsRefusedUnlessAccepted(t *testing.T) {
	set := setup{log: true}
	r := set.rig(t)
	r.config.HTTP10Accepted = false
	r.listener.Update(r.config)
	r.cluster("a", answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.send("GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n")
	if all, reset := cl.end(); status(all) != "426" || reset {
		t.Errorf("reset %v: %q", reset, all)
	}
	r.logs(426, "-", "low_version")
}

func TestInterimAnswers(t *testing.T) {
	origin := func(t *testing.T) string {
		return scripted(t, func(w *wire, _ int) {
			w.head()
			w.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		})
	}
	t.Run("103 goes on to a 1.1 client", func(t *testing.T) {
		r := newRig(t, mirror.Limits{})
		r.cluster("a", origin(t))
		r.serve(r.to("a"))
		cl := r.raw()
		cl.send(get("/"))
		if h := cl.head(); h != "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" {
			t.Errorf("interim %q", h)
		}
		if h, body := cl.answer(); status(h) != "200" || body != "ok" {
			t.Errorf("%q %q", h, body)
		}
	})
	t.Run("103 does not to a 1.0 client", func(t *testing.T) {
		r := newRig(t, mirror.Limits{})
		r.cluster("a", origin(t))
		r.serve(r.to("a"))
		cl := r.raw()
		cl.send("GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n")
		if all, _ := cl.end(); status(all) != "200" || strings.Contains(all, "103") {
			t.Errorf("%q", all)
		}
	})
	t.Run("100 calls for the body that Expect announced", func(t *testing.T) {
		r := newRig(t, mirror.Limits{})
		got := make(chan string, 2)
		r.cluster("a", scripted(t, func(w *wire, _ int) {
			got <- w.head()
			w.send("HTTP/1.1 100 Continue\r\n\r\n")
			got <- w.take(5)
			w.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}))
		r.serve(r.to("a"))
		cl := r.raw()
		cl.send(request("POST", "/", "", "Content-Length: 5", "Expect: 100-continue"))
		if h := <-got; !has(h, "Expect: 100-continue") {
			t.Errorf("upstream %q", h)
		}
		if h := cl.head(); h != "HTTP/1.1 100 Continue\r\n\r\n" {
			t.Errorf("interim %q", h)
		}
		cl.send("hello")
		if h, _ := cl.answer(); status(h) != "200" || has(h, "Connection: close") {
			t.Errorf("%q", h)
		}
		if body := <-got; body != "hello" {
			t.Errorf("body %q", body)
		}
	})
	t.Run("a final answer instead of 100 ends the connection", func(t *testing.T) {
		r := newRig(t, mirror.Limits{})
		r.cluster("a", scripted(t, func(w *wire, _ int) {
			w.head()
			w.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
			w.end()
		}))
		r.serve(r.to("a"))
		cl := r.raw()
		cl.send(request("POST", "/", "", "Content-Length: 5", "Expect: 100-continue"))
		if all, reset := cl.end(); reset || status(all) != "417" || !has(all, "Connection: close") {
			t.Errorf("reset %v: %q", reset, all)
		}
	})
}

func TestEarlyAnswerWhileTheUploadRuns(t *testing.T) {
	r := setup{log: true}.rig(t)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		w.head()
		w.take(1000)
		w.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
		w.end()
	}))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.send(request("POST", "/", "", "Content-Length: 100000000"))
	cl.send(strings.Repeat("x", 2000))
	head, body := cl.answer()
	if status(head) != "413" || body != "big" || !has(head, "Connection: close") {
		t.Errorf("%q %q", head, body)
	}
	cl.send(strings.Repeat("x", 100000)) // still uploading: read and thrown away, no RST
	if rest, reset := cl.end(); rest != "" || reset {
		t.Errorf("reset %v: %q", reset, rest)
	}
	r.logs(413, "-", "via_upstream")
	cl.Close()
	r.settled()
}

// The upstream closes while we still send to it: its answer counts, not our failed write.
func TestAnswerOfAnUpstreamThatStopsReading(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		w.head()
		w.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
	}))
	r.serve(r.to("a"))
	for range 20 {
		cl := r.raw()
		cl.send(request("POST", "/", "", "Content-Length: 100000000"))
		cl.send(strings.Repeat("x", 1000))
		if head, body := cl.answer(); status(head) != "401" || body != "no" {
			t.Errorf("%q %q", head, body)
		}
		cl.Close()
	}
	r.settled()
}
