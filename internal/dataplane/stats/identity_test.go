// SPDX-License-Identifier: Apache-2.0

package stats_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

const (
	selected = iota
	live
	delivered
	droppedTimeout
	droppedReset
)

var mirror = &stats.Kind{
	Labels: []string{"mirror"},
	Metrics: []stats.Metric{
		{Name: "umbra_mirror_selected_total", Help: "Selected."},
		{Name: "umbra_mirror_live", Help: "Live.", Type: stats.Gauge},
		{Name: "umbra_mirror_delivered_total", Help: "Delivered."},
		{Name: "umbra_mirror_dropped_total", Help: "Dropped.", Labels: [][2]string{{"cause", "timeout"}}},
		{Name: "umbra_mirror_dropped_total", Help: "Dropped.", Labels: [][2]string{{"cause", "reset"}}},
	},
}

// Each worker breaks the identity between two of its counts all the time, and restores it before the turn's end.
func TestIdentityHoldsInEverySnapshotWithWritersAtFullSpeed(t *testing.T) {
	const workers, snapshots = 2, 1000
	r := stats.NewRegistry(workers)
	sets := []*stats.Set{r.Set(mirror, "a"), r.Set(mirror, "b")}
	reg := prometheus.NewRegistry()
	reg.MustRegister(r)

	var stop atomic.Bool
	var turns atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for !stop.Load() {
				for range 1 + rnd.IntN(8) {
					b := sets[rnd.IntN(len(sets))].Block(w)
					b.Inc(selected)
					if rnd.IntN(4) == 0 {
						b.Inc(live)
					} else {
						b.Inc(delivered + rnd.IntN(3))
					}
					if b.Get(live) > 0 && rnd.IntN(4) == 0 {
						b.Add(live, -1)
						b.Inc(delivered + rnd.IntN(3))
					}
					if rnd.IntN(64) == 0 {
						b.Code(100 + rnd.IntN(900))
					}
				}
				r.Publish(w)
				turns.Add(1)
			}
		})
	}
	check := func(from string, n func(int) int64) {
		want := n(delivered) + n(droppedTimeout) + n(droppedReset) + n(live)
		if n(selected) != want {
			t.Errorf("%s: selected %d, delivered + dropped + live %d", from, n(selected), want)
		}
	}
	for i := 0; i < snapshots && !t.Failed(); i++ {
		for _, s := range sets {
			check("Sum", s.Sum().Get)
		}
		if i%20 != 0 {
			continue
		}
		families, err := reg.Gather()
		if err != nil {
			t.Error(err)
			break
		}
		got := map[string]*[droppedReset + 1]int64{"a": {}, "b": {}}
		for _, f := range families {
			for _, m := range f.Metric {
				into := &[droppedReset + 1]int64{}
				cause := ""
				for _, l := range m.Label {
					if l.GetName() == "mirror" {
						into = got[l.GetValue()]
					} else {
						cause = l.GetValue()
					}
				}
				switch f.GetName() + cause {
				case "umbra_mirror_selected_total":
					into[selected] = int64(m.Counter.GetValue())
				case "umbra_mirror_live":
					into[live] = int64(m.Gauge.GetValue())
				case "umbra_mirror_delivered_total":
					into[delivered] = int64(m.Counter.GetValue())
				case "umbra_mirror_dropped_totaltimeout":
					into[droppedTimeout] = int64(m.Counter.GetValue())
				case "umbra_mirror_dropped_totalreset":
					into[droppedReset] = int64(m.Counter.GetValue())
				}
			}
		}
		for _, counts := range got {
			check("Gather", func(i int) int64 { return counts[i] })
		}
	}
	stop.Store(true)
	wg.Wait()
	if turns.Load() == 0 || sets[0].Sum().Get(selected) == 0 {
		t.Error("the writers counted nothing")
	}
	for _, s := range sets {
		check("after the end", s.Sum().Get)
	}
}

func TestSetsComeAndGoWhileWorkersCountAndPublish(t *testing.T) {
	r := stats.NewRegistry(1)
	kept := r.Set(mirror, "kept")
	handed := make(chan *stats.Block, 1)
	done := make(chan int64)
	go func() {
		var n int64
		for b := range handed {
			for range 10 {
				b.Inc(selected)
				kept.Block(0).Inc(selected)
				n++
			}
			r.Publish(0)
		}
		done <- n
	}()
	for range 500 {
		s := r.Set(mirror, "passing")
		handed <- s.Block(0)
		s.Sum()
		s.Release()
	}
	close(handed)
	n := <-done
	if got := kept.Sum().Get(selected); got != n {
		t.Errorf("kept %d counts, want %d", got, n)
	}
}
