// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"sync/atomic"
	"testing"
)

// stale is an origin that closes each connection after its first answer, when the proxy has it idle and sends again.
func stale(t *testing.T, r *rig) (requests *atomic.Int32) {
	requests = new(atomic.Int32)
	r.cluster("a", scripted(t, func(w *wire, n int) {
		w.head()
		requests.Add(1)
		w.send(empty200)
		if n == 0 {
			w.head() // the second request arrives, and dies
			requests.Add(1)
			w.reset()
			return
		}
		w.head()
	}))
	a := r.to("a")
	a.Retry = nil
	r.serve(a)
	return requests
}

func TestStaleConnection(t *testing.T) {
	for method, want := range map[string]string{"GET": "200", "PUT": "200", "DELETE": "200", "POST": "503", "PATCH": "503"} {
		t.Run(method, func(t *testing.T) {
			r := setup{workers: 1, log: true}.rig(t)
			n := stale(t, r)
			cl := r.raw()
			cl.send(get("/"))
			cl.answer()
			body := ""
			if method == "PUT" || method == "POST" {
				body = "hello"
			}
			cl.send(request(method, "/", body))
			if head, _ := cl.answer(); status(head) != want {
				t.Errorf("got %s, want %s", status(head), want)
			}
			e := r.logged(2)[1]
			if want == "503" && (n.Load() != 2 || e.flags != "UC" || e.details != termination) {
				t.Errorf("%d requests, %+v", n.Load(), e)
			}
			if want == "200" && (n.Load() != 3 || e.flags != "-") {
				t.Errorf("%d requests, %+v", n.Load(), e)
			}
		})
	}
}

func TestStaleConnectionIsReplacedOnceOnly(t *testing.T) {
	r := setup{workers: 1}.rig(t)
	var n atomic.Int32
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		if w.head(); n.Add(1) == 1 {
			w.send(empty200)
			w.head()
			n.Add(1)
		}
		w.reset()
	}))
	a := r.to("a")
	a.Retry = nil
	r.serve(a)
	if code, _ := r.get("/"); code != 200 {
		t.Fatalf("got %d", code)
	}
	if code, _ := r.get("/"); code != 503 || n.Load() != 3 {
		t.Errorf("got %d after %d requests", code, n.Load())
	}
}

// Bytes that no request asked for put a connection out of step: it is not used again.
func TestUnaskedBytesAnswerNobody(t *testing.T) {
	const stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
	r := setup{workers: 1}.rig(t)
	idle, hungUp := make(chan bool), make(chan bool, 3)
	r.cluster("a", scripted(t, func(w *wire, n int) {
		w.head()
		switch n {
		case 0: // with the answer
			w.send(empty200 + stray)
		case 1: // when the connection is idle
			w.send(empty200)
			<-idle
			w.send(stray)
		default:
			w.send(empty200)
		}
		w.end()
		hungUp <- true
	}))
	r.serve(r.to("a"))
	for i := range 3 {
		if code, body := r.get("/"); code != 200 || body != "" {
			t.Fatalf("%d %q", code, body)
		}
		if i == 1 {
			idle <- true
		}
		if i < 2 {
			<-hungUp
		}
	}
}
