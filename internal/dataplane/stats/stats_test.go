// SPDX-License-Identifier: Apache-2.0

package stats_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"go.uber.org/goleak"

	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	total = iota
	active
)

var cluster = &stats.Kind{
	Labels: []string{"cluster_name"},
	Metrics: []stats.Metric{
		{Name: "envoy_cluster_upstream_rq_total", Help: "Requests."},
		{Name: "envoy_cluster_upstream_rq_active", Help: "Requests in flight.", Type: stats.Gauge},
	},
	Histograms: []stats.Histogram{
		{Name: "envoy_cluster_upstream_rq_time", Help: "Milliseconds.", Buckets: []float64{1, 10}},
	},
	Codes: "envoy_cluster_upstream_rq",
}

// exposition compares what Prometheus would read from r.
func exposition(t *testing.T, r *stats.Registry, want string) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(r)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&got, f); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got.String())); diff != "" {
		t.Errorf("exposition (-want +got):\n%s", diff)
	}
}

func TestSetsAreExposedAsSumsOverWorkersUnderIstiosLabels(t *testing.T) {
	r := stats.NewRegistry(2)
	s := r.Set(cluster, "outbound|80||b")
	a, b := s.Block(0), s.Block(1)
	a.Add(total, 3)
	a.Inc(active)
	b.Inc(total)
	b.Add(active, -1) // begun on one worker's count, never below zero in the sum
	b.Inc(active)
	for _, status := range []int{200, 200, 503} {
		a.Code(status)
	}
	b.Code(204)
	a.Observe(0, 1)
	a.Observe(0, 1.5)
	b.Observe(0, 50)
	b.Observe(0, math.NaN())
	r.Publish(0)
	r.Publish(1)
	exposition(t, r, `
# HELP envoy_cluster_upstream_rq Answers by status, and by class of status.
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{cluster_name="outbound|80||b",response_code="200"} 2
envoy_cluster_upstream_rq{cluster_name="outbound|80||b",response_code="204"} 1
envoy_cluster_upstream_rq{cluster_name="outbound|80||b",response_code_class="2xx"} 3
envoy_cluster_upstream_rq{cluster_name="outbound|80||b",response_code="503"} 1
envoy_cluster_upstream_rq{cluster_name="outbound|80||b",response_code_class="5xx"} 1
# HELP envoy_cluster_upstream_rq_active Requests in flight.
# TYPE envoy_cluster_upstream_rq_active gauge
envoy_cluster_upstream_rq_active{cluster_name="outbound|80||b"} 1
# HELP envoy_cluster_upstream_rq_time Milliseconds.
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{cluster_name="outbound|80||b",le="1"} 1
envoy_cluster_upstream_rq_time_bucket{cluster_name="outbound|80||b",le="10"} 2
envoy_cluster_upstream_rq_time_bucket{cluster_name="outbound|80||b",le="+Inf"} 3
envoy_cluster_upstream_rq_time_sum{cluster_name="outbound|80||b"} 52.5
envoy_cluster_upstream_rq_time_count{cluster_name="outbound|80||b"} 3
# HELP envoy_cluster_upstream_rq_total Requests.
# TYPE envoy_cluster_upstream_rq_total counter
envoy_cluster_upstream_rq_total{cluster_name="outbound|80||b"} 4
`)
}

func TestUnpublishedCountsAreSeenByTheirWorkerAlone(t *testing.T) {
	r := stats.NewRegistry(1)
	s := r.Set(cluster, "c")
	b := s.Block(0)
	b.Inc(total)
	b.Code(200)
	b.Observe(0, 5)
	if got := b.Get(total); got != 1 {
		t.Errorf("the worker sees %d, want 1", got)
	}
	before := s.Sum()
	count, _ := before.Observed(0)
	if before.Get(total) != 0 || before.Code(200) != 0 || count != 0 {
		t.Errorf("a reader sees total %d, 200s %d, observed %d before Publish", before.Get(total), before.Code(200), count)
	}
	r.Publish(0)
	after := s.Sum()
	count, sum := after.Observed(0)
	if after.Get(total) != 1 || after.Code(200) != 1 || count != 1 || sum != 5 {
		t.Errorf("a reader sees total %d, 200s %d, observed %d sum %g after Publish",
			after.Get(total), after.Code(200), count, sum)
	}
	if before.Get(total) != 0 {
		t.Error("an old snapshot changed")
	}
}

