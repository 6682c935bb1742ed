// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

func TestSlopeIsTheGrowthUnderTheNoise(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 1))
	for _, grown := range []float64{0, 1 << 20, -1 << 20, 40 << 20} { // in 10 minutes
		var samples []sample
		for s := range 900 {
			at := time.Duration(s) * time.Second
			bytes := 80<<20 + grown/600*at.Seconds() + noise.NormFloat64()*(1<<20)
			samples = append(samples, sample{at, int64(bytes)})
		}
		if got := slope(samples) * 600; math.Abs(got-grown) > 256<<10 {
			t.Errorf("%.0f bytes in 10 minutes are taken for %.0f", grown, got)
		}
	}
	if got := slope([]sample{{time.Second, 1}}); got != 0 {
		t.Errorf("one sample has slope %v", got)
	}
}

func TestOnlyTheFirstQuarterIsLeftOut(t *testing.T) {
	samples := []sample{{0, 1}, {time.Second, 2}, {2 * time.Second, 3}, {3 * time.Second, 4}}
	if got := after(samples, time.Second); len(got) != 3 || got[0].bytes != 2 {
		t.Errorf("%v", got)
	}
	if got := after(samples, time.Minute); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestResidentMemoryOfThisProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/statm"); err != nil {
		return // no such thing on this system, and no soak
	}
	if n, err := resident(os.Getpid()); err != nil || n < 1<<20 || n > 1<<40 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestLoadHasEveryShapeOfRequest(t *testing.T) {
	seen := map[int]int{}
	for n := range 500 {
		seen[size(n)]++
	}
	for _, bytes := range []int{0, 4 << 10, 100 << 10, 1 << 20} {
		if seen[bytes] == 0 {
			t.Errorf("no request of %d bytes: %v", bytes, seen)
		}
	}
}
