// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

func TestBackOffIsJitteredAndGrowsToItsMaximum(t *testing.T) {
	w, err := loop.New(loop.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Run(context.Background()) // gives the descriptors back
	defer w.Stop()
	s := &Stream{wk: &Worker{w: w}}
	const ms = time.Millisecond
	for _, c := range []struct {
		retry   Retry
		retries int
		below   time.Duration
	}{
		{Retry{}, 1, 25 * ms},
		{Retry{}, 2, 75 * ms},
		{Retry{}, 3, 175 * ms},
		{Retry{}, 4, 250 * ms},
		{Retry{}, 1000, 250 * ms},
		{Retry{BaseInterval: 10 * ms, MaxInterval: 20 * ms}, 1, 10 * ms},
		{Retry{BaseInterval: 10 * ms, MaxInterval: 20 * ms}, 2, 20 * ms},
		{Retry{BaseInterval: 1 << 62, MaxInterval: time.Hour}, 1000, time.Hour}, // no overflow
	} {
		s.retries = c.retries
		var most time.Duration
		least := time.Hour
		for range 2000 {
			d := s.wait(&c.retry)
			most, least = max(most, d), min(least, d)
		}
		// All of 2,000 draws miss the upper or the lower tenth with a chance of 2 * 0.9^2000.
		if most >= c.below || most < c.below*9/10 || least > c.below/10 || least < 0 {
			t.Errorf("%+v, retry %d: %v to %v, want 0 to %v", c.retry, c.retries, least, most, c.below)
		}
	}
}

func TestWeightsShareExactly(t *testing.T) {
	a := &Action{Clusters: []Weighted{{Weight: 1}, {Weight: 0}, {Weight: 3}}, TotalWeight: 4}
	for i := range a.Clusters {
		a.Clusters[i].Slot = &upstream.Slot{Name: strconv.Itoa(i)}
	}
	got := map[string]int{}
	for draw := range uint64(4000) {
		got[a.pick(draw).Slot.Name]++
	}
	if got["0"] != 1000 || got["1"] != 0 || got["2"] != 3000 {
		t.Errorf("%v", got)
	}
	a.TotalWeight = 0
	if a.pick(7).Slot.Name != "0" {
		t.Error("weights without a sum do not fall back to the first")
	}
}
