// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"time"
)

// This file is how the process ends.

// Drain stops accepting, lets requests under way end, then copies for at most 5 s, and returns when all is quiet or
// DrainTimeout is over.
func (a *App) Drain() {
	a.draining.Store(true)
	if a.door != nil {
		a.door.Close() // a handover under way comes to nothing
	}
	began := time.Now()
	deadline := time.NewTimer(a.opts.DrainTimeout)
	defer deadline.Stop()
	a.builder.Hurry()
	defer a.endReloads(a.opts.DrainTimeout / reloadShare)()
	a.listeners.stop()
	quiet := make(chan struct{}, len(a.workers))
	left := a.opts.DrainTimeout - time.Since(began)
	left -= min(left/10, time.Second) // copies are dropped and counted before the deadline here
	a.server.Drain(copyGrace, left, func() { quiet <- struct{}{} })
	for range a.workers {
		select {
		case <-quiet:
		case <-deadline.C:
			a.opts.Logger.Warn("drain timeout: what is left is cut", "after", a.opts.DrainTimeout)
			return // Close cuts
		}
	}
	a.nextTurn(workerTime) // what was counted in the turn that was the last is published after it
	// Answers that are written but not yet taken by their clients.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for a.connections() > 0 {
		select {
		case <-tick.C:
		case <-deadline.C:
			a.opts.Logger.Warn("drain timeout: what is left is cut", "after", a.opts.DrainTimeout)
			return
		}
	}
	a.opts.Logger.Info("drained", "after", time.Since(began).Round(time.Millisecond))
}

// reloadShare is the part of a drain that a reload under way gets to end.
const reloadShare = 5

// endReloads takes the lock of reloads until what it returns is called: one under way ends first, for it must not open
// what a drain closes. It may read from what does not answer: then it is not waited for, and opens nothing when it goes
// on.
func (a *App) endReloads(limit time.Duration) (over func()) {
	late, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	over, ok := a.lockReloads(late.Done())
	if !ok {
		a.opts.Logger.Warn("a reload does not end; the drain goes on without it", "after", limit)
	}
	return over
}

// lockReloads takes the lock of reloads until unlock is called, and reports whether it had it before late was closed;
// if not, it has it later.
func (a *App) lockReloads(late <-chan struct{}) (unlock func(), ok bool) {
	locked, over := make(chan struct{}), make(chan struct{})
	go func() {
		a.reloads.Lock()
		defer a.reloads.Unlock()
		close(locked)
		<-over
	}()
	select {
	case <-locked:
		ok = true
	case <-late:
	}
	return func() { close(over) }, ok
}

func (a *App) connections() (n int) {
	for _, w := range a.workers {
		n += w.Conns()
	}
	return n
}

// nextTurn waits until each worker that runs has ended the turn it is in, for so long at most.
func (a *App) nextTurn(limit time.Duration) {
	a.allWorkers(limit, func(done func()) {
		for _, w := range a.workers {
			if !w.Post(done) {
				done()
			}
		}
	})
}

// allWorkers has each worker do something and call done, and waits for that, for so long at most. What counts is time
// that this goroutine saw pass: of a process that was stopped, or a machine that stood still, no more than one tick does.
func (a *App) allWorkers(limit time.Duration, do func(done func())) {
	ended := make(chan struct{}, len(a.workers))
	do(func() { ended <- struct{}{} })
	const ticks = 20
	tick := time.NewTicker(limit / ticks)
	defer tick.Stop()
	for workers, left := len(a.workers), ticks; workers > 0 && left > 0; {
		select {
		case <-ended:
			workers--
		case <-tick.C:
			left--
		}
	}
}

// workerTime is for workers that run; one that has stopped does not answer.
const workerTime = 200 * time.Millisecond

// Close ends everything at once. Drain first to lose nothing.
func (a *App) Close() {
	if a.listeners != nil {
		a.listeners.stop()
	}
	if a.door != nil {
		a.door.Close()
	}
	if a.admin != nil {
		a.closeAdmin()
	}
	if a.server != nil {
		a.allWorkers(workerTime, a.server.Cut) // both ends see that what is under way is not whole
	}
	if a.listeners != nil {
		a.listeners.end()
	}
	if a.clusters != nil {
		a.clusters.Close()
	}
	a.stop()
	a.running.Wait()
	a.stopTracing()
	if a.log != nil {
		if err := a.log.Close(); err != nil {
			a.opts.Logger.Error("access log not written whole", "error", err)
		}
	}
}
