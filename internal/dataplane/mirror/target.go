// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"runtime"
	"sync/atomic"
	"time"
	"weak"

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

	index int // no other target's that is there

	inFlight  atomic.Int64 // copies with the target or in line
	places    atomic.Int64 // of these, the ones with it
	streaming atomic.Int64 // of these, the ones whose request was not complete when they began
	held      atomic.Int64 // bytes that its copies hold; a chunk that several hold counts for each

	failures atomic.Int32 // connects in a row
	retryAt  atomic.Int64 // Local.time before which nobody dials
	panics   atomic.Int32
}

// Target returns the live state for copies to a cluster: the same one for the same slot as long as anybody has it, be
// it a policy in force or a copy under way. With the last of them it goes, its back-off and its panics too.
func (e *Engine) Target(slot *upstream.Slot) *Target {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := weak.Make(slot)
	if t := e.targets[key].Value(); t != nil {
		return t
	}
	t := &Target{slot: slot, engine: e, index: e.indexes}
	if n := len(e.spare); n > 0 {
		t.index, e.spare = e.spare[n-1], e.spare[:n-1]
	} else {
		e.indexes++
	}
	e.targets[key] = weak.Make(t)
	runtime.AddCleanup(t, func(index int) { e.dropTarget(key, index) }, t.index)
	return t
}

// dropTarget forgets a target that was collected. No copy was in its lanes any more: another may have its index.
func (e *Engine) dropTarget(key weak.Pointer[upstream.Slot], index int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spare = append(e.spare, index)
	if e.targets[key].Value() == nil { // else it was asked for again
		delete(e.targets, key)
	}
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
