// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/umbra-mesh/umbra/internal/admin"
)

// shown is how many requests the report shows as both workloads logged them.
const shown = 3

// report prints log lines of both workloads and the table.
func (d *demo) report(r *result) {
	d.say("\nThe same requests in the logs of both workloads:\n")
	first := map[string]Seen{}
	for _, s := range r.seenA {
		if s.Host == mirroredHost {
			first[s.Target] = s
		}
	}
	for _, s := range r.seenB[max(0, len(r.seenB)-shown):] {
		if a, ok := first[s.Target]; ok {
			d.say("%s", a.line(workloadNames[inA]))
		}
		d.say("%s", s.line(workloadNames[inB]))
	}

	m := r.mirror
	mirrored, twins, copied := r.split()
	answered := func(list []sample) int {
		return len(slices.DeleteFunc(slices.Clone(list), func(s sample) bool { return s.problem != "" }))
	}
	d.say("\n  %-34s %15s %15s", "", "mirrored route", "twin route")
	row := func(name, a, b string) { d.say("  %-34s %15s %15s", name, a, b) }
	number := func(n int) string { return fmt.Sprint(n) }
	row("sent", number(len(mirrored)), number(len(twins)))
	row("answered 200 by A's httpbin v1", number(answered(mirrored)), number(answered(twins)))
	share := 100 * float64(m.Selected) / float64(max(len(mirrored), 1))
	row(fmt.Sprintf("selected for a copy (%g %% wanted)", m.Share), fmt.Sprintf("%d = %.1f %%", m.Selected, share), "-")
	row("delivered to mesh B", fmt.Sprint(m.Delivered), "-")
	row("seen by B's httpbin", number(len(r.seenB)), number(r.seenTwins()))
	row("dropped", fmt.Sprint(drops(m)), "-")
	for _, cause := range slices.Sorted(maps.Keys(m.Dropped)) {
		row("  "+cause, fmt.Sprint(m.Dropped[cause]), "")
	}
	for _, q := range []struct {
		name string
		at   float64
	}{{"median", 0.5}, {"99th percentile", 0.99}} {
		a, b := quantile(copied, q.at), quantile(twins, q.at)
		row("latency, "+q.name+" (if copied)", milliseconds(a), milliseconds(b))
		row("  added by the copy", fmt.Sprintf("%+d µs", (a-b).Microseconds()), "")
	}
	d.say("\n  The client, both meshes and both workloads share %d CPUs here.", runtime.NumCPU())
}

func milliseconds(t time.Duration) string { return fmt.Sprintf("%.3f ms", t.Seconds()*1e3) }

// split tells the requests apart: of the mirrored route, of its twin, and those of the first that B has seen.
func (r *result) split() (mirrored, twins, copied []sample) {
	inB := map[string]bool{}
	for _, s := range r.seenB {
		inB[s.Target] = true
	}
	for _, s := range r.samples {
		switch {
		case s.twin:
			twins = append(twins, s)
		case inB[target(s.n)]:
			mirrored, copied = append(mirrored, s), append(copied, s)
		default:
			mirrored = append(mirrored, s)
		}
	}
	return mirrored, twins, copied
}

func target(n int) string { return fmt.Sprintf("/headers?n=%d", n) }

func (r *result) seenTwins() (n int) {
	for _, s := range r.seenB {
		if strings.HasPrefix(s.Host, twinHost) {
			n++
		}
	}
	return n
}

func drops(m admin.Mirror) (sum int64) {
	for _, n := range m.Dropped {
		sum += n
	}
	return sum
}

// quantile is the latency that a share of the samples does not exceed.
func quantile(list []sample, at float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	took := make([]time.Duration, len(list))
	for i, s := range list {
		took[i] = s.took
	}
	slices.Sort(took)
	return took[int(at*float64(len(took)-1))]
}

// judge compares what all ends say with what the demo told.
func (r *result) judge() []string {
	var reasons []string
	wrong := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }

	problems := map[string]int{}
	for _, s := range r.samples {
		if s.problem != "" {
			problems[s.problem]++
		}
	}
	for _, p := range slices.Sorted(maps.Keys(problems)) {
		wrong("%d of %d requests were not answered by A's httpbin v1: %s", problems[p], len(r.samples), p)
	}
	m := r.mirror
	mirrored, _, _ := r.split()
	n, p := float64(len(mirrored)), m.Share/100
	if sigma := math.Sqrt(n * p * (1 - p)); n == 0 || math.Abs(float64(m.Selected)-n*p) > 4*sigma {
		wrong("%d of %d requests were selected, which is not about %g %%", m.Selected, len(mirrored), m.Share)
	}
	if sum := m.Delivered + drops(m) + m.InFlight; m.Selected != sum {
		wrong("%d copies were selected, but %d delivered, dropped and in flight", m.Selected, sum)
	}
	if m.Delivered != m.Selected {
		wrong("%d copies were not delivered: dropped %v, in flight %d", m.Selected-m.Delivered, m.Dropped, m.InFlight)
	}
	if int64(len(r.seenB)) != m.Delivered {
		wrong("mesh B has seen %d copies, not the %d delivered", len(r.seenB), m.Delivered)
	}
	return append(reasons, r.compare()...)
}

// compare holds each copy against its primary, as the two workloads saw them.
func (r *result) compare() []string {
	primaries := map[string]Seen{}
	for _, s := range r.seenA {
		if s.Host == mirroredHost {
			primaries[s.Target] = s
		}
	}
	different := 0
	example := ""
	seen := map[string]bool{}
	for _, c := range r.seenB {
		p, ok := primaries[c.Target]
		same := ok && !seen[c.Target] && c.Host == mirroredHost+"-shadow" &&
			c.Method == p.Method && c.Bytes == p.Bytes && c.Sum == p.Sum
		if !same {
			different++
			example = fmt.Sprintf("%s %s for Host %s", c.Method, c.Target, c.Host)
		}
		seen[c.Target] = true
	}
	if different == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d of %d copies are not like their primary but for Host, as %s",
		different, len(r.seenB), example)}
}
