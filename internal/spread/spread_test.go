// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEachStepIsDoneOnce(t *testing.T) {
	for _, n := range []int{0, 1, 9, 10, 1000} {
		done := make([]int, n)
		Each(n, 10, func(i int) { done[i]++ })
		for i, times := range done {
			if times != 1 {
				t.Errorf("%d steps: step %d was done %d times", n, i, times)
			}
		}
	}
}

func TestManyStepsAreDoneSideBySide(t *testing.T) {
	met := make(chan int)
	Each(2, 2, func(i int) {
		deadline := time.After(30 * time.Second)
		if i == 0 {
			select {
			case met <- 1:
			case <-deadline:
				t.Error("the other step did not begin")
			}
			return
		}
		select {
		case <-met:
		case <-deadline:
			t.Error("the other step did not begin")
		}
	})
}
