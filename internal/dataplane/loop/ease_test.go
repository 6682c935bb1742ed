// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"math"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

func TestAWorkerThatHasNothingToDoLetsGoOfItsFreeMemoryAndThenSleeps(t *testing.T) {
	s := NewSim(time.Unix(1_700_000_000, 0))
	w := s.NewWorker(Config{}, 1)
	w.Post(func() {
		var burst []*chunk.Chunk
		for range 100 {
			burst = append(burst, w.Pool.Large(), w.Pool.Small())
		}
		for _, c := range burst {
			c.Release()
		}
	})
	s.Run(easeEvery)
	if n := w.Pool.Free(); n != 200 {
		t.Errorf("%d chunks free after the burst, want 200", n)
	}
	s.Run(20 * easeEvery)
	if n := w.Pool.Free(); n != 0 {
		t.Errorf("%d chunks are still kept", n)
	}
	if at := w.wheel.deadline(); at != math.MaxInt64 {
		t.Errorf("it wakes up at %v for nothing", time.Duration(at))
	}
}