func TestCodesAreListedInOrderAndOnlyStatusesCount(t *testing.T) {
	r := stats.NewRegistry(2)
	s := r.Set(cluster, "c")
	for _, status := range []int{503, 999, 100, 503, 99, 1000, 0, -1} {
		s.Block(0).Code(status)
	}
	s.Block(1).Code(200)
	r.Publish(0)
	r.Publish(1)
	snap := s.Sum()
	if diff := cmp.Diff([]int{100, 200, 503, 999}, snap.Codes()); diff != "" {
		t.Error(diff)
	}
	if snap.Code(503) != 2 || snap.Code(404) != 0 {
		t.Errorf("503: %d, 404: %d", snap.Code(503), snap.Code(404))
	}
}

func TestEveryStatusHasItsOwnCount(t *testing.T) {
	r := stats.NewRegistry(1)
	s := r.Set(cluster, "c")
	for status := 100; status <= 999; status++ {
		for range status % 7 {
			s.Block(0).Code(status)
		}
		r.Publish(0)
	}
	snap := s.Sum()
	for status := 100; status <= 999; status++ {
		if got := snap.Code(status); got != int64(status%7) {
			t.Fatalf("%d counted %d times, want %d", status, got, status%7)
		}
	}
}

func TestAKindWithoutCodesCountsNone(t *testing.T) {
	k := &stats.Kind{Metrics: []stats.Metric{{Name: "x_total"}}}
	r := stats.NewRegistry(1)
	s := r.Set(k)
	s.Block(0).Code(200)
	s.Block(0).Inc(0)
	r.Publish(0)
	if got := s.Sum().Codes(); len(got) != 0 {
		t.Errorf("codes %v", got)
	}
	exposition(t, r, "# HELP x_total \n# TYPE x_total counter\nx_total 1\n")
}

func TestSameKindAndValuesAreTheSameSetUntilTheLastRelease(t *testing.T) {
	r := stats.NewRegistry(1)
	first, second := r.Set(cluster, "c"), r.Set(cluster, "c")
	if first != second {
		t.Fatal("two Sets for the same values")
	}
	if r.Set(cluster, "d") == first {
		t.Fatal("one Set for different values")
	}
	b := first.Block(0)
	b.Inc(total)
	first.Release()
	r.Publish(0)
	if got := r.Set(cluster, "c").Sum().Get(total); got != 1 {
		t.Errorf("count %d after one of two releases, want 1", got)
	}
	second.Release()
	second.Release() // the reference of the line above
	b.Inc(total)     // late: harmless, unseen
	r.Publish(0)
	reg := prometheus.NewRegistry()
	reg.MustRegister(r)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if len(f.Metric) != 1 || f.Metric[0].Label[0].GetValue() != "d" {
			t.Errorf("%s: %v left, want d's only", f.GetName(), f.Metric)
		}
	}
	if got := r.Set(cluster, "c").Sum().Get(total); got != 0 {
		t.Errorf("a new Set starts at %d", got)
	}
}

