// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWatchReportsATurnThatTakesTooLongOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy, waiting, turning := &Worker{Index: 7}, &Worker{Index: 8}, &Worker{Index: 9}
		waiting.idle(true)
		ctx, cancel := context.WithCancel(t.Context())
		type report struct {
			Worker int
			After  time.Duration
		}
		var got []report
		began := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			Watch(ctx, []*Worker{busy, waiting, turning}, slog.New(slog.DiscardHandler), func(worker int, d time.Duration) {
				if d < Silence || d > 2*Silence {
					t.Errorf("silent for %v", d)
				}
				got = append(got, report{worker, time.Since(began)})
			})
		}()
		turn := time.NewTicker(Silence / 2)
		for i := range 12 {
			<-turn.C
			turning.idle(true)
			turning.idle(false)
			if i == 5 {
				busy.idle(true)
				busy.idle(false) // a second turn, too long as well
			}
		}
		turn.Stop()
		cancel()
		<-done
		want := []report{{7, Silence}, {7, 3*Silence + Silence + Silence/4}}
		opt := cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() <= Silence/4 })
		if diff := cmp.Diff(want, got, opt); diff != "" {
			t.Error(diff)
		}
	})
}

// A worker that sleeps because nothing happens is not silent, nor is one at work.
func TestWatchLeavesALivingWorkerAlone(t *testing.T) {
	w := start(t, Config{}, nil)
	if w.pulse.Load()&1 == 0 {
		until(t, w, "the worker took a turn", func() bool { return true })
	}
	before := w.pulse.Load()
	on(t, w, func() {
		if w.pulse.Load()&1 != 0 {
			t.Error("in a turn, but said to wait")
		}
	})
	for end := time.Now().Add(patience); w.pulse.Load()&1 == 0; {
		if time.Now().After(end) {
			t.Fatal("never said to wait")
		}
	}
	if w.pulse.Load() == before {
		t.Error("no pulse")
	}
}
