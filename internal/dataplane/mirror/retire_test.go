// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

func TestRetiredCountersEndAWhileLaterUnlessTheyAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEngine(Config{Registry: stats.NewRegistry(1)})
		gone, back := e.Stats("gone", "b"), e.Stats("back", "b")
		e.Retire(gone)
		e.Retire(back)
		<-time.After(retireAfter / 2)
		if e.Stats("back", "b") != back {
			t.Error("counters that are used again are others")
		}
		<-time.After(retireAfter)
		if e.Stats("back", "b") != back {
			t.Error("counters in use have ended")
		}
		if e.Stats("gone", "b") == gone {
			t.Error("retired counters have not ended")
		}
	})
}

func TestRetiredCountersWaitForTheirCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := stats.NewRegistry(1)
		e := NewEngine(Config{Registry: r})
		s := e.Stats("a", "b")
		s.set.Block(0).Add(statLive, 1)
		r.Publish(0)
		e.Retire(s)
		<-time.After(3 * retireAfter)
		e.mu.Lock()
		held := e.stats[statsKey{"a", "b"}]
		e.mu.Unlock()
		if held != s {
			t.Fatal("counters of a copy under way have ended")
		}
		s.set.Block(0).Add(statLive, -1)
		r.Publish(0)
		<-time.After(2 * retireAfter)
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.stats) != 0 {
			t.Error("the counters stay after the copy")
		}
	})
}
