// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Type tells how a metric is exposed.
type Type uint8

// The types of a Metric. Both are sums over the workers; a gauge may fall.
const (
	Counter Type = iota
	Gauge
)

// Metric is one number of a Kind. Several may share a name and differ in Labels; the help of the first one that a
// registry sees under a name is used for all of them.
type Metric struct {
	Name, Help string
	Type       Type
	Labels     [][2]string // constant labels, e.g. {"cause", "timeout"}
}

// Histogram is one distribution of a Kind. Buckets are upper bounds, ascending, without +Inf.
type Histogram struct {
	Name, Help string
	Buckets    []float64
}

// Kind declares the numbers of one sort of thing (a cluster, a listener, a mirror). It is declared once, as a package
// variable, and never written to after its first use; it is identified by its address.
type Kind struct {
	Labels     []string // names of the labels whose values a Set has
	Metrics    []Metric
	Histograms []Histogram

	// Codes, unless empty, counts final answers by status under that name, each twice as Istio's tags have it: by
	// {response_code="200"} and by {response_code_class="2xx"}. Statuses not seen yet have no series.
	Codes string
}

// Milliseconds is the bucket list of a duration histogram in ms: Envoy's default one.
var Milliseconds = []float64{
	0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
}

// schema is a Kind as a registry uses it: ready descriptions, and where each part is in a block's values.
//
// A block's values are: one for each metric; then for each histogram a count for each bucket, one for what is above
// all of them, and the sum as float64 bits; then one for each status seen, in order of appearance.
type schema struct {
	kind      *Kind
	metrics   []*prometheus.Desc
	hists     []histogram
	code      *prometheus.Desc
	codeClass *prometheus.Desc
	size      int // values without the statuses
}

type histogram struct {
	desc    *prometheus.Desc
	buckets []float64
	at      int // first bucket's value; the sum is at at+len(buckets)+1
}

// newSchema lays k out. help gives the text in force for a name.
func newSchema(k *Kind, help func(name, text string) string) *schema {
	s := &schema{kind: k, size: len(k.Metrics)}
	for _, m := range k.Metrics {
		var constant prometheus.Labels
		if len(m.Labels) > 0 {
			constant = make(prometheus.Labels, len(m.Labels))
			for _, l := range m.Labels {
				constant[l[0]] = l[1]
			}
		}
		s.metrics = append(s.metrics, prometheus.NewDesc(m.Name, help(m.Name, m.Help), k.Labels, constant))
	}
	for _, h := range k.Histograms {
		s.hists = append(s.hists, histogram{
			desc:    prometheus.NewDesc(h.Name, help(h.Name, h.Help), k.Labels, nil),
			buckets: h.Buckets,
			at:      s.size,
		})
		s.size += len(h.Buckets) + 2
	}
	if k.Codes != "" {
		with := func(label string) []string { return append(append([]string(nil), k.Labels...), label) }
		text := help(k.Codes, "Answers by status, and by class of status.")
		s.code = prometheus.NewDesc(k.Codes, text, with("response_code"), nil)
		s.codeClass = prometheus.NewDesc(k.Codes, text, with("response_code_class"), nil)
	}
	return s
}
