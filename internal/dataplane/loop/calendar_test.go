// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// steps are what a machine's calendar may be set by while something waits.
var steps = map[string]time.Duration{
	"a day on": 24 * time.Hour, "a day back": -24 * time.Hour, "an hour on": time.Hour, "an hour back": -time.Hour,
	"to 1970": -time.Duration(time.Now().Unix()) * time.Second,
}

func TestCalendarThatIsSteppedMovesNoTimerOfARunningWorker(t *testing.T) {
	for kind, name := range map[Kind]string{Default: "default", Portable: "portable"} {
		for what, by := range steps {
			t.Run(name+", "+what, func(t *testing.T) {
				var set atomic.Int64
				w := start(t, Config{Driver: kind}, func(w *Worker) {
					w.date = func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
				})
				const wait = 30 * time.Millisecond
				fired := make(chan int64, 2)
				var early, late Timer
				var from int64
				var before time.Time
				on(t, w, func() {
					early.Init(func() { fired <- w.Now() })
					late.Init(func() { fired <- w.Now() })
					from, before = w.Now(), w.Wall()
					w.Arm(&early, wait)
				})
				set.Store(int64(by))
				on(t, w, func() {
					if moved := w.Wall().Round(0).Sub(before.Round(0)); moved < by-time.Minute || moved > by+time.Minute {
						t.Errorf("the calendar moved by %v, want %v", moved, by)
					}
					w.Arm(&late, wait)
				})
				for range 2 {
					if at := receive(t, fired, "a timer"); at-from < int64(wait) {
						t.Errorf("a timer of %v fired after %v", wait, time.Duration(at-from))
					}
				}
			})
		}
	}
}

func TestCalendarThatIsSteppedMovesNoDeadlineInASim(t *testing.T) {
	for what, by := range steps {
		t.Run(what, func(t *testing.T) {
			s, w := simulated(t)
			s.Calendar = func(at time.Time) time.Time {
				if s.Now() < 300*time.Millisecond {
					return at
				}
				return at.Add(by)
			}
			s.Listen(simPlace, func(*Peer) Arrival { return Arrival{Never: true} })
			var tick Timer
			var gone, fired time.Duration
			tick.Init(func() { fired = s.Now() })
			p := newProbe()
			p.onGone = func(err error) {
				gone = s.Now()
				if !errors.Is(err, ErrConnectTimeout) {
					t.Error(err)
				}
			}
			w.Post(func() {
				w.Arm(&tick, 2*time.Second)
				p.c = w.Dial(simPlace, Production, time.Second, p)
			})
			s.Run(time.Minute)
			const late = 2 * time.Duration(1<<tickShift)
			if gone < time.Second || gone > time.Second+late || fired < 2*time.Second || fired > 2*time.Second+late {
				t.Errorf("the dial ended at %v, the timer fired at %v", gone, fired)
			}
			if moved := s.Date().Sub(s.start) - s.Now(); moved != by {
				t.Errorf("the calendar moved by %v", moved)
			}
		})
	}
}

// Deadlines of a Sim are looked at beside it too: what takes its time elsewhere, and posts, is heard.
func TestSimLetsTimePassBesideIt(t *testing.T) {
	s, w := simulated(t)
	var passed time.Duration
	heard := time.Duration(-1)
	s.Beside = func(d time.Duration) {
		if passed += d; d > 0 && passed >= time.Second && heard < 0 {
			heard = 0
			w.Post(func() { heard = s.Now() })
		}
	}
	var tick Timer
	n := 0
	tick.Init(func() {
		if n++; n < 20 {
			w.Arm(&tick, 100*time.Millisecond)
		}
	})
	w.Post(func() { w.Arm(&tick, 100*time.Millisecond) })
	s.Run(time.Minute)
	if heard < time.Second || heard > 1200*time.Millisecond || passed != s.Now() {
		t.Errorf("the post was heard at %v; %v passed there, %v beside", heard, s.Now(), passed)
	}
}
