// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// This file is a machine whose calendar is set to something else while requests are under way.

// onCalendar is t as the machine tells it when its calendar has been set by d: the calendar's reading moves, the
// monotonic one beside it does not. Package time cannot make such a time, so its fields are written: wall has a flag, 33
// bits of seconds and 30 of nanoseconds.
func onCalendar(t time.Time, d time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t))
	*wall += uint64(d/time.Second) << 30
	return t
}

func TestTimeOnASteppedCalendarKeepsItsMonotonicReading(t *testing.T) {
	now := time.Now()
	for _, d := range []time.Duration{24 * time.Hour, -24 * time.Hour, -time.Duration(now.Unix()) * time.Second} {
		if set := onCalendar(now, d); set.Sub(now) != 0 || set.Unix()-now.Unix() != int64(d/time.Second) {
			t.Errorf("set by %v: %v is %v from %v", d, set, set.Sub(now), now)
		}
	}
}

// A run is the same to the nanosecond, whatever the calendar does meanwhile: for clients, upstreams and mirrors.
func TestCalendarThatIsSteppedChangesNothing(t *testing.T) {
	steps := 0
	for seed := uint64(1); seed <= max(seeds/20, 3) && !t.Failed(); seed++ {
		steps += compareCalendars(t, seed)
	}
	if steps == 0 {
		t.Error("the calendar was never set")
	}
}

// compareCalendars runs a seed as it is and with a calendar that is set now and then, so many times. That cannot be in
// a bubble, whose times have no monotonic reading.
func compareCalendars(t *testing.T, seed uint64) (steps int) {
	t.Helper()
	var events [2][]string
	for i := range events {
		m := newModel(t, seed, true, false)
		if i == 1 {
			m.stepCalendar(&steps)
		}
		m.run()
		events[i] = m.events
	}
	if d := cmp.Diff(events[0], events[1]); d != "" {
		t.Errorf("seed %d depends on the calendar:\n%s", seed, d)
	}
	return steps
}

// stepCalendar has the calendar set now and then, first while clients come and then while what is left waits.
func (m *model) stepCalendar(steps *int) {
	r := rnd(m.seed, text("calendar"))
	var by time.Duration
	m.sim.Calendar = func(at time.Time) time.Time { return onCalendar(at, by) }
	for _, most := range []time.Duration{span, span, span, 5 * time.Second, time.Minute, 5 * time.Minute} {
		m.sim.After(time.Duration(r.Int64N(int64(most))), func() {
			by = []time.Duration{
				24 * time.Hour, -24 * time.Hour, time.Hour, -time.Hour, 0, -time.Duration(m.sim.Date().Unix()) * time.Second,
			}[r.IntN(6)]
			*steps++
		})
	}
}
