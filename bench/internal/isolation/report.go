// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/faulty"
	"github.com/umbra-mesh/umbra/bench/internal/process"
	"github.com/umbra-mesh/umbra/bench/internal/traffic"
)

// maxGrown is how much more memory Umbra may have resident beside an ill mirror than it had beside a healthy one.
const maxGrown = 64 << 20

// row is one fault and one proxy.
type row struct {
	traffic.Result // but for the latencies with the requests after the fault

	fault       *faulty.Fault
	proxy       string
	beyond      int64            // requests that came to the origin and no client sent
	copied      int64            // requests that the mirror read to their end during the fault
	later       int64            // the same, after it
	copiesWrong int64            // of both, not as they were sent
	dropped     map[string]int64 // by cause; Umbra alone tells
	live        int64            // copies under way after the fault
	unaccounted int64            // copies
	grown       int64            // bytes resident at most, more than beside a healthy mirror
	descriptors int              // the same
	back        time.Duration    // from the end of the fault to the next copy
	lost        bool             // none came
}

// broken tells the promises that Umbra did not keep. Others promise nothing.
func (w *row) broken() []string {
	if w.proxy != Umbra {
		return nil
	}
	var broken []string
	breaks := func(bad bool, format string, args ...any) {
		if bad {
			broken = append(broken, fmt.Sprintf(format, args...))
		}
	}
	breaks(w.Failed > 0, "%d of %d requests failed: %s", w.Failed, w.Due, strings.Join(w.Told, "; "))
	breaks(w.Wrong > 0, "%d bodies of production are wrong", w.Wrong)
	breaks(w.beyond > 0, "production got %d requests that nobody sent", w.beyond)
	breaks(w.copiesWrong > 0, "%d copies ended whole and are not what was sent", w.copiesWrong)
	breaks(w.unaccounted != 0, "%d copies are unaccounted for", w.unaccounted)
	breaks(w.grown > maxGrown, "%d MiB more are resident", w.grown>>20)
	breaks(w.lost, "no copy arrived within %s of the fault's end", backLimit)
	return broken
}

// Report is what a run found.
type Report struct {
	cfg             Config
	versions, left  []string
	load, loadAfter string
	rows            []*row
}

// Kept reports whether Umbra kept its promises.
func (r *Report) Kept() bool {
	return !slices.ContainsFunc(r.rows, func(w *row) bool { return len(w.broken()) > 0 })
}

// Write prints the machine, the settings, the table, and what was broken or left out, as Markdown.
func (r *Report) Write(out io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s. %s. Load average %s before, %s after.\n%d requests/s at fixed times for %s, %d connections, every "+
		"request mirrored.\n\n", process.Machine(), strings.Join(append(r.versions, runtime.Version()), ", "), r.load,
		r.loadAfter, r.cfg.Rate, r.cfg.Span, r.cfg.Connections)
	b.WriteString("| the mirror | proxy | p50 ms | p99 ms | max ms | errors | wrong bodies | not sent, at origin | copied |" +
		" later | dropped | RSS MiB | descriptors | back after s |\n" +
		"|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|---:|---:|\n")
	for _, w := range r.rows {
		w.write(&b)
	}
	for _, w := range r.rows {
		for _, broken := range w.broken() {
			fmt.Fprintf(&b, "\n**Umbra broke a promise**, %s: %s\n", w.fault.Title, broken)
		}
	}
	for _, left := range r.left {
		fmt.Fprintf(&b, "\nLeft out: %s\n", left)
	}
	_, err := out.Write(b.Bytes())
	return err
}

func (w *row) write(b *bytes.Buffer) {
	copied, later, back := "-", "-", "-"
	if w.proxy != Relay {
		share := func(n int64) string { return fmt.Sprintf("%.3f", float64(n)/float64(max(w.Due, 1))) }
		copied, later, back = share(w.copied), share(w.later), fmt.Sprintf("%.1f", w.back.Seconds())
	}
	if w.lost {
		back = "never"
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %d | %d | %d | %s | %s | %s | %+d | %+d | %s |\n", w.fault.Title, w.proxy,
		millis(w.P50), millis(w.P99), millis(w.Max), w.Failed, w.Wrong+w.copiesWrong, w.beyond, copied, later, w.causes(),
		w.grown>>20, w.descriptors, back)
}

// causes lists the most frequent first.
func (w *row) causes() string {
	if w.proxy != Umbra {
		return "-"
	}
	all := slices.SortedFunc(maps.Keys(w.dropped), func(x, y string) int {
		return cmp.Or(cmp.Compare(w.dropped[y], w.dropped[x]), cmp.Compare(x, y))
	})
	var list []string
	for _, cause := range all {
		list = append(list, fmt.Sprintf("%s %d", cause, w.dropped[cause]))
	}
	if w.live > 0 {
		list = append(list, fmt.Sprintf("live %d", w.live))
	}
	return cmp.Or(strings.Join(list, ", "), "none")
}

func millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 100 {
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}
