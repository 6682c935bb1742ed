// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

var anyOrigin = &filter.CORS{Origins: []filter.StringMatch{{Value: "https://shop.example"}}}

func TestAWeightedClustersFiltersAreForItsRequestsAlone(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("a", nobody(t))
	r.cluster("b", recording(t, empty200).addr)
	r.serve(&proxy.Action{
		TotalWeight: 2, OwnFilters: true, CORS: anyOrigin,
		Fault: &filter.Fault{AbortStatus: 500, AbortGRPC: -1, AbortShare: always}, // for neither of them
		Clusters: []proxy.Weighted{
			{
				Slot: r.clusters.Slot("a"), Weight: 1,
				Fault: &filter.Fault{AbortStatus: 418, AbortGRPC: -1, AbortShare: always},
			},
			{Slot: r.clusters.Slot("b"), Weight: 1, CORS: anyOrigin},
		},
	})
	cl := r.raw()
	const n = 400
	aborted := 0
	for range n {
		cl.send(request("GET", "/", "", "Origin: https://shop.example"))
		head, _ := cl.answer()
		allowed := has(head, "access-control-allow-origin: https://shop.example")
		switch status(head) {
		case "418":
			aborted++
			if allowed {
				t.Fatal("the cluster without CORS has it")
			}
		case "200":
			if !allowed {
				t.Fatal("the cluster with CORS has none")
			}
		default:
			t.Fatalf("%q", head)
		}
	}
	near(t, "aborted", aborted, n, 0.5)
}

func TestFiltersThatAListenerDoesNotHaveDoNothing(t *testing.T) {
	r := setup{change: func(c *proxy.ListenerConfig) { c.NoFaults, c.NoCORS = true, true }}.rig(t)
	r.cluster("a", recording(t, empty200).addr)
	a := r.to("a")
	a.Fault = &filter.Fault{AbortStatus: 418, AbortGRPC: -1, AbortShare: always}
	a.CORS = anyOrigin
	r.serve(a)
	cl := r.raw()
	cl.send(request("GET", "/", "", "Origin: https://shop.example"))
	if head, _ := cl.answer(); status(head) != "200" || has(head, "access-control-allow-origin: https://shop.example") {
		t.Errorf("%q", head)
	}
}
