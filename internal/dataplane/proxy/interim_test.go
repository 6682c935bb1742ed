// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

func TestAnAttemptThatTheClientHasHeardOfIsTheLast(t *testing.T) {
	const go100 = "HTTP/1.1 100 Continue\r\n\r\n"
	for name, c := range map[string]struct {
		ends func(w *wire)
		code string
	}{
		"answer": {func(w *wire) { w.send(unavailable503) }, "503"},
		"reset":  {(*wire).reset, "503"},
		"late": {func(w *wire) {
			<-time.After(2 * ample)
			w.send(empty200)
		}, "200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mirror.Limits{})
			var tries counter
			r.cluster("a", scripted(t, func(w *wire, _ int) {
				w.head()
				tries.Add(1)
				w.send(go100)
				w.take(4)
				c.ends(w)
			}))
			a := r.to("a")
			a.Retry.On |= proxy.Any5xx
			a.Retry.PerTryTimeout = ample
			r.serve(a)
			cl := r.raw()
			cl.send("PUT / HTTP/1.1\r\nHost: shop.example\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
			if head := cl.head(); head != go100 {
				t.Fatalf("%q", head)
			}
			cl.send("body")
			if head, _ := cl.answer(); status(head) != c.code {
				t.Errorf("%q", head)
			}
			if n := tries.Load(); n != 1 {
				t.Errorf("%d attempts", n)
			}
			r.counted(0, "envoy_cluster_upstream_rq_retry")
			r.settledAfter(cl)
		})
	}
}
