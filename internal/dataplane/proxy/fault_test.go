// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

var always = filter.Share{Numerator: 1_000_000, Denominator: 1_000_000}

func TestAbortAnswersAndNothingIsSentAnywhere(t *testing.T) {
	r := setup{log: true}.rig(t)
	r.cluster("a", nobody(t))
	r.cluster("b", nobody(t))
	a := r.to("a", r.policy("b", 100))
	a.Fault = &filter.Fault{AbortStatus: 418, AbortGRPC: -1, AbortShare: always}
	r.serve(a)
	if code, body := r.get("/"); code != 418 || body != "fault filter abort" {
		t.Errorf("%d %q", code, body)
	}
	r.logs(418, "FI", "fault_filter_abort")
	r.counted(1, "envoy_http_fault_aborts_injected")
	r.counted(0, "envoy_http_fault_active_faults")
	r.counted(0, "envoy_cluster_upstream_cx_total")
	if n := r.mirrors.Stats("test", "b").Counts(); n.Eligible != 0 {
		t.Errorf("%+v", n)
	}
}

func TestAbortForGRPC(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("a", nobody(t))
	a := r.to("a")
	a.Fault = &filter.Fault{AbortGRPC: 7, AbortShare: always}
	r.serve(a)
	cl := r.raw()
	cl.send(request("POST", "/pkg.Svc/Do", "x", "Content-Type: application/grpc"))
	if head, _ := cl.answer(); status(head) != "200" || !has(head, "grpc-status: 7") {
		t.Errorf("%q", head)
	}
}

func TestShareOfAborts(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served counter
	r.cluster("a", paths(t, &served))
	a := r.to("a")
	a.Fault = &filter.Fault{AbortStatus: 500, AbortGRPC: -1, AbortShare: filter.Share{Numerator: 200_000, Denominator: 1_000_000}}
	r.serve(a)
	cl := r.raw()
	const n = 3000
	aborted := 0
	for range n {
		cl.send(get("/"))
		if head, _ := cl.answer(); status(head) == "500" {
			aborted++
		}
	}
	near(t, "aborted", aborted, n, 0.2)
	if int(served.Load())+aborted != n {
		t.Errorf("%d served, %d aborted", served.Load(), aborted)
	}
}

func TestDelayHoldsTheRequestAndItsCopyBack(t *testing.T) {
	t.Parallel()
	r := setup{log: true}.rig(t)
	o, b := recording(t, empty200), recording(t, empty200)
	r.cluster("a", o.addr)
	r.cluster("b", b.addr)
	a := r.to("a", r.policy("b", 100))
	a.Timeout = ample // which does not run meanwhile
	a.Fault = &filter.Fault{Delay: 2 * ample, DelayShare: always, AbortGRPC: -1}
	r.serve(a)
	start := time.Now()
	cl := r.raw()
	cl.send(get("/"))
	r.counted(1, "envoy_http_fault_active_faults")
	if n := r.metric("envoy_cluster_upstream_cx_total"); n != 0 && time.Since(start) < 2*ample {
		t.Errorf("%v connections while the request is held back", n)
	}
	if head, _ := cl.answer(); status(head) != "200" || time.Since(start) < 2*ample {
		t.Errorf("after %v: %q", time.Since(start), head)
	}
	o.next(t)
	b.next(t)
	if e := r.logs(200, "DI", "via_upstream"); e.duration < 2*ample {
		t.Errorf("%+v", e)
	}
	r.counted(1, "envoy_http_fault_delays_injected")
	r.settledAfter(cl)
	r.counted(0, "envoy_http_fault_active_faults")
}

func TestDelayThenAbort(t *testing.T) {
	t.Parallel()
	r := setup{log: true}.rig(t)
	a := r.to("a")
	a.Fault = &filter.Fault{Delay: brief, DelayShare: always, AbortStatus: 503, AbortGRPC: -1, AbortShare: always}
	r.serve(a)
	if code, _ := r.get("/"); code != 503 {
		t.Errorf("got %d", code)
	}
	if e := r.logs(503, "DI,FI", "fault_filter_abort"); e.duration < brief {
		t.Errorf("%+v", e)
	}
}

func TestClientThatGivesUpADelayedRequest(t *testing.T) {
	for name, end := range map[string]func(*wire){
		"reset": (*wire).reset, "close": func(w *wire) { w.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := setup{log: true}.rig(t)
			r.cluster("b", nobody(t))
			a := r.to("a", r.policy("b", 100))
			a.Fault = &filter.Fault{Delay: time.Hour, DelayShare: always, AbortGRPC: -1}
			r.serve(a)
			cl := r.raw()
			cl.send(request("POST", "/", "", "Content-Length: 10") + "half")
			r.counted(1, "envoy_http_fault_active_faults")
			end(cl)
			r.counted(0, "envoy_http_fault_active_faults")
			r.logs(0, "DI,DC", "downstream_remote_disconnect")
			if n := r.mirrors.Stats("test", "b").Counts(); n.Eligible != 0 {
				t.Errorf("%+v", n)
			}
			r.settled()
		})
	}
}

// The stream of a request that was given up is used again: the delay's end must not be taken for the next one's.
func TestDelayOfARequestThatWasGivenUpIsForgotten(t *testing.T) {
	t.Parallel()
	r := setup{workers: 1}.rig(t)
	var seen counter
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		w.head()
		seen.Add(1)
		<-time.After(2 * ample)
		w.send(empty200)
		w.end()
	}))
	a := r.to("a")
	a.Fault = &filter.Fault{Delay: ample, DelayShare: always, AbortGRPC: -1}
	r.serve(a)
	cl := r.raw()
	cl.send(get("/"))
	r.counted(1, "envoy_http_fault_active_faults")
	cl.reset()
	r.counted(0, "envoy_http_fault_active_faults")
	r.serve(r.to("a"))
	if code, _ := r.get("/"); code != 200 || seen.Load() != 1 {
		t.Errorf("status %d, the upstream saw %d requests", code, seen.Load())
	}
}

func TestBodyOfADelayedRequestIsHeldToABoundAndArrivesWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t, mirror.Limits{})
	const size = 16 << 20
	got := make(chan int, 2)
	whole := func(w *wire, _ int) {
		w.head()
		got <- len(w.take(size))
		w.send(empty200)
		w.end()
	}
	r.cluster("a", scripted(t, whole))
	r.cluster("b", scripted(t, whole))
	a := r.to("a", r.policy("b", 100))
	a.Fault = &filter.Fault{Delay: time.Second, DelayShare: always, AbortGRPC: -1}
	r.serve(a)
	cl := r.raw()
	sent := make(chan bool)
	go func() {
		defer close(sent)
		cl.Write([]byte(request("POST", "/", strings.Repeat("x", size))))
	}()
	r.counted(1, "envoy_http_downstream_flow_control_paused_reading_total") // before all of it is read
	if head, _ := cl.answer(); status(head) != "200" {
		t.Errorf("%q", head)
	}
	within(t, sent)
	if n := within(t, got); n != size {
		t.Errorf("%d bytes arrived", n)
	}
	r.settledAfter(cl)
}
