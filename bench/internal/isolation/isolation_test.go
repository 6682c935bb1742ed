// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/faulty"
	"github.com/umbra-mesh/umbra/bench/internal/process"
	"github.com/umbra-mesh/umbra/bench/internal/traffic"
)

// clean is a row that breaks nothing.
func clean(proxy string) *row {
	return &row{
		Result: traffic.Result{
			Due: 900, Sent: 903, P50: 1200 * time.Microsecond, P99: 4 * time.Millisecond, Max: 123 * time.Millisecond,
		},
		fault: &faulty.Faults(netip.AddrPort{})[1], proxy: proxy, copied: 9, later: 90,
		dropped: map[string]int64{"connect": 21, "overflow": 870}, grown: maxGrown, descriptors: 3, back: 1500 * time.Millisecond,
	}
}

func TestEachPromiseIsJudgedForUmbraAlone(t *testing.T) {
	for says, spoil := range map[string]func(*row){
		"2 of 900 requests failed: why":              func(w *row) { w.Failed, w.Told = 2, []string{"why"} },
		"1 bodies of production are wrong":           func(w *row) { w.Wrong = 1 },
		"production got 3 requests that nobody sent": func(w *row) { w.beyond = 3 },
		"4 copies ended whole":                       func(w *row) { w.copiesWrong = 4 },
		"-1 copies are unaccounted for":              func(w *row) { w.unaccounted = -1 },
		"65 MiB more are resident":                   func(w *row) { w.grown += 1 << 20 },
		"no copy arrived within 15s":                 func(w *row) { w.lost = true },
	} {
		w := clean(Umbra)
		if got := w.broken(); len(got) != 0 {
			t.Errorf("a clean row breaks %q", got)
		}
		spoil(w)
		if got := w.broken(); len(got) != 1 || !strings.HasPrefix(got[0], says) {
			t.Errorf("got %q, want %q", got, says)
		}
		w.proxy = Nginx
		if got := w.broken(); len(got) != 0 {
			t.Errorf("nginx is judged: %q", got)
		}
	}
}

func TestTimesAreNeverJudged(t *testing.T) {
	w := clean(Umbra)
	w.P50, w.P99, w.Max, w.back, w.copied = time.Hour, time.Hour, time.Hour, time.Hour, 0
	if got := w.broken(); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func TestReportTellsRowsBrokenPromisesAndWhatIsMissing(t *testing.T) {
	r := &Report{
		cfg:  Config{Rate: 300, Connections: 16, Span: 3 * time.Second},
		load: "0.50", loadAfter: "0.75", versions: []string{"umbra 1"}, left: []string{"nginx is not here"},
		rows: []*row{clean(Umbra), clean(Nginx)},
	}
	write := func() string {
		var out bytes.Buffer
		if err := r.Write(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	got := write()
	for _, want := range []string{
		"Load average 0.50 before, 0.75 after", "300 requests/s at fixed times for 3s, 16 connections", "umbra 1",
		"| refuses connections | umbra | 1.2 | 4.0 | 123 | 0 | 0 | 0 | 0.010 | 0.100 | overflow 870, connect 21 | +64 | +3 | 1.5 |",
		"| refuses connections | nginx | 1.2 | 4.0 | 123 | 0 | 0 | 0 | 0.010 | 0.100 | - | +64 | +3 | 1.5 |",
		"Left out: nginx is not here",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if !r.Kept() || strings.Contains(got, "broke a promise") {
		t.Errorf("a clean run is not\n%s", got)
	}
	r.rows[0].beyond = 900
	if got := write(); r.Kept() || !strings.Contains(got, "**Umbra broke a promise**, refuses connections: production got 900") {
		t.Errorf("a broken promise is not told:\n%s", got)
	}
}

func TestEveryCopyIsAccountedFor(t *testing.T) {
	a := account{Selected: 10, Delivered: 4, InFlight: 1, Dropped: map[string]int64{"reset": 3, "buffer": 2}}
	if n := a.unaccounted(); n != 0 {
		t.Errorf("%d are not", n)
	}
	a.Selected++
	if n := a.unaccounted(); n != 1 {
		t.Errorf("%d are not, want 1", n)
	}
}

// The mirror's program does as it is told, and says what it saw.
func TestMirrorObeys(t *testing.T) {
	addrs, err := process.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{addrs[0].String(), "127.0.0.1:1"}
	var out bytes.Buffer
	if err := Play(RoleMirror, args, strings.NewReader("refused\n\nhealthy\n"), &out); err != nil {
		t.Fatal(err)
	}
	var seen faulty.Seen
	for range 3 {
		line, err := out.ReadBytes('\n')
		if err != nil || json.Unmarshal(line, &seen) != nil || seen != (faulty.Seen{}) {
			t.Errorf("answered %q, %v", line, err)
		}
	}
	if err := Play(RoleMirror, args, strings.NewReader("tired\n"), &out); err == nil {
		t.Error("an unknown fault was obeyed")
	}
}
