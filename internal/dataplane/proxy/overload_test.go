// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

// posted waits until the workers have done what was posted before.
func (r *rig) posted() {
	r.t.Helper()
	for _, w := range r.workers {
		done := make(chan struct{})
		if !w.Post(func() { close(done) }) {
			r.t.Fatal("worker has stopped")
		}
		within(r.t, done)
	}
}

func TestOverloadRefusesNewRequestsAndLetsThoseUnderWayEnd(t *testing.T) {
	r := setup{log: true}.rig(t)
	answer, arrived := make(chan bool, 9), make(chan bool, 9)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		for {
			w.head()
			arrived <- true
			<-answer
			w.send(empty200)
		}
	}))
	r.serve(r.to("a"))
	busy, other := r.raw(), r.raw()
	busy.send(get("/busy"))
	<-arrived
	r.server.Refuse(true)
	r.posted()
	for range 2 { // the connection stays
		other.send(get("/refused"))
		if head, body := other.answer(); status(head) != "503" || body != "envoy overloaded" || has(head, "Connection: close") {
			t.Errorf("%q %q", head, body)
		}
	}
	other.send(request("POST", "/refused", "", "Content-Length: 5") + "hello")
	if head, _ := other.answer(); status(head) != "503" {
		t.Errorf("with a body: %q", head)
	}
	r.counted(3, "envoy_http_downstream_rq_overload_close")
	answer <- true
	if head, _ := busy.answer(); status(head) != "200" {
		t.Errorf("the request under way got %q", head)
	}
	r.server.Refuse(false)
	r.posted()
	answer <- true
	other.send(get("/served"))
	if head, _ := other.answer(); status(head) != "200" {
		t.Errorf("afterwards: %q", head)
	}
	<-arrived
	n := 0
	for _, e := range r.logged(5) {
		if e.code == 503 && e.flags == "OM" && e.details == "overload" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d lines of the log say why, want 3", n)
	}
}

func TestOverloadShedsCopiesAndNothingElse(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	arrived, stay := make(chan bool, 9), make(chan bool)
	defer close(stay)
	r.cluster("a", answering(t, empty200))
	r.cluster("b", scripted(t, func(w *wire, _ int) {
		w.head()
		arrived <- true
		<-stay
	}))
	p := r.policy("b", 100)
	r.serve(r.to("a", p))
	cl := r.raw()
	send := func() {
		t.Helper()
		cl.send(get("/"))
		if head, _ := cl.answer(); status(head) != "200" {
			t.Errorf("production got %q", head)
		}
	}
	send()
	<-arrived // a copy is under way
	r.mirrors.SetShedding(true)
	send()
	eventually(t, "the new copy is dropped", func() bool { return p.Stats.Counts().Dropped["overload"] == 1 })
	if n := p.Stats.Counts().Live; n != 1 {
		t.Errorf("%d copies live, want the one that was under way", n)
	}
	r.server.ShedCopies()
	eventually(t, "the other one is dropped", func() bool { return p.Stats.Counts().Dropped["overload"] == 2 })
	r.mirrors.SetShedding(false)
	send()
	<-arrived
	c := p.Stats.Counts()
	if c.Selected != 3 || c.Live != 1 || c.Skipped != 0 {
		t.Errorf("%+v", c)
	}
	r.server.ShedCopies()
	eventually(t, "none is left", func() bool { return p.Stats.Counts().Live == 0 })
}

func TestListenersConnectionsAreCountedDown(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("a", answering(t, empty200))
	r.serve(r.to("a"))
	r.listener.Conns.Store(4) // as who accepts counts
	idle, used, asked, broken := r.raw(), r.raw(), r.raw(), r.raw()
	used.send(get("/"))
	used.answer()
	asked.send(request("GET", "/", "", "Connection: close"))
	asked.answer()
	broken.send("no HTTP\r\n\r\n")
	broken.answer()
	for _, c := range []*wire{idle, used, asked, broken} {
		c.Close()
	}
	eventually(t, "none is left", func() bool { return r.listener.Conns.Load() == 0 })
}

func TestCutEndsEverythingVisiblyAndTellsTheLog(t *testing.T) {
	r := setup{log: true}.rig(t)
	arrived, stay := make(chan bool, 9), make(chan bool)
	defer close(stay)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		w.head()
		w.send("HTTP/1.1 200 OK\r\n\r\nhalf") // ends with the connection
		arrived <- true
		<-stay
	}))
	p := r.policy("a", 100)
	r.serve(r.to("a", p))
	cl, idle := r.raw(), r.raw()
	cl.send(get("/"))
	<-arrived
	<-arrived // the copy too
	cl.head() // the answer has begun
	ended := make(chan bool, 2)
	r.server.Cut(func() { ended <- true })
	<-ended
	<-ended
	if all, reset := cl.end(); reset || strings.HasSuffix(all, "0\r\n\r\n") {
		t.Errorf("reset %v: got %q, and no last chunk was due", reset, all)
	}
	if all, reset := idle.end(); all != "" || reset {
		t.Errorf("idle connection: %q, reset %v", all, reset)
	}
	eventually(t, "the copy is dropped", func() bool { return p.Stats.Counts().Live == 0 })
	r.logs(200, "-", "shutdown")
}

func TestCutEndsUpgradedConnectionsOnBothSides(t *testing.T) {
	r := sockets(t)
	cl, up := r.tunnel()
	ended := make(chan bool, 2)
	r.server.Cut(func() { ended <- true })
	<-ended
	<-ended
	for name, w := range map[string]*wire{"client": cl, "upstream": up} {
		if all, reset := w.end(); !reset {
			t.Errorf("%s: %q, and a proper end", name, all)
		}
	}
	r.logs(101, "-", "shutdown")
	eventually(t, "nothing is left", func() bool {
		return r.metric("envoy_http_downstream_cx_active") == 0 && r.metric("envoy_http_downstream_cx_upgrades_active") == 0 &&
			r.metric("envoy_cluster_upstream_cx_active") == 0
	})
}
