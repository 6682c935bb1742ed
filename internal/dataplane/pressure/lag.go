// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"sync/atomic"
	"time"
)

// Poster is a worker: what is posted runs in its next turn, or never if it reports false.
type Poster interface{ Post(fn func()) bool }

// Lag returns a function for Resource.Read: how long the slowest worker takes to come to what is posted to it, in
// seconds. Of two looks in a row the lower counts: one long turn is no overload.
func Lag[W Poster](workers []W) func() float64 {
	probes := make([]probe, len(workers))
	return func() (most float64) {
		now := time.Now()
		for i, w := range workers {
			most = max(most, probes[i].look(w, now).Seconds())
		}
		return most
	}
}

// probe is what was posted last to one worker.
type probe struct {
	posted time.Time
	took   atomic.Int64 // ns; 0 while it has not run
	last   time.Duration
}

// look returns the lower of the last two delays, and posts anew if the last post has run.
func (p *probe) look(w Poster, now time.Time) time.Duration {
	delay := time.Duration(0)
	if !p.posted.IsZero() {
		if delay = time.Duration(p.took.Load()); delay == 0 {
			delay = now.Sub(p.posted)
		} else {
			p.posted = time.Time{}
		}
	}
	if p.posted.IsZero() {
		p.took.Store(0)
		p.posted = now
		if posted := now; !w.Post(func() { p.took.Store(max(int64(time.Since(posted)), 1)) }) {
			p.posted, delay = time.Time{}, 0 // it has ended
		}
	}
	low := min(delay, p.last)
	p.last = delay
	return low
}
