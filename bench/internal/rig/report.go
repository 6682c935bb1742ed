// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/process"
)

// Report is what a bench found.
type Report struct {
	cfg      Config
	versions []string
	rows     []*row
}

// row is one case through one proxy: a sample for each round.
type row struct {
	c       Case
	proxy   string
	samples []sample
}

func (r *Report) add(c Case, proxy string, s sample) {
	if w := r.row(c.Name, proxy); w != nil {
		w.samples = append(w.samples, s)
		return
	}
	r.rows = append(r.rows, &row{c: c, proxy: proxy, samples: []sample{s}})
}

func (r *Report) row(name, proxy string) *row {
	for _, w := range r.rows {
		if w.c.Name == name && w.proxy == proxy {
			return w
		}
	}
	return nil
}

// Valid reports whether every row is.
func (r *Report) Valid() bool {
	return !slices.ContainsFunc(r.rows, func(w *row) bool { return len(w.faults()) > 0 })
}

// faults are those of all rounds.
func (w *row) faults() []string {
	var faults []string
	for _, s := range w.samples {
		faults = append(faults, s.Faults...)
	}
	return faults
}

// Write prints the machine, the settings and the table as Markdown.
func (r *Report) Write(out io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s. %s.\nMedians of %d rounds of %s, proxies in turn; load, upstreams and proxy share the machine: "+
		"compare within this table only.\n\n", process.Machine(), strings.Join(append(r.versions, runtime.Version()), ", "),
		r.cfg.Rounds, r.cfg.Span)
	b.WriteString("| case | proxy | CPU us/request | min..max | x nginx | x relay | us - before | requests/s | p50 us |" +
		" p99 us | RSS MB | copies | valid |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n")
	for _, c := range r.cfg.Cases {
		for _, name := range allProxies {
			if w := r.row(c.Name, name); w != nil {
				w.write(&b, r.row(c.Name, Nginx), r.row(c.Name, Relay), r.row(c.Name, Before))
			}
		}
	}
	_, err := out.Write(b.Bytes())
	return err
}

func (w *row) write(b *bytes.Buffer, nginx, relay, before *row) {
	cpu := column(w.samples, func(s sample) time.Duration { return s.CPU })
	share, valid := "-", "yes"
	if w.c.Mirror {
		share = fmt.Sprintf("%.4f", column(w.samples, func(s sample) float64 { return s.Share })[0])
	}
	if faults := w.faults(); len(faults) > 0 {
		valid = fmt.Sprintf("**NO**: %s (%d faults)", faults[0], len(faults))
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s..%s | %s | %s | %s | %.0f | %s | %s | %d | %s | %s |\n", w.c.Title,
		w.proxy, micros(median(cpu)), micros(cpu[0]), micros(cpu[len(cpu)-1]), ratio(w, nginx), ratio(w, relay),
		surplus(w, before),
		median(column(w.samples, func(s sample) float64 { return s.Rate })),
		micros(median(column(w.samples, func(s sample) time.Duration { return s.P50 }))),
		micros(median(column(w.samples, func(s sample) time.Duration { return s.P99 }))),
		median(column(w.samples, func(s sample) int64 { return s.RSS }))>>20, share, valid)
}

// ratio is the median of the rounds' own ratios of CPU a request: both parts of one were measured within seconds.
func ratio(w, to *row) string {
	if to == nil || len(to.samples) != len(w.samples) {
		return "-"
	}
	ratios := make([]float64, len(w.samples))
	for i := range ratios {
		if to.samples[i].CPU == 0 {
			return "-" // the run was shorter than a clock tick
		}
		ratios[i] = float64(w.samples[i].CPU) / float64(to.samples[i].CPU)
	}
	slices.Sort(ratios)
	return fmt.Sprintf("%.2f", median(ratios))
}

// surplus is the median of what a request through Umbra cost more in each round than through the older one.
func surplus(w, before *row) string {
	if before == nil || w.proxy != Umbra || len(before.samples) != len(w.samples) {
		return "-"
	}
	more := make([]time.Duration, len(w.samples))
	for i := range more {
		more[i] = w.samples[i].CPU - before.samples[i].CPU
	}
	slices.Sort(more)
	return fmt.Sprintf("%+.1f", float64(median(more))/float64(time.Microsecond))
}

// column returns one figure of every sample in ascending order.
func column[T cmp.Ordered](samples []sample, of func(sample) T) []T {
	c := make([]T, len(samples))
	for i, s := range samples {
		c[i] = of(s)
	}
	slices.Sort(c)
	return c
}

// median of values in ascending order; of an even number of them, the mean of the middle two.
func median[T int64 | float64 | time.Duration](sorted []T) T {
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

func micros(d time.Duration) string {
	us := float64(d) / float64(time.Microsecond)
	if us < 100 {
		return fmt.Sprintf("%.1f", us)
	}
	return fmt.Sprintf("%.0f", us)
}
