// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAliasDrawsByWeight(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, weights := range [][]float64{{1}, {1, 1, 1}, {1, 3}, {5, 1, 1, 1}, {0.001, 1000, 7, 7}, {1e-6, 1}} {
		const draws = 200000
		a := newAlias(weights)
		got := make([]float64, len(weights))
		for range draws {
			got[a.at(rnd.Uint64())]++
		}
		sum := 0.0
		for _, w := range weights {
			sum += w
		}
		for i, w := range weights {
			p := w / sum
			if dev := math.Abs(got[i] - draws*p); dev > 5*math.Sqrt(draws*p*(1-p))+1 {
				t.Errorf("weights %v: %d drawn %v times, want %v", weights, i, got[i], draws*p)
			}
		}
	}
}

func TestAliasTakesTheEndsOfItsRange(t *testing.T) {
	a := newAlias([]float64{1, 2, 3})
	for _, r := range []uint64{0, 1, math.MaxUint64, math.MaxUint64 - 1, 1 << 63} {
		if i := a.at(r); i < 0 || i > 2 {
			t.Errorf("%x: %d", r, i)
		}
	}
}

func TestCountsFollowWholeWeightsExactlyAndStayInTheirBound(t *testing.T) {
	for _, c := range []struct {
		weights []float64
		want    []int
	}{
		{[]float64{2, 4, 6}, []int{1, 2, 3}},
		{[]float64{100, 100, 300}, []int{1, 1, 3}},
		{[]float64{1<<32 - 1, 1, 1 << 31}, []int{2731, 1, 1365}},
		{[]float64{0.5, 1}, []int{1365, 2731}},
	} {
		if diff := cmp.Diff(c.want, counts(c.weights, maxTurns)); diff != "" {
			t.Errorf("%v: %s", c.weights, diff)
		}
	}
}

func TestTurnsAreSpreadEvenly(t *testing.T) {
	hosts := make([]*Host, 3)
	for i := range hosts {
		hosts[i] = &Host{Name: string(rune('a' + i))}
	}
	got := ""
	for _, h := range turns(hosts, []float64{5, 1, 2}) {
		got += h.Name
	}
	if got != "acaabaca" {
		t.Errorf("%s", got)
	}
}

func TestWarmthIsEnvoysFormula(t *testing.T) {
	with := func(s SlowStart) *Config { return &Config{Policy: RoundRobin, SlowStart: s} }
	minute := SlowStart{Window: time.Minute, MinPercent: -1}
	for _, c := range []struct {
		s    SlowStart
		age  time.Duration
		want float64
	}{
		{SlowStart{}, 0, 1},
		{minute, time.Minute, 1},
		{minute, time.Hour, 1},
		{minute, 30 * time.Second, 0.5},
		{minute, 3 * time.Second, 0.1}, // 5 %, but 10 at least
		{SlowStart{Window: time.Minute, MinPercent: 2}, 3 * time.Second, 0.05},
		{SlowStart{Window: time.Minute, MinPercent: -1, Aggression: 2}, 15 * time.Second, 0.5},
		{SlowStart{Window: time.Minute, MinPercent: -1, Aggression: math.NaN()}, 15 * time.Second, 0.25},
		{SlowStart{Window: time.Second, MinPercent: 0}, 0, 0.001}, // a millisecond at least
	} {
		if got := with(c.s).warmth(c.age); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v after %v: %v, want %v", c.s, c.age, got, c.want)
		}
	}
	if got := (&Config{Policy: Random, SlowStart: minute}).warmth(0); got != 1 {
		t.Errorf("a policy without slow start: %v", got)
	}
}