func TestValuesCannotCollideOrSpoilAScrape(t *testing.T) {
	k := &stats.Kind{Labels: []string{"a", "b"}, Metrics: []stats.Metric{{Name: "x_total", Help: "X."}}}
	r := stats.NewRegistry(1)
	sets := map[*stats.Set]bool{}
	for _, v := range [][]string{{"1:", "2"}, {"1", ":2"}, {"", "1:2"}, {"only"}, {"\xff", "x"}} {
		sets[r.Set(k, v...)] = true
	}
	if len(sets) != 5 {
		t.Errorf("%d sets, want 5", len(sets))
	}
	if r.Set(k, "\xfe", "x") != r.Set(k, "\uFFFD", "x") {
		t.Error("values that are exposed alike are not one Set")
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(r)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || len(families[0].Metric) != 5 {
		t.Errorf("gathered %v, %v", families, err)
	}
}

func TestMetricsOfOneNameShareTheFirstHelp(t *testing.T) {
	k := &stats.Kind{Metrics: []stats.Metric{
		{Name: "x_total", Help: "X.", Labels: [][2]string{{"cause", "timeout"}}},
		{Name: "x_total", Help: "", Labels: [][2]string{{"cause", "reset"}}},
	}}
	r := stats.NewRegistry(1)
	s := r.Set(k)
	s.Block(0).Inc(1)
	r.Publish(0)
	exposition(t, r, `
# HELP x_total X.
# TYPE x_total counter
x_total{cause="reset"} 1
x_total{cause="timeout"} 0
`)
}

func TestAnImpossibleMetricFailsTheScrapeWithItsName(t *testing.T) {
	k := &stats.Kind{Metrics: []stats.Metric{{Name: "x_total", Labels: [][2]string{{"bad-\xff", "v"}}}}}
	r := stats.NewRegistry(1)
	r.Set(k)
	reg := prometheus.NewRegistry()
	reg.MustRegister(r)
	if _, err := reg.Gather(); err == nil || !strings.Contains(err.Error(), "bad-") {
		t.Errorf("error %v, want one naming the label", err)
	}
}

func TestCountingAndPublishingAllocateNothing(t *testing.T) {
	r := stats.NewRegistry(1)
	s := r.Set(cluster, "c")
	other := r.Set(cluster, "d").Block(0)
	b := s.Block(0)
	turn := func() {
		b.Inc(total)
		b.Add(active, 1)
		b.Code(200)
		b.Observe(0, 3.5)
		other.Inc(total)
		r.Publish(0)
	}
	turn()
	if n := testing.AllocsPerRun(1000, turn); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
}

func BenchmarkTurn(b *testing.B) {
	r := stats.NewRegistry(1)
	blk := r.Set(cluster, "c").Block(0)
	b.ReportAllocs()
	for b.Loop() {
		blk.Inc(total)
		blk.Code(200)
		blk.Observe(0, 3.5)
		r.Publish(0)
	}
}

func BenchmarkInc(b *testing.B) {
	blk := stats.NewRegistry(1).Set(cluster, "c").Block(0)
	for b.Loop() {
		blk.Inc(total)
	}
}

func TestHistogramsOfOneKindAreApart(t *testing.T) {
	k := &stats.Kind{
		Metrics: []stats.Metric{{Name: "x_total"}},
		Histograms: []stats.Histogram{
			{Name: "a", Buckets: []float64{1, 2, 3}}, {Name: "b"}, {Name: "c", Buckets: []float64{10}},
		},
		Codes: "codes",
	}
	r := stats.NewRegistry(2)
	s := r.Set(k)
	for w := range 2 {
		b := s.Block(w)
		b.Inc(0)
		for h, values := range [][]float64{{1, 2.5, 4}, {7, -1}, {10, 11, 12, math.Inf(1)}} {
			for _, v := range values {
				b.Observe(h, v)
			}
		}
		b.Code(200)
		r.Publish(w)
	}
	snap := s.Sum()
	for h, want := range []struct {
		count uint64
		sum   float64
	}{{6, 15}, {4, 12}, {8, math.Inf(1)}} {
		if count, sum := snap.Observed(h); count != want.count || sum != want.sum {
			t.Errorf("histogram %d: %d values, sum %g; want %d, %g", h, count, sum, want.count, want.sum)
		}
	}
	if snap.Get(0) != 2 || snap.Code(200) != 2 {
		t.Errorf("metric %d, code %d", snap.Get(0), snap.Code(200))
	}
	exposition(t, r, `
# HELP a 
# TYPE a histogram
a_bucket{le="1"} 2
a_bucket{le="2"} 2
a_bucket{le="3"} 4
a_bucket{le="+Inf"} 6
a_sum 15
a_count 6
# HELP b 
# TYPE b histogram
b_bucket{le="+Inf"} 4
b_sum 12
b_count 4
# HELP c 
# TYPE c histogram
c_bucket{le="10"} 2
c_bucket{le="+Inf"} 8
c_sum +Inf
c_count 8
# HELP codes Answers by status, and by class of status.
# TYPE codes counter
codes{response_code="200"} 2
codes{response_code_class="2xx"} 2
# HELP x_total 
# TYPE x_total counter
x_total 2
`)
}
