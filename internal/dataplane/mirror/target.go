// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"sync/atomic"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

const (
	// After a failed connect nobody dials the target for backoffMin, doubled with each failure up to backoffMax; then
	// one copy is the probe. So a target that returns gets copies again within backoffMax and a connect.
	backoffMin = 50 * time.Millisecond
	backoffMax = time.Second
	// maxPanics of mirror code disable the target they happened for.
	maxPanics = 5
)

// Target is where the copies for one cluster name go: what all of them together may hold, and whether it can be reached.
// Shared by the workers; atomics only.
type Target struct {
	slot   *upstream.Slot
	engine *Engine

	index int // among the engine's targets

	inFlight  atomic.Int64 // copies with the target or in line
	places    atomic.Int64 // of these, the ones with it
	streaming atomic.Int64 // of these, the ones whose request was not complete when they began
	held      atomic.Int64 // bytes that its copies hold; a chunk that several hold counts for each

	failures atomic.Int32 // connects in a row
	retryAt  atomic.Int64 // Local.time before which nobody dials
	panics   atomic.Int32
}

// Name is the target's cluster name.
func (t *Target) Name() string { return t.slot.Name }

// InFlight is the number of copies that are with the target or in line now.
func (t *Target) InFlight() int { return int(t.inFlight.Load()) }

// mayDial tells whether a connection may be tried at Local.time now. While the target backs off only one copy
// in each interval may.
func (t *Target) mayDial(now int64) bool {
	failures := t.failures.Load()
	if failures == 0 {
		return true
	}
	at := t.retryAt.Load()
	return now >= at && t.retryAt.CompareAndSwap(at, now+int64(backoff(failures)))
}

func (t *Target) dialFailed(now int64) {
	t.retryAt.Store(now + int64(backoff(t.failures.Add(1))))
}

func (t *Target) dialed() {
	if t.failures.Load() != 0 {
		t.failures.Store(0)
	}
}

func backoff(failures int32) time.Duration {
	return min(backoffMin<<min(failures-1, 10), backoffMax)
}
