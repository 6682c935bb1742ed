// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

// stepped is one run in which the machine's calendar is set to something else, half a second after the start.
type stepped struct {
	answers []string // of each client, and when its last byte came
	lines   []string // of the access log, without the time
	starts  []time.Time
	dates   []string // Date of the answers
	began   time.Time
}

var startTime = regexp.MustCompile(`^\[([^\]]+)\] `)

// runStepped has the calendar show by after the step, elapsed being the time since the start of the run.
func runStepped(t *testing.T, by func(at time.Time, elapsed time.Duration) time.Time) (out stepped) {
	t.Helper()
	s := newSimRig(t, 1, func(a *proxy.Action) { a.Timeout = time.Second })
	out.began = s.sim.Date()
	s.sim.Calendar = func(at time.Time) time.Time {
		if s.sim.Now() < 500*time.Millisecond {
			return at
		}
		return by(at, s.sim.Now())
	}
	before, across, waits, idle, after := s.dial(), s.dial(), s.dial(), s.dial(), s.dial()
	half := s.dial() // says half a request, and no more
	s.at(10*time.Millisecond, func() { before.send("/before") })
	s.at(50*time.Millisecond, func() { s.far.answer(0, false) })
	s.at(100*time.Millisecond, func() { across.send("/across"); half.p.Send([]byte("GET / HTTP/1.1\r\n")) })
	s.at(200*time.Millisecond, func() { waits.send("/waits") }) // in line, and never answered: its timeout runs
	s.at(700*time.Millisecond, func() { s.far.answer(1, false) })
	s.at(2*time.Second, func() { after.send("/after") })
	s.at(2040*time.Millisecond, func() { s.far.answer(3, false) })
	s.sim.Run(2 * time.Minute)
	if err := s.log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*simClient{before, across, waits, idle, after, half} {
		head, _, _ := strings.Cut(string(c.got), "\r\n")
		ended := "open"
		if c.p.Over() {
			ended = "over"
		}
		out.answers = append(out.answers, head+" at "+c.at.String()+", "+ended)
		for line := range strings.Lines(string(c.got)) {
			if v, ok := strings.CutPrefix(strings.ToLower(line), "date: "); ok {
				out.dates = append(out.dates, strings.TrimSpace(v))
			}
		}
	}
	text, err := os.ReadFile(s.logFile)
	if err != nil {
		t.Fatal(err)
	}
	id := regexp.MustCompile(`"[0-9a-f]{8}-[0-9a-f-]{27}"`)
	for line := range strings.Lines(string(text)) {
		at := startTime.FindStringSubmatch(line)
		if at == nil {
			t.Fatalf("%q", line)
		}
		start, err := time.Parse(time.RFC3339, at[1])
		if err != nil {
			t.Fatal(err)
		}
		out.starts = append(out.starts, start)
		out.lines = append(out.lines, id.ReplaceAllString(line[len(at[0]):], `"id"`))
	}
	return out
}

// However far the calendar is set forward or back, whatever takes its time takes as long as without that; the log shows
// each request on the calendar that holds at its end.
func TestCalendarThatIsSteppedMovesNoDeadline(t *testing.T) {
	want := runStepped(t, func(at time.Time, _ time.Duration) time.Time { return at })
	if len(want.lines) != 5 || len(want.dates) < 4 {
		t.Fatalf("the run shows too little: %q, dates %q", want.lines, want.dates)
	}
	by := func(step time.Duration) func(time.Time, time.Duration) time.Time {
		return func(at time.Time, _ time.Duration) time.Time { return at.Add(step) }
	}
	for name, to := range map[string]func(time.Time, time.Duration) time.Time{
		"a day on": by(24 * time.Hour), "a day back": by(-24 * time.Hour),
		"an hour on": by(time.Hour), "an hour back": by(-time.Hour),
		"to 1970": func(_ time.Time, elapsed time.Duration) time.Time { return time.Unix(0, int64(elapsed)) },
	} {
		t.Run(name, func(t *testing.T) {
			got := runStepped(t, to)
			if d := cmp.Diff(want.answers, got.answers); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(want.lines, got.lines); d != "" {
				t.Error(d)
			}
			for i, start := range got.starts {
				elapsed := want.starts[i].Sub(want.began)
				expected := got.began.Add(elapsed)
				if i > 0 { // the first was over before the step
					expected = to(expected, elapsed)
				}
				if d := start.Sub(expected); d < -time.Second || d > time.Second {
					t.Errorf("line %q says that it began at %v, want %v", got.lines[i], start, expected)
				}
			}
		})
	}
}
