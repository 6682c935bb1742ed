// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/admin"
)

// good is a run of 100 pairs in which every second request was copied.
func good() *result {
	r := &result{mirror: admin.Mirror{Share: 50, Selected: 50, Delivered: 50, Dropped: map[string]int64{}}}
	for n := range 100 {
		r.samples = append(r.samples, sample{n: n, took: time.Millisecond}, sample{n: n, twin: true, took: time.Millisecond})
		s := Seen{Method: "GET", Target: target(n), Host: mirroredHost}
		twin := s
		twin.Host = twinHost
		r.seenA = append(r.seenA, s, twin)
		if n%2 == 0 {
			s.Host += "-shadow"
			r.seenB = append(r.seenB, s)
		}
	}
	return r
}

func TestEachThingNotAsToldIsFound(t *testing.T) {
	if reasons := good().judge(); reasons != nil {
		t.Errorf("a good run: %v", reasons)
	}
	f := func(want string, change func(*result)) {
		t.Helper()
		r := good()
		change(r)
		if got := strings.Join(r.judge(), "; "); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("1 of 200 requests were not answered by A's httpbin v1: status 503", func(r *result) {
		r.samples[7].problem = "status 503"
	})
	f("75 of 100 requests were selected, which is not about 50 %", func(r *result) { r.mirror.Selected = 75 })
	f("0 of 0 requests were selected", func(r *result) { r.samples = nil })
	f("50 copies were selected, but 49 delivered, dropped and in flight", func(r *result) { r.mirror.Delivered = 49 })
	f("1 copies were not delivered: dropped map[timeout:1], in flight 0", func(r *result) {
		r.mirror.Delivered, r.mirror.Dropped = 49, map[string]int64{"timeout": 1}
	})
	f("mesh B has seen 49 copies, not the 50 delivered", func(r *result) { r.seenB = r.seenB[1:] })
	different := func(change func(*Seen)) {
		t.Helper()
		f("1 of 50 copies are not like their primary but for Host", func(r *result) { change(&r.seenB[3]) })
	}
	different(func(s *Seen) { s.Host = mirroredHost })
	different(func(s *Seen) { s.Host = twinHost + "-shadow" })
	different(func(s *Seen) { s.Method = "POST" })
	different(func(s *Seen) { s.Target += "0000" })
	different(func(s *Seen) { s.Target = target(0) }) // twice
	different(func(s *Seen) { s.Sum++ })
	different(func(s *Seen) { s.Bytes++ })
}

func TestQuantileIsOneOfTheSamples(t *testing.T) {
	var list []sample
	for i := range 101 {
		list = append(list, sample{took: time.Duration(100-i) * time.Millisecond})
	}
	if m, p := quantile(list, 0.5), quantile(list, 0.99); m != 50*time.Millisecond || p != 99*time.Millisecond {
		t.Errorf("median %v, p99 %v", m, p)
	}
	if q := quantile(nil, 0.5); q != 0 {
		t.Errorf("of nothing: %v", q)
	}
}

func TestExampleThatNoLongerSaysItsPortsIsAnError(t *testing.T) {
	if _, err := example("a.yaml", "http: 1", 2); err == nil {
		t.Error("a port that is not there was replaced")
	}
	if _, err := example("c.yaml"); err == nil {
		t.Error("an example that is not there was read")
	}
}

func TestRecorderKeepsNothingOnceItFollows(t *testing.T) {
	var r recorder
	r.add(inB, Seen{Target: "/1"})
	lines := r.follow()
	for range 2 * cap(lines) {
		r.add(inB, Seen{Method: "GET", Target: "/2", Host: "h"}) // more than is read: never waits
	}
	if n := r.count(inB); n != 1 {
		t.Errorf("%d kept, want 1", n)
	}
	if line := <-lines; !strings.Contains(line, "B httpbin") || !strings.Contains(line, "GET  /2") {
		t.Errorf("got %q", line)
	}
}
