// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

// A client that leaves at any byte of an upload has sent no request: nobody takes it for one, and nothing is left over.
func TestUploadThatItsClientAbandonsAtAnyByteIsTakenForWholeByNobody(t *testing.T) {
	for _, mirrored := range []bool{false, true} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("mirrored %v, chunked %v", mirrored, chunked), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, mirror.Limits{})
				a, b := newFar(t, healthy), newFar(t, healthy)
				r.cluster("a", a.addr)
				r.cluster("b", b.addr)
				r.serve(r.to("a"))
				if mirrored {
					r.serve(r.to("a", r.policy("b", 100)))
				}
				whole, _ := rawPost("left", []byte("twelve bytes"), chunked, "")
				for cut := range whole {
					cl := r.raw()
					cl.send(string(whole[:cut]))
					if cut%2 == 0 {
						cl.SetLinger(0)
					}
					cl.Close()
				}
				r.settled()
				if n := a.seen("left") + b.seen("left"); n != 0 {
					t.Errorf("%d of them looked whole", n)
				}
				if n := r.copiesEnded("b"); n.Delivered != 0 || n.Selected != n.Dropped["partial"]+n.Dropped["refused"] {
					t.Errorf("%+v", n)
				}
				cl := r.raw()
				cl.send(string(whole))
				if head, _ := cl.answer(); status(head) != "200" || a.seen("left") != 1 {
					t.Errorf("afterwards: %q", head)
				}
				if n := r.copiesEnded("b"); mirrored && n.Delivered != 1 {
					t.Errorf("afterwards: %+v", n)
				}
				r.settledAfter(cl)
			})
		}
	}
}

// An upstream that leaves at any byte of its answer has not answered: the client is told, or sees the break.
func TestAnswerThatItsUpstreamAbandonsAtAnyByteIsTakenForWholeByNobody(t *testing.T) {
	for name, answer := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\nX-T: v\r\n\r\n",
		"early":  "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mirror.Limits{})
			r.cluster("a", scripted(t, func(w *wire, n int) {
				w.head()
				w.send(answer[:n%len(answer)])
				if n%2 == 0 {
					w.reset()
				}
			}))
			act := r.to("a")
			act.Retry = nil
			r.serve(act)
			for range answer {
				cl := r.raw()
				cl.send(request("POST", "/", "x")) // which is not sent again
				resp, err := http.ReadResponse(cl.in, nil)
				for err == nil && resp.StatusCode == 103 {
					resp, err = http.ReadResponse(cl.in, nil)
				}
				if err == nil && resp.StatusCode == 200 {
					if body, err := io.ReadAll(resp.Body); err == nil {
						t.Errorf("an answer with the body %q looks whole", body)
					}
				} else if err == nil && resp.StatusCode != 503 {
					t.Errorf("status %d", resp.StatusCode)
				}
				cl.Close()
			}
			r.settled()
			r.counted(float64(len(answer)), "envoy_cluster_upstream_rq_total")
		})
	}
}

// What one client sends ahead is begun a few requests a turn, so that the others' requests come in between.
func TestPipeliningClientHasAFewRequestsATurn(t *testing.T) {
	r := setup{workers: 1}.rig(t)
	a := r.to("a")
	a.Direct = directOf("here")
	r.serve(a)
	const requests = 4000
	var began []float64
	sampled := make(chan bool)
	w := r.workers[0]
	var sample func()
	sample = func() { // once a turn, what the turn before published
		n := r.metric("envoy_http_downstream_rq_total")
		began = append(began, n)
		if n == requests || len(began) > 1e6 {
			close(sampled)
			return
		}
		w.Post(sample)
	}
	w.Post(sample)
	cl := r.raw()
	go io.WriteString(cl, strings.Repeat(get("/"), requests))
	go io.Copy(io.Discard, cl)
	within(t, sampled)
	most := 0.0
	for i := range began[1:] {
		most = max(most, began[i+1]-began[i])
	}
	// What was held back, and what is read when that is done.
	if most > 32 || !slices.IsSorted(began) {
		t.Errorf("%v requests begun in one turn", most)
	}
	r.settledAfter(cl)
}
