// SPDX-License-Identifier: Apache-2.0

package app

import (
	"flag"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	churnSeed = flag.Uint64("churn-seed", 0, "of the churn test; 0: another each time")
	churnFor  = flag.Duration("churn-for", 0, "how long the churn test goes on; 0: for so many changes as it makes at least")
)

// changes is how many the churn test makes at least.
const changes = 80

// churn is a mesh whose configuration never stays, and what was in force when.
type churn struct {
	*rig
	mu        sync.Mutex
	layouts   []layout      // guarded by mu: all that were put in force, in order
	begun     atomic.Int64  // the last of them whose reload has begun
	done      atomic.Int64  // and the last whose reload has ended
	reloading time.Duration // all that reloads took

	answered  atomic.Int64
	notFound  atomic.Int64
	unserved  atomic.Int64 // the port was gone
	aborted   atomic.Int64
	orphaned  atomic.Int64 // where they were led to was gone
	tunnelled atomic.Int64
}

// outcomes is how many requests have ended.
func (c *churn) outcomes() int64 {
	return c.answered.Load() + c.notFound.Load() + c.unserved.Load() + c.aborted.Load() + c.orphaned.Load()
}

// put has a layout in force.
func (c *churn) put(l layout) {
	c.mu.Lock()
	c.layouts = append(c.layouts, l)
	n := int64(len(c.layouts) - 1)
	c.mu.Unlock()
	c.begun.Store(n)
	began := time.Now()
	c.reload(&l)
	c.reloading += time.Since(began)
	c.done.Store(n)
}

// halfWritten reloads while the file is being written: everything stays as it is.
func (c *churn) halfWritten(l *layout, r *rand.Rand) {
	c.t.Helper()
	text := c.yaml(l)
	if err := os.WriteFile(c.file, []byte(text[:r.IntN(len(text))]+"\n- {"), 0o600); err != nil {
		c.t.Fatal(err)
	}
	var storm sync.WaitGroup
	for range 1 + r.IntN(3) {
		storm.Go(c.app.Reload)
	}
	storm.Wait()
	if len(c.app.refused()) == 0 {
		c.t.Error("half a file is served")
	}
}

// any tells whether something holds of one of the layouts that were in force since the from-th, in part or whole.
func (c *churn) any(from int64, holds func(*layout) bool) bool {
	to := c.begun.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := from; i <= to; i++ {
		if holds(&c.layouts[i]) {
			return true
		}
	}
	return false
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestEveryAnswerIsOfAConfigurationThatWasInForceWhileNoneStays(t *testing.T) {
	seed := *churnSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-churn-seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var empty layout
	empty.ports[0] = true
	c := &churn{rig: newRig(t, &empty, nil), layouts: []layout{empty}}
	c.put(empty)
	series, goroutines, files := c.series(false), runtime.NumGoroutine(), descriptors(t)

	stop := make(chan struct{})
	var users sync.WaitGroup
	for i := range 6 {
		users.Go(func() { c.user(stop, rand.New(rand.NewPCG(seed, uint64(1+i)))) })
	}
	users.Go(func() { c.slowUser(stop, rand.New(rand.NewPCG(seed, 99))) })
	users.Go(func() { c.tunneller(stop, rand.New(rand.NewPCG(seed, 100))) })
	began := time.Now()
	for now, end := empty, began.Add(*churnFor); (len(c.layouts) < changes || time.Now().Before(end)) && !t.Failed(); {
		if r.IntN(16) == 0 {
			c.halfWritten(&now, r)
		}
		now.change(r)
		c.put(now)
		goal := c.outcomes() + 3
		c.until("3 more requests have ended", func() bool { return t.Failed() || c.outcomes() >= goal })
	}
	took, n := time.Since(began), len(c.layouts)
	close(stop)
	users.Wait()
	t.Logf("%d changes, %.0f a minute; a reload took %v; %d requests answered, %d not found, %d aborted, %d at ports that "+
		"were gone, %d orphaned, %d tunnels", n, float64(n)/took.Minutes(), c.reloading/time.Duration(n),
		c.answered.Load(), c.notFound.Load(), c.aborted.Load(), c.unserved.Load(), c.orphaned.Load(), c.tunnelled.Load())
	if c.answered.Load() == 0 || c.notFound.Load() == 0 || c.unserved.Load() == 0 || c.tunnelled.Load() == 0 {
		t.Error("one of these never happened")
	}
	c.put(empty)
	c.until("every copy has ended", func() bool {
		for name, value := range c.series(true) {
			if strings.HasPrefix(name, "umbra_mirror_live ") && value != 0 {
				return false
			}
		}
		return true
	})
	c.until("no listener is draining", func() bool {
		return c.metric("envoy_listener_manager_total_listeners_draining") == 0
	})
	if late := missing(c.series(false), series); len(late) > 0 {
		t.Errorf("series of what is gone: %v", late)
	}
	c.until("descriptors are back to base", func() bool { return descriptors(t) <= files })
	c.until("goroutines are back to base", func() bool { return runtime.NumGoroutine() <= goroutines })
	c.balanced()
}

// balanced holds that every copy that was selected came to one end.
func (c *churn) balanced() {
	sums := map[string]float64{}
	for name, value := range c.series(true) {
		name, _, _ = strings.Cut(name, " ")
		sums[name] += value
	}
	selected, delivered := sums["umbra_mirror_selected_total"], sums["umbra_mirror_delivered_total"]
	dropped := sums["umbra_mirror_dropped_total"]
	if selected == 0 || delivered == 0 || selected != delivered+dropped {
		c.t.Errorf("%v copies selected, %v delivered, %v dropped", selected, delivered, dropped)
	}
}
