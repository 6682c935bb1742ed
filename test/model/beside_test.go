// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing/synctest"
	"time"
)

// This file is what goes on beside the loops, on goroutines of the clusters': ejections and warm-ups. With
// m.bubbled the run is in a bubble of testing/synctest, whose time is the Sim's.

// beside lets the clusters' goroutines do what there is to do within d from now.
func (m *model) beside(d time.Duration) {
	if d > 0 {
		time.Sleep(d) //nolint:forbidigo // virtual time
	}
	synctest.Wait()
	for m.gate.waiting.Load() > 0 {
		m.gate.open <- struct{}{}
		synctest.Wait()
	}
	m.court.look(m.sim.Now() + d)
}

// gate is the clusters' log. It holds an ejection back, which begins in the middle of a turn, until the turn has ended:
// else what a turn does would hang on how fast another goroutine is.
type gate struct {
	slog.Handler
	waiting atomic.Int32
	open    chan struct{}
}

func newGate() *gate { return &gate{Handler: slog.DiscardHandler, open: make(chan struct{})} }

func (*gate) Enabled(context.Context, slog.Level) bool { return true }

func (g *gate) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "host ejected" {
		g.waiting.Add(1)
		<-g.open
		g.waiting.Add(-1)
	}
	return nil
}
