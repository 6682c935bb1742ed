// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestBackOffOfATarget(t *testing.T) {
	var target Target
	now := int64(time.Hour)
	for range 2 {
		if !target.mayDial(now) {
			t.Fatal("a target that never failed is not dialled")
		}
	}
	for i, ms := range []int{50, 100, 200, 400, 800, 1000, 1000, 1000} {
		want := time.Duration(ms) * time.Millisecond
		target.dialFailed(now)
		if target.mayDial(now + int64(want) - 1) {
			t.Errorf("failure %d: dialled before %v", i+1, want)
		}
		now += int64(want)
		var probes atomic.Int32
		var wg sync.WaitGroup
		for range 8 { // workers
			wg.Go(func() {
				if target.mayDial(now) {
					probes.Add(1)
				}
			})
		}
		wg.Wait()
		if probes.Load() != 1 {
			t.Errorf("failure %d: %d probes after %v", i+1, probes.Load(), want)
		}
	}
	target.dialed()
	for range 2 {
		if !target.mayDial(now) {
			t.Error("a target that is back is not dialled")
		}
	}
}

// A probe may end without a word (its request was aborted): the next one is due an interval later.
func TestProbeThatIsLostDoesNotBlockTheTarget(t *testing.T) {
	var target Target
	target.dialFailed(0)
	if now := int64(backoffMin); !target.mayDial(now) || target.mayDial(now) || !target.mayDial(now+int64(backoffMin)) {
		t.Error("no second probe")
	}
}

func TestSelectsIsStrictAndNested(t *testing.T) {
	for _, share := range [][2]uint32{{0, 100}, {1, 1_000_000}, {50, 100}, {100, 100}, {7, 1}} {
		p := Policy{Numerator: share[0], Denominator: share[1]}
		var n uint32
		for draw := range uint64(p.Denominator) {
			if p.Selects(draw) {
				n++
			}
		}
		if n != min(p.Numerator, p.Denominator) {
			t.Errorf("%d of %d selects %d", p.Numerator, p.Denominator, n)
		}
	}
}
