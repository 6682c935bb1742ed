// SPDX-License-Identifier: Apache-2.0

//go:build !race

package mirror

import (
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

func TestTapDoesNotAllocate(t *testing.T) {
	r := newRig(t, Limits{})
	p := []Policy{r.policy("b"), r.policy("c")}
	h := head(t, "POST / HTTP/1.1\r\nHost: shop.example\r\nX-Request-Id: id\r\nTransfer-Encoding: chunked\r\n\r\n")
	tail := []byte("0\r\n\r\n")
	var none *Tap
	var allocs, nothing float64
	r.do(func() {
		rx := r.w.Pool.Large()
		once := func() {
			tap := r.local.Arm(p, &Request{Draw: 0, Head: h})
			tap.Begin(h, nil, false)
			tap.Data(chunk.Bytes{B: rx.Buf()[:100], C: rx})
			tap.Data(chunk.Bytes{B: rx.Buf()[:20_000], C: rx})
			tap.End(tail)
			for _, c := range tap.copies { // as the copies' part would
				c.run()
			}
			tap.done = true // Done defers Free to the end of the turn, which this loop does not see
			for _, c := range tap.copies {
				c.settle()
			}
			tap.Free()
		}
		once()
		allocs = testing.AllocsPerRun(1000, once)
		nothing = testing.AllocsPerRun(1000, func() {
			none.Begin(h, nil, true)
			none.Data(chunk.Bytes{})
			none.End(nil)
			none.Done(200, 0)
		})
		rx.Release()
	})
	if allocs != 0 || nothing != 0 {
		t.Errorf("%v allocations a request with two copies, %v with a nil tap", allocs, nothing)
	}
}
