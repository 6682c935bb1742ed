// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"log/slog"
	"time"
)

// Silence is how long a worker's turn may take before Watch reports it.
const Silence = time.Second

// idle tells Watch that a turn ended and the worker waits, or that one begins.
func (w *Worker) idle(waiting bool) {
	p := w.pulse.Load()&^1 + 2
	if waiting {
		p |= 1
	}
	w.pulse.Store(p)
}

// Watch looks at the workers four times a second until ctx is done, and reports each turn that takes longer than
// Silence: in the log and, if it is not nil, to silent, once when it is noticed. It runs on its caller's goroutine.
func Watch(ctx context.Context, workers []*Worker, logger *slog.Logger, silent func(worker int, d time.Duration)) {
	type look struct {
		pulse uint64
		since time.Time
		told  bool
	}
	now := time.Now()
	looks := make([]look, len(workers))
	for i, w := range workers {
		looks[i] = look{pulse: w.pulse.Load(), since: now}
	}
	tick := time.NewTicker(Silence / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now = <-tick.C:
		}
		for i, w := range workers {
			l := &looks[i]
			p := w.pulse.Load()
			if p != l.pulse || p&1 != 0 {
				*l = look{pulse: p, since: now}
				continue
			}
			if d := now.Sub(l.since); d >= Silence && !l.told {
				l.told = true
				logger.Error("worker is silent: one turn takes too long", "worker", w.Index, "for", d)
				if silent != nil {
					silent(w.Index, d)
				}
			}
		}
	}
}
