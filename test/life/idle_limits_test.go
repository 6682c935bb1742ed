// SPDX-License-Identifier: Apache-2.0

//go:build limits

package life_test

import (
	"net/http"
	"testing"
)

// userMemory is what the process's own memory holds that is in use: heap and stacks.
func (p *process) userMemory() float64 {
	p.t.Helper()
	for range 2 { // what has a finalizer goes with the second
		if code, _ := p.page("/debug/pprof/heap?gc=1"); code != http.StatusOK {
			p.t.Fatalf("status %d", code)
		}
	}
	return p.metric("go_memstats_heap_inuse_bytes") + p.metric("go_memstats_stack_inuse_bytes")
}

func TestIdleConnectionsTakeAKibibyteEach(t *testing.T) {
	const conns, most = 7000, 1024
	o := newOrigin(t)
	port := freePort(t)
	p := launch(t, nil, "run", "-f", config(t, port, o.addr, ""), "--admin", "127.0.0.1:0").serves()
	addr := address(port)
	warm := dial(t, addr)
	for range 10 {
		warm.get("/")
		warm.answer()
	}
	base := p.userMemory()
	for i := range conns {
		c := dial(t, addr)
		if i%2 == 0 { // the others have never sent anything
			c.get("/")
			c.answer()
		}
	}
	until(t, "all are accepted", func() bool { return p.metric("envoy_http_downstream_cx_active") == conns+1 })
	each := (p.userMemory() - base) / conns
	t.Logf("%.0f bytes each", each)
	if each > most {
		t.Errorf("an idle connection takes %.0f bytes, more than %d", each, most)
	}
}
