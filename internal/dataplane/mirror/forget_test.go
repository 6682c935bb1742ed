// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"
)

// noTargets collects until the engine knows no target.
func (r *rig) noTargets() {
	r.t.Helper()
	eventually(r.t, "no target is left", func() bool {
		runtime.GC()
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		return len(r.engine.targets) == 0
	})
}

// copies sends so many copies at once by a policy, which is forgotten here.
func (r *rig) copies(p Policy, n int) {
	policies := []Policy{p}
	r.do(func() {
		for range n {
			h := head(r.t, get)
			tap := r.local.Arm(policies, &Request{Head: h, Timeout: 10 * time.Second})
			tap.Begin(h, nil, true)
			tap.End(nil)
			tap.Done(200, 0)
		}
	})
}

func TestTargetsThatNobodyNeedsAreForgottenWithTheirLanes(t *testing.T) {
	r := newRig(t, Limits{MaxInFlight: 1})
	addr := server(t, ok)
	for i := range 50 {
		name := fmt.Sprint("m", i)
		func() {
			p := r.policy(name, addr)
			r.copies(p, 4) // three wait in line
			if c := r.counts(p); c.Delivered != 4 {
				t.Fatalf("%s: %+v", name, c)
			}
		}()
		r.dir.Remove(name)
		if i%10 == 9 {
			r.noTargets()
		}
	}
	r.engine.mu.Lock()
	if n := r.engine.indexes; n > 10 {
		t.Errorf("%d indexes for 10 targets at a time", n)
	}
	r.engine.mu.Unlock()
	r.do(func() {
		for i, ln := range r.local.lanes {
			if ln != nil {
				t.Errorf("lane %d is there still", i)
			}
		}
	})
	p := r.policy("m0", addr) // a name that is back
	r.copies(p, 4)
	if c := r.counts(p); c.Delivered != 8 {
		t.Errorf("the name that is back: %+v", c)
	}
}

func TestATargetStaysAsLongAsACopyIsInLine(t *testing.T) {
	r := newRig(t, Limits{MaxInFlight: 1})
	held := make(chan struct{})
	addr := server(t, func(q *http.Request) string { <-held; return ok(q) })
	release := sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	p := r.policy("m", addr)
	r.copies(p, 3)
	stats := p.Stats // the last of the policy
	r.dir.Remove("m")
	for range 3 {
		runtime.GC()
	}
	r.engine.mu.Lock()
	n := len(r.engine.targets)
	r.engine.mu.Unlock()
	if n != 1 {
		t.Fatalf("%d targets while copies are under way", n)
	}
	back := r.policy("m", addr)
	if n := back.Target.InFlight(); n != 3 {
		t.Errorf("the target that is back has %d copies, want those under way", n)
	}
	release()
	eventually(t, "all end", func() bool { return stats.Counts().Live == 0 })
	if c := stats.Counts(); c.Delivered != 3 {
		t.Errorf("%+v", c)
	}
}

// The index of a target may be another's as soon as it is gone, while what was asked for anew has one of its own.
func TestNoTwoTargetsHaveOneIndex(t *testing.T) {
	r := newRig(t, Limits{})
	names := []string{"a", "b", "c", "d"}
	for round := range 200 {
		keep := map[int]*Target{}
		for i, name := range names {
			if (round+i)%3 == 0 {
				runtime.GC()
			}
			target := r.engine.Target(r.dir.Slot(name))
			if other := keep[target.index]; other != nil {
				t.Fatalf("round %d: %s and %s share index %d", round, name, other.Name(), target.index)
			}
			keep[target.index] = target
		}
		runtime.KeepAlive(keep)
	}
}
