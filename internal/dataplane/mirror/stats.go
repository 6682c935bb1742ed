// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"sync/atomic"

	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

// What is counted for one mirror. eligible = skipped + selected + not drawn; the identity of promise 2 holds among
// selected, delivered, dropped and live.
const (
	statEligible = iota
	statSkippedOff
	statSkippedUpgrade
	statSkippedHeader
	statSelected
	statSent
	statDelivered
	statLive
	statDropped // + Cause - 1
)

// Histogram indexes.
const histTime = 0

var mirrorStats = func() *stats.Kind {
	k := &stats.Kind{
		Labels: []string{"mirror", "cluster_name"},
		Metrics: []stats.Metric{
			statEligible: {
				Name: "umbra_mirror_eligible_total", Help: "Requests that matched the mirror policy.", Type: stats.Counter,
			},
			statSkippedOff: {
				Name: "umbra_mirror_skipped_total", Help: "Eligible requests not considered for a copy.", Type: stats.Counter,
				Labels: [][2]string{{"reason", "off"}},
			},
			statSkippedUpgrade: {
				Name: "umbra_mirror_skipped_total", Help: "Eligible requests not considered for a copy.", Type: stats.Counter,
				Labels: [][2]string{{"reason", "upgrade"}},
			},
			statSkippedHeader: {
				Name: "umbra_mirror_skipped_total", Help: "Eligible requests not considered for a copy.", Type: stats.Counter,
				Labels: [][2]string{{"reason", "cluster_header"}},
			},
			statSelected: {
				Name: "umbra_mirror_selected_total", Help: "Copies begun: requests the draw chose.", Type: stats.Counter,
			},
			statSent:      {Name: "umbra_mirror_sent_total", Help: "Copies whose last byte was written.", Type: stats.Counter},
			statDelivered: {Name: "umbra_mirror_delivered_total", Help: "Copies sent whole and answered.", Type: stats.Counter},
			statLive:      {Name: "umbra_mirror_live", Help: "Copies not ended yet.", Type: stats.Gauge},
		},
		Histograms: []stats.Histogram{{
			Name: "umbra_mirror_time", Help: "Milliseconds from a copy's start to its answer's end, delivered copies only.",
			Buckets: []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 15000},
		}},
		Codes: "umbra_mirror_rq",
	}
	for c := dropConnect; c < causes; c++ {
		k.Metrics = append(k.Metrics, stats.Metric{
			Name: "umbra_mirror_dropped_total", Help: "Copies not delivered, by the first cause.", Type: stats.Counter,
			Labels: [][2]string{{"cause", c.String()}},
		})
	}
	return k
}()

type statsKey struct{ id, cluster string }

// Stats counts one mirror, by its id and target cluster.
type Stats struct {
	ID      string
	Cluster string
	set     *stats.Set
	retired uint64      // guarded by Engine.mu: changes with each retirement and each return
	told    atomic.Bool // that upgrades are not mirrored
}

// Stats returns the counters of a mirror; the same ones for the same names.
func (e *Engine) Stats(id, cluster string) *Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	k := statsKey{id, cluster}
	s := e.stats[k]
	if s == nil {
		s = &Stats{ID: id, Cluster: cluster, set: e.cfg.Registry.Set(mirrorStats, id, cluster)}
		e.stats[k] = s
	}
	s.retired++ // not while it is in use again
	return s
}

// Counts is one published snapshot of a mirror.
type Counts struct {
	Eligible, Selected, Sent, Delivered, Live int64
	Skipped                                   int64
	Dropped                                   map[string]int64 // causes that occurred
}

// Counts sums what the workers published last.
func (s *Stats) Counts() Counts {
	sum := s.set.Sum()
	c := Counts{
		Eligible: sum.Get(statEligible),
		Skipped:  sum.Get(statSkippedOff) + sum.Get(statSkippedUpgrade) + sum.Get(statSkippedHeader),
		Selected: sum.Get(statSelected), Sent: sum.Get(statSent), Delivered: sum.Get(statDelivered), Live: sum.Get(statLive),
		Dropped: map[string]int64{},
	}
	for cause := dropConnect; cause < causes; cause++ {
		if n := sum.Get(statDropped + int(cause) - 1); n != 0 {
			c.Dropped[cause.String()] = n
		}
	}
	return c
}
