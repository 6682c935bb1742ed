// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Worked out by hand from Envoy's documented arithmetic; a hundred hosts a priority unless it says otherwise.
func TestSpreadIsEnvoys(t *testing.T) {
	well := func(healthy ...int) (ts []tally) {
		for _, h := range healthy {
			ts = append(ts, tally{100, h})
		}
		return ts
	}
	for name, c := range map[string]struct {
		tallies []tally
		panic   uint32
		loads   []uint32
		panics  []bool
	}{
		"all well":                        {well(100, 100), 50, []uint32{100, 0}, []bool{false, false}},
		"72 % is well enough":             {well(72, 72), 50, []uint32{100, 0}, []bool{false, false}},
		"71 % spills":                     {well(71, 71), 50, []uint32{99, 1}, []bool{false, false}},
		"half":                            {well(50, 50), 50, []uint32{70, 30}, []bool{false, false}},
		"a quarter, the next well":        {well(25, 100), 50, []uint32{35, 65}, []bool{false, false}},
		"a quarter each is total panic":   {well(25, 25), 50, []uint32{50, 50}, []bool{true, true}},
		"a quarter each, no panic":        {well(25, 25), 0, []uint32{50, 50}, []bool{false, false}},
		"three, down the line":            {well(50, 20, 100), 50, []uint32{70, 28, 2}, []bool{false, false, false}},
		"the first has none":              {well(0, 100), 50, []uint32{0, 100}, []bool{false, false}},
		"none well, by number":            {[]tally{{10, 0}, {30, 0}}, 50, []uint32{25, 75}, []bool{true, true}},
		"none well, rounding to first":    {[]tally{{1, 0}, {1, 0}, {1, 0}}, 50, []uint32{34, 33, 33}, []bool{true, true, true}},
		"none well and no panic":          {well(0, 0), 0, []uint32{100, 0}, []bool{false, false}},
		"empty":                           {[]tally{{0, 0}}, 50, []uint32{100}, []bool{true}},
		"panic of one level only":         {well(10, 60), 50, []uint32{15, 85}, []bool{true, false}},
		"no panic while the rest is well": {well(10, 100), 50, []uint32{14, 86}, []bool{false, false}},
		"one host of three":               {[]tally{{3, 1}}, 50, []uint32{100}, []bool{true}},
		"one host of three, threshold 30": {[]tally{{3, 1}}, 30, []uint32{100}, []bool{false}},
		"nothing at all":                  {nil, 50, []uint32{}, []bool{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := spread(c.tallies, 140, c.panic)
			if diff := cmp.Diff(c.loads, s.loads); diff != "" {
				t.Errorf("loads: %s", diff)
			}
			if diff := cmp.Diff(c.panics, s.panics); diff != "" {
				t.Errorf("panics: %s", diff)
			}
		})
	}
}

func TestPriorityOfADraw(t *testing.T) {
	loads := []uint32{70, 0, 28, 2}
	for draw, want := range map[uint32]int{1: 0, 70: 0, 71: 2, 98: 2, 99: 3, 100: 3} {
		if got := at(loads, draw); got != want {
			t.Errorf("draw %d: priority %d, want %d", draw, got, want)
		}
	}
}

// Health 70, 70, 70: the first has 70 of the load, the second 30.
func TestTriedPrioritiesAreLeftOutEverySoManyAttempts(t *testing.T) {
	s := spread([]tally{{2, 1}, {2, 1}, {2, 1}}, 140, 0)
	for _, c := range []struct {
		tried []int
		every int
		want  []uint32 // nil: as without
	}{
		{nil, 1, nil},
		{[]int{0}, 2, nil},
		{[]int{0}, 1, []uint32{0, 70, 30}},
		{[]int{0, 1}, 2, []uint32{0, 0, 100}},
		{[]int{0, 0}, 2, []uint32{0, 70, 30}},
		{[]int{0, 0, 1}, 2, []uint32{0, 70, 30}},
		{[]int{0, 1, 2}, 1, nil},                    // none left: all are back
		{[]int{0, 1, 2, 1}, 1, []uint32{70, 0, 30}}, // and a new round begins
	} {
		var loads [maxExcluded]uint32
		var got []uint32
		if s.without(&loads, c.tried, c.every) {
			got = loads[:3]
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("tried %v every %d: %s", c.tried, c.every, diff)
		}
	}
}
