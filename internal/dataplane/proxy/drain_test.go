// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

// drained drains the server in the background and tells when it is done.
func (r *rig) drained() chan bool {
	each, all := make(chan bool, len(r.workers)), make(chan bool)
	r.server.Drain(time.Second, time.Minute, func() { each <- true })
	go func() {
		for range r.workers {
			<-each
		}
		close(all)
	}()
	return all
}

func TestEndingListenersFinishWhatIsInFlight(t *testing.T) {
	for name, end := range map[string]func(*rig) chan bool{
		"drain":  (*rig).drained,
		"retire": func(r *rig) chan bool { r.listener.Retire(r.server); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, mirror.Limits{})
			answer, arrived := make(chan bool, 9), make(chan bool, 9)
			r.cluster("a", scripted(t, func(w *wire, _ int) {
				for {
					upload := has(w.head(), "Content-Length: 5")
					arrived <- true
					if upload {
						w.take(5)
					}
					<-answer
					w.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
				}
			}))
			r.serve(r.to("a"))
			idle, busy, streaming, fresh := r.raw(), r.raw(), r.raw(), r.raw()
			idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			<-arrived
			answer <- true
			idle.answer()
			busy.send(get("/"))
			<-arrived
			streaming.send(request("POST", "/", "", "Content-Length: 5") + "he")
			<-arrived
			r.counted(4, "envoy_http_downstream_cx_active")
			done := end(r)
			if all, reset := idle.end(); all != "" || reset {
				t.Errorf("idle: reset %v, %q", reset, all)
			}
			fresh.send(get("/")) // was on its way when the listener ended
			<-arrived
			streaming.send("llo")
			for range 3 {
				answer <- true
			}
			for _, c := range []*wire{busy, streaming, fresh} {
				if head, body := c.answer(); status(head) != "200" || body != "hello" || !has(head, "Connection: close") {
					t.Errorf("%q %q", head, body)
				}
				if rest, reset := c.end(); rest != "" || reset {
					t.Errorf("reset %v: %q", reset, rest)
				}
			}
			if done != nil {
				<-done
			}
			r.settledAfter(idle, busy, streaming, fresh)
		})
	}
}

func TestDrainWithoutTrafficIsDoneAtOnceAndSilentClientsDoNotHoldIt(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	silent := r.raw()
	r.counted(1, "envoy_http_downstream_cx_active")
	<-r.drained()
	if all, reset := silent.end(); all != "" || reset {
		t.Errorf("reset %v: %q", reset, all)
	}
}

// The answer is complete for us, but the client has not read it: draining must not cut it off.
func TestDrainLetsASlowClientReadItsAnswer(t *testing.T) {
	r := setup{sndbuf: 8 << 10}.rig(t)
	const size = 256 << 10
	r.cluster("a", answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n"+strings.Repeat("x", size)))
	r.serve(r.to("a"))
	cl, left := r.late(size)
	<-r.drained()
	if rest, reset := cl.end(); len(rest) != left || reset {
		t.Errorf("reset %v after %d bytes of %d", reset, len(rest), left)
	}
}

func TestPipelinedRequestsAreAnsweredUpToTheDrain(t *testing.T) {
	r := newRig(t, mirror.Limits{})
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
	cl := r.raw()
	cl.send(get("/1") + get("/2"))
	<-arrived
	done := r.drained()
	r.counted(1, "envoy_http_downstream_rq_active")
	answer <- true
	// Nobody told the client before, so it may have sent the second: this answer tells it, and it has to send it again.
	if head, _ := cl.answer(); !has(head, "Connection: close") {
		t.Errorf("%q", head)
	}
	if rest, reset := cl.end(); rest != "" || reset {
		t.Errorf("reset %v: %q", reset, rest)
	}
	<-done
}

func TestListenerUpdateHoldsFromTheNextRequestOn(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("a", answering(t, empty200))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.send(get("/"))
	cl.answer()
	r.config.ServerName = "other"
	r.listener.Update(r.config)
	cl.send(get("/"))
	if head, _ := cl.answer(); !has(head, "server: other") {
		t.Errorf("%q", head)
	}
}

func TestDescriptorsComeBack(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("a", answering(t, empty200))
	r.serve(r.to("a"))
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	base := count()
	for range 50 {
		a, b, c := r.raw(), r.raw(), r.raw()
		a.send(get("/"))
		a.answer()
		b.send("x: y\r\n\r\n")
		b.end()
		c.send(get("/"))
		c.reset()
		a.Close()
		b.Close()
	}
	r.settled()
	r.clusters.Remove("a") // closes what is idle
	r.counted(0, "envoy_cluster_upstream_cx_active")
	eventually(t, "descriptors back at base", func() bool { return count() <= base })
}
