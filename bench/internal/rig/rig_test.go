// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/load"
	"github.com/umbra-mesh/umbra/bench/internal/upstream"
)

func TestStatLineIsReadPastAnyCommand(t *testing.T) {
	const line = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 99 1000000 250 18446744073709551615\n"
	got, err := parseStat([]byte(line))
	want := stat{parent: 7, cpu: 1240 * time.Millisecond, bytes: 250 * int64(os.Getpagesize())}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "42 x", "42 (x) S 1 2", strings.Replace(line, "100", "many", 1)} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}

func TestUsageGrowsWithWork(t *testing.T) {
	begin, err := measure(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if begin.bytes <= 0 {
		t.Errorf("resident are %d bytes", begin.bytes)
	}
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		now, err := measure(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now.cpu-begin.cpu >= 2*tick {
			return
		}
	}
	t.Error("10 s of work cost no CPU time")
}

func TestFaultsAreFound(t *testing.T) {
	c := Case{Name: "x", Body: 10, Mirror: true}
	const path = "/run/1"
	clean := func() (load.Result, both) {
		return load.Result{Requests: 1000}, both{
			a: upstream.Counts{Paths: map[string]upstream.Seen{path: {Requests: 1000, Bytes: 10000}}},
			b: upstream.Counts{Paths: map[string]upstream.Seen{path: {Requests: 999, Bytes: 9990, Shadow: 999}}},
		}
	}
	faults := func(c Case, change func(*load.Result, *both)) []string {
		r, after := clean()
		if change != nil {
			change(&r, &after)
		}
		var s sample
		s.check(c, path, r, both{}, after)
		return s.Faults
	}
	set := func(seen upstream.Seen) func(*load.Result, *both) {
		return func(_ *load.Result, s *both) { s.b.Paths[path] = seen }
	}
	if got := faults(c, nil); len(got) != 0 {
		t.Errorf("a clean run has the faults %q", got)
	}
	for want, change := range map[string]func(*load.Result, *both){
		"share of copies 0.9980":      set(upstream.Seen{Requests: 998, Bytes: 9980, Shadow: 998}),
		"share of copies 1.0010":      set(upstream.Seen{Requests: 1001, Bytes: 10010, Shadow: 1001}),
		"share of copies 0.0000":      set(upstream.Seen{}),
		"-shadow host":                set(upstream.Seen{Requests: 999, Bytes: 9990, Shadow: 3}),
		"B read 9989 body bytes":      set(upstream.Seen{Requests: 999, Bytes: 9989, Shadow: 999}),
		"2 requests failed: [why]":    func(r *load.Result, _ *both) { r.Failed, r.Told = 2, []string{"why"} },
		"the client has 1001 answers": func(r *load.Result, _ *both) { r.Requests = 1001 },
		"A saw 1 broken connections":  func(_ *load.Result, s *both) { s.a.Broken = 1 },
		"A read 9999 body bytes of 10": func(_ *load.Result, s *both) {
			s.a.Paths[path] = upstream.Seen{Requests: 1000, Bytes: 9999}
		},
	} {
		if got := faults(c, change); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("got the faults %q, want %q", got, want)
		}
	}
	if got := faults(Case{Body: 10}, nil); len(got) != 1 || !strings.Contains(got[0], "without a mirror") {
		t.Errorf("copies of a plain case: got the faults %q", got)
	}
}

func TestReportPrintsMediansOfTheRoundsRatios(t *testing.T) {
	c := Cases[1]
	r := &Report{cfg: Config{Cases: []Case{c}, Rounds: 3, Span: time.Second}, versions: []string{"nginx 1"}}
	us := func(n int) time.Duration { return time.Duration(n) * time.Microsecond }
	for i, n := range []int{40, 60, 50} {
		r.add(c, Nginx, sample{CPU: us(n), Share: 1})
		r.add(c, Umbra, sample{CPU: us([]int{10, 30, 15}[i]), Share: 0.9995, RSS: 3 << 20})
	}
	var out bytes.Buffer
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| GET, 100 % mirrored | nginx | 50.0 | 40.0..60.0 | 1.00 | - | 0 | 0.0 | 0.0 | 0 | 1.0000 | yes |",
		"| GET, 100 % mirrored | umbra | 15.0 | 10.0..30.0 | 0.30 | - | 0 | 0.0 | 0.0 | 3 | 0.9995 | yes |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %s\n%s", want, &out)
		}
	}
	if !r.Valid() {
		t.Error("the report is not valid")
	}
	r.row(c.Name, Umbra).samples[1].Faults = []string{"share of copies 0.5000"}
	out.Reset()
	if err := r.Write(&out); err != nil || r.Valid() || !strings.Contains(out.String(), "**NO**: share of copies 0.5000") {
		t.Errorf("a faulty round is not told: %v\n%s", err, &out)
	}
}

func TestProxiesAreSetUpWithAndWithoutAMirror(t *testing.T) {
	a, b := netip.MustParseAddrPort("127.0.0.1:1001"), netip.MustParseAddrPort("127.0.0.1:1002")
	listen := netip.MustParseAddrPort("127.0.0.1:1003")
	for name, render := range map[string]func(b netip.AddrPort) string{
		Nginx: func(b netip.AddrPort) string { return renderNginx("/d", "root", listen, a, b) },
		Umbra: func(b netip.AddrPort) string { return renderUmbra(Umbra, a, b) },
	} {
		plain, mirrored := render(netip.AddrPort{}), render(b)
		if !strings.Contains(plain, "1001") || strings.Contains(plain, "1002") || strings.Contains(plain, "mirror") {
			t.Errorf("%s, plain:\n%s", name, plain)
		}
		for _, want := range []string{"1001", "1002", "mirror"} {
			if !strings.Contains(mirrored, want) {
				t.Errorf("%s, mirrored, lacks %s:\n%s", name, want, mirrored)
			}
		}
		if strings.Contains(plain+mirrored, "%!") {
			t.Errorf("%s is not rendered in full:\n%s\n%s", name, plain, mirrored)
		}
	}
}

func TestNamesOfCasesAndProxiesAreChecked(t *testing.T) {
	got, err := PickCases("post1m,get")
	if err != nil || len(got) != 2 || got[0].Name != "post1m" || got[1].Name != "get" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := PickCases("get,put"); err == nil || !strings.Contains(err.Error(), `unknown case "put"`) {
		t.Errorf("got %v", err)
	}
	if _, err := PickProxies("nginx,envoy"); err == nil || !strings.Contains(err.Error(), `unknown proxy "envoy"`) {
		t.Errorf("got %v", err)
	}
}
