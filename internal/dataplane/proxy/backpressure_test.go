// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

const big = 100 << 20

var block = strings.Repeat("0123456789abcdef", 4096) // 64 KiB

// kernel is how much of a stalled stream the sockets on the way may hold: four buffers that grow to a few MiB each.
const kernel = 40 << 20

// heapBound is far below what a body would take, and above the garbage that the tests' own far ends make meanwhile.
const heapBound = 24 << 20

func heap() int64 {
	for range 2 { // what a sync.Pool has outlives one
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestSlowClientPausesTheUpstream(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunked %v", chunked), func(t *testing.T) {
			r := newRig(t, mirror.Limits{})
			var written counter
			r.cluster("a", scripted(t, func(w *wire, _ int) {
				w.head()
				if chunked {
					w.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
				} else {
					w.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", big))
				}
				for range big / len(block) {
					if chunked {
						w.send(fmt.Sprintf("%x\r\n%s\r\n", len(block), block))
					} else {
						w.send(block)
					}
					written.Add(int64(len(block)))
				}
				if chunked {
					w.send("0\r\n\r\n")
				}
				w.head()
			}))
			r.serve(r.to("a"))
			base := heap()
			cl := r.raw()
			cl.limit = 4 * patience // for all that is big
			cl.SetReadBuffer(64 << 10)
			cl.send(get("/"))
			cl.head()
			quiet(t, func() float64 { return float64(written.Load()) })
			if n := written.Load(); n > kernel {
				t.Errorf("the upstream could write %d MiB to a client that reads nothing", n>>20)
			}
			if grown := heap() - base; grown > heapBound {
				t.Errorf("heap grew by %d MiB", grown>>20)
			}
			body := io.LimitReader(cl.in, big)
			if chunked {
				body = io.LimitReader(cl.in, big/2) // framing is another test's business
			}
			n, err := io.Copy(io.Discard, body)
			if err != nil || !chunked && n != big {
				t.Errorf("%d bytes, %v", n, err)
			}
			if grown := heap() - base; grown > heapBound {
				t.Errorf("heap grew by %d MiB", grown>>20)
			}
			r.settledAfter(cl)
		})
	}
}

// More than fits into the usual buffer and the sockets on the way is taken from who sends it, if the settings say so.
func TestBuffersAreAsLargeAsTheListenerAndTheClusterSay(t *testing.T) {
	const large = 64 << 20
	whole := strings.Repeat(block, 32<<20/len(block))
	r := setup{change: func(c *proxy.ListenerConfig) { c.Buffer = large }}.rig(t)
	read, sent := make(chan bool), make(chan bool, 1)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		w.SetReadBuffer(64 << 10)
		w.head()
		<-read
		w.take(len(whole))
		w.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(whole)))
		w.send(whole)
		sent <- true
		w.head()
	}))
	cfg := *r.clusters.Slot("a").Cluster().Config()
	cfg.Buffer = large
	r.clusters.Set(cfg)
	r.serve(r.to("a"))
	cl := r.raw()
	cl.limit = 4 * patience // for all that is big
	cl.SetReadBuffer(64 << 10)
	cl.send(request("POST", "/", "", fmt.Sprintf("Content-Length: %d", len(whole))))
	cl.send(whole) // nobody reads it
	close(read)
	select {
	case <-sent: // nor this
	case <-time.After(time.Minute):
		t.Fatal("the answer is not taken")
	}
	if head, body := cl.answer(); status(head) != "200" || len(body) != len(whole) {
		t.Errorf("%q, %d bytes", head, len(body))
	}
	r.settledAfter(cl)
}

func TestSlowUpstreamPausesTheClient(t *testing.T) {
	for _, c := range []struct {
		name            string
		chunked, behind bool // behind: the upload comes after a pipelined request
	}{{"length", false, false}, {"chunked", true, false}, {"pipelined", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, mirror.Limits{})
			read := make(chan bool)
			got := make(chan int64, 1)
			r.cluster("a", scripted(t, func(w *wire, _ int) {
				w.SetReadBuffer(64 << 10)
				if c.behind {
					w.head()
					w.send(empty200)
				}
				w.head()
				<-read
				if c.chunked {
					var n int64
					for size := -1; size != 0; n += int64(size) {
						fmt.Sscanf(w.line(), "%x", &size)
						w.take(size)
						w.line()
					}
					got <- n
				} else {
					n, _ := io.CopyN(io.Discard, w.in, big)
					got <- n
				}
				w.send(empty200)
			}))
			r.serve(r.to("a"))
			base := heap()
			cl := r.raw()
			cl.limit = 4 * patience // for all that is big
			cl.begin()
			var written counter
			go func() {
				first := ""
				if c.behind {
					first = get("/")
				}
				if c.chunked {
					io.WriteString(cl, first+request("POST", "/", "", "Transfer-Encoding: chunked"))
				} else {
					io.WriteString(cl, first+request("POST", "/", "", fmt.Sprintf("Content-Length: %d", big)))
				}
				for range big / len(block) {
					if c.chunked {
						fmt.Fprintf(cl, "%x\r\n%s\r\n", len(block), block)
					} else {
						io.WriteString(cl, block)
					}
					written.Add(int64(len(block)))
				}
				if c.chunked {
					io.WriteString(cl, "0\r\n\r\n")
				}
			}()
			if c.behind {
				cl.answer()
			}
			quiet(t, func() float64 { return float64(written.Load()) })
			if n := written.Load(); n > kernel {
				t.Errorf("the client could write %d MiB to an upstream that reads nothing", n>>20)
			}
			if grown := heap() - base; grown > heapBound {
				t.Errorf("heap grew by %d MiB", grown>>20)
			}
			close(read)
			if head, _ := cl.answer(); status(head) != "200" || has(head, "Connection: close") {
				t.Errorf("%q", head)
			}
			if n := <-got; n != big {
				t.Errorf("%d bytes upstream", n)
			}
			r.settledAfter(cl)
			if p := r.metric("envoy_http_downstream_flow_control_paused_reading_total"); p == 0 ||
				p != r.metric("envoy_http_downstream_flow_control_resumed_reading_total") {
				t.Errorf("paused %v times, not resumed as often", p)
			}
		})
	}
}

// The client is held back when its request's last piece is too much for a connection that is not up yet; the request
// then ends without the upstream having taken a byte.
func TestClientHeldBackAtTheEndOfItsRequestGoesOn(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("a", nobody(t))
	r.serve(r.to("a"))
	cl := r.raw()
	for range 3 {
		cl.send(request("POST", "/", strings.Repeat("x", 40000)))
		if head, _ := cl.answer(); status(head) != "503" || has(head, "Connection: close") {
			t.Errorf("%q", head)
		}
	}
	r.settledAfter(cl)
}
