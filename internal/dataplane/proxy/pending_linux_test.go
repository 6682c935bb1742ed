// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

func TestMaxPendingRequestsBoundsThoseThatWaitForAConnection(t *testing.T) {
	r := setup{log: true}.rig(t)
	addr := blackhole(t)
	r.cluster("a", addr)
	cfg := *r.clusters.Slot("a").Cluster().Config()
	cfg.MaxPending = 1
	r.clusters.Set(cfg)
	action := r.to("a")
	action.Retry = nil
	r.serve(action)
	first := r.raw()
	first.send(get("/"))
	r.counted(1, "envoy_cluster_upstream_cx_active")
	if code, _ := r.get("/"); code != 503 {
		t.Errorf("got %d", code)
	}
	r.logs(503, "UO", "upstream_reset_before_response_started{overflow}")
	r.counted(1, "envoy_cluster_upstream_rq_pending_overflow")
	first.TCPConn.Close()
	// The place is free again.
	cfg.MaxPending = upstream.Unlimited
	cfg.Static = []upstream.Endpoint{{Addr: netip.MustParseAddrPort(origin(t, func(http.ResponseWriter, *http.Request) {}))}}
	r.clusters.Set(cfg)
	if code, _ := r.get("/"); code != 200 {
		t.Errorf("got %d", code)
	}
}
