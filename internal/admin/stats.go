// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bufio"
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	dto "github.com/prometheus/client_model/go"
)

// stats prints every series as "name{label="value"}: number", one a line, sorted. ?filter= takes a regular expression
// that has to be found in what stands before the colon; ?usedonly leaves out zeros; ?format=prometheus goes to the
// other page. A histogram is printed as its count and sum.
func (s *server) stats(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch format := q.Get("format"); format {
	case "", "text":
	case "prometheus":
		http.Redirect(w, r, "/stats/prometheus", http.StatusFound)
		return
	default:
		http.Error(w, fmt.Sprintf("format %q: only text and prometheus are known", format), http.StatusBadRequest)
		return
	}
	filter, err := regexp.Compile(q.Get("filter"))
	if err != nil {
		http.Error(w, "Invalid regex: "+err.Error(), http.StatusBadRequest)
		return
	}
	families, err := s.Gatherer.Gather()
	if err != nil {
		s.Logger.Warn("gather metrics", "error", err)
		if len(families) == 0 {
			http.Error(w, "gather metrics: "+err.Error(), http.StatusInternalServerError)
			return
		}
	}
	text(w)
	out := bufio.NewWriter(w)
	defer func() { _ = out.Flush() }() // the reader may be gone
	p := printer{out: out, filter: filter, usedOnly: q.Has("usedonly")}
	for _, f := range families {
		for _, m := range f.Metric {
			p.metric(f.GetName(), m)
		}
	}
}

type printer struct {
	out      *bufio.Writer
	filter   *regexp.Regexp
	usedOnly bool
	series   []byte
}

func (p *printer) metric(name string, m *dto.Metric) {
	switch {
	case m.Counter != nil:
		p.line(name, m.Label, m.Counter.GetValue())
	case m.Gauge != nil:
		p.line(name, m.Label, m.Gauge.GetValue())
	case m.Histogram != nil:
		p.line(name+"_count", m.Label, float64(m.Histogram.GetSampleCount()))
		p.line(name+"_sum", m.Label, m.Histogram.GetSampleSum())
	case m.Summary != nil:
		p.line(name+"_count", m.Label, float64(m.Summary.GetSampleCount()))
		p.line(name+"_sum", m.Label, m.Summary.GetSampleSum())
	case m.Untyped != nil:
		p.line(name, m.Label, m.Untyped.GetValue())
	}
}

func (p *printer) line(name string, labels []*dto.LabelPair, value float64) {
	if p.usedOnly && value == 0 {
		return
	}
	b := append(p.series[:0], name...)
	for i, l := range labels {
		if i == 0 {
			b = append(b, '{')
		} else {
			b = append(b, ',')
		}
		b = append(append(b, l.GetName()...), '=')
		b = strconv.AppendQuote(b, l.GetValue())
	}
	if len(labels) > 0 {
		b = append(b, '}')
	}
	if p.filter.Match(b) {
		_, _ = p.out.Write(b) // an error stays in out and has no one to tell
		_, _ = p.out.WriteString(": " + strconv.FormatFloat(value, 'f', -1, 64) + "\n")
	}
	p.series = b
}
