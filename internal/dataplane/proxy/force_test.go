// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

// This file is what of the configuration holds for a request under which it changes.

// TestAHeadThatTakesItsTimeGoesByWhatIsInForceAtItsEnd: the listener changes to other routes, and the cluster that the
// former ones led to goes.
func TestAHeadThatTakesItsTimeGoesByWhatIsInForceAtItsEnd(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("a", nobody(t))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.send("GET / HTTP/1.1\r\nHo")
	r.counted(1, "envoy_http_downstream_rq_active")

	r.cluster("b", recording(t, empty200).addr)
	r.routes = &proxy.RouteSlot{Name: "other"}
	r.serve(r.to("b"))
	r.config.Routes = r.routes
	r.listener.Update(r.config)
	r.clusters.Remove("a")
	cl.send("st: a\r\n\r\n")
	if head, _ := cl.answer(); status(head) != "200" {
		t.Errorf("%q", head)
	}
}

func TestADelayedRequestKeepsItsClusterOrHasOneThatComes(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after bool // there is the cluster
		direct        *proxy.Direct
		want          string
	}{
		{name: "it goes", before: true, want: "200"},
		{name: "it comes", after: true, want: "200"},
		{name: "there is none", want: "503"},
		{name: "none is needed", direct: &proxy.Direct{Status: 418, Body: "x"}, want: "418"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mirror.Limits{})
			set := func(there bool) {
				r.clusters.Remove("a")
				if there {
					r.cluster("a", recording(t, empty200).addr)
				}
			}
			set(c.before)
			a := r.to("a")
			if a.Direct = c.direct; a.Direct != nil {
				a.Clusters = nil
			}
			a.Fault = &filter.Fault{Delay: time.Second, DelayShare: always, AbortGRPC: -1}
			r.serve(a)
			cl := r.raw()
			cl.send(get("/"))
			r.counted(1, "envoy_http_fault_active_faults")
			set(c.after)
			if head, _ := cl.answer(); status(head) != c.want {
				t.Errorf("%q", head)
			}
			r.counted(0, "envoy_http_fault_active_faults")
		})
	}
}
