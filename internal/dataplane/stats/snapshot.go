// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"math"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Snapshot is a Set's published sums over the workers. It is the reader's own.
type Snapshot struct {
	set     *Set
	metrics []int64
	buckets []uint64  // of all histograms, not cumulative, +Inf last in each
	sums    []float64 // of each histogram
	codes   map[int]int64
}

// Sum reads each worker's block as it was at the end of a turn of that worker, and adds them up.
func (s *Set) Sum() Snapshot {
	sc := s.schema
	out := Snapshot{set: s, metrics: make([]int64, len(sc.metrics)), sums: make([]float64, len(sc.hists))}
	if n := sc.size - len(sc.metrics) - len(sc.hists); n > 0 {
		out.buckets = make([]uint64, n)
	}
	// Room made before the lock is taken, for what a cluster usually answers with.
	values := make([]int64, 0, sc.size+32)
	codes := make([]uint16, 0, 32)
	for _, b := range s.blocks {
		b.shard.mu.Lock()
		values = append(values[:0], b.published...)
		codes = append(codes[:0], b.publishedCodes...)
		b.shard.mu.Unlock()
		out.add(values, codes)
	}
	return out
}

// add adds one block's values.
func (n *Snapshot) add(values []int64, codes []uint16) {
	sc := n.set.schema
	for i := range n.metrics {
		n.metrics[i] += values[i]
	}
	at := 0
	for i, h := range sc.hists {
		for j := range len(h.buckets) + 1 {
			n.buckets[at] += uint64(values[h.at+j])
			at++
		}
		n.sums[i] += math.Float64frombits(uint64(values[h.at+len(h.buckets)+1]))
	}
	if n.codes == nil && len(codes) > 0 {
		n.codes = make(map[int]int64, len(codes))
	}
	for i, c := range codes {
		n.codes[int(c)] += values[sc.size+i]
	}
}

// Get returns metric i of the kind.
func (n Snapshot) Get(i int) int64 { return n.metrics[i] }

// Code returns the answers counted with that status.
func (n Snapshot) Code(status int) int64 { return n.codes[status] }

// Codes returns the statuses seen, ascending.
func (n Snapshot) Codes() []int {
	out := make([]int, 0, len(n.codes))
	for c := range n.codes {
		out = append(out, c)
	}
	slices.Sort(out)
	return out
}

// Observed returns how many values histogram h of the kind was given, and their sum.
func (n Snapshot) Observed(h int) (count uint64, sum float64) {
	_, count = n.cumulative(h)
	return count, n.sums[h]
}

// cumulative returns histogram h as Prometheus wants it: for each bound what is at or below it, and the count of all.
func (n Snapshot) cumulative(h int) (le map[float64]uint64, count uint64) {
	at := 0
	for _, before := range n.set.schema.hists[:h] {
		at += len(before.buckets) + 1
	}
	bounds := n.set.schema.hists[h].buckets
	le = make(map[float64]uint64, len(bounds))
	for i, bound := range bounds {
		count += n.buckets[at+i]
		le[bound] = count
	}
	return le, count + n.buckets[at+len(bounds)]
}

// collect sends every series of the snapshot.
func (n Snapshot) collect(ch chan<- prometheus.Metric) {
	sc, values := n.set.schema, n.set.values
	send := func(desc *prometheus.Desc, m prometheus.Metric, err error) {
		if err != nil {
			m = prometheus.NewInvalidMetric(desc, err) // fails the scrape with the reason, never the process
		}
		ch <- m
	}
	for i, desc := range sc.metrics {
		kind := prometheus.CounterValue
		if sc.kind.Metrics[i].Type == Gauge {
			kind = prometheus.GaugeValue
		}
		m, err := prometheus.NewConstMetric(desc, kind, float64(n.metrics[i]), values...)
		send(desc, m, err)
	}
	for i, h := range sc.hists {
		le, count := n.cumulative(i)
		m, err := prometheus.NewConstHistogram(h.desc, count, n.sums[i], le, values...)
		send(h.desc, m, err)
	}
	var classes [(maxStatus + 1) / 100]int64
	for _, status := range n.Codes() {
		count := n.codes[status]
		classes[status/100] += count
		m, err := prometheus.NewConstMetric(sc.code, prometheus.CounterValue, float64(count),
			append(slices.Clone(values), strconv.Itoa(status))...)
		send(sc.code, m, err)
	}
	for class, count := range classes {
		if count == 0 {
			continue
		}
		m, err := prometheus.NewConstMetric(sc.codeClass, prometheus.CounterValue, float64(count),
			append(slices.Clone(values), strconv.Itoa(class)+"xx")...)
		send(sc.codeClass, m, err)
	}
}
