// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/load"
	"github.com/umbra-mesh/umbra/bench/internal/upstream"
)

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
		r.add(c, Before, sample{CPU: us([]int{9, 29, 15}[i]), Share: 1})
		r.add(c, Umbra, sample{CPU: us([]int{10, 30, 15}[i]), Share: 0.9995, RSS: 3 << 20})
	}
	var out bytes.Buffer
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| GET, 100 % mirrored | nginx | 50.0 | 40.0..60.0 | 1.00 | - | - | 0 | 0.0 | 0.0 | 0 | 1.0000 | yes |",
		"| GET, 100 % mirrored | umbra | 15.0 | 10.0..30.0 | 0.30 | - | +1.0 | 0 | 0.0 | 0.0 | 3 | 0.9995 | yes |",
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
