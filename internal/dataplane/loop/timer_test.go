// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

const tick = int64(1) << tickShift

// fire advances the wheel and runs what is due.
func fire(v *wheel, ns int64) {
	v.advance(ns)
	for t := v.pop(listFiring); t != nil; t = v.pop(listFiring) {
		t.fn()
	}
}

// Random timers, moved and stopped at random; the clock advances as a worker's would, to the wheel's deadline, or by
// jumps. None fires early, none is later than a tick after its time when the clock stops at each deadline.
func TestTimersFireOnceNeverEarlyAndAtMostATickLate(t *testing.T) {
	spans := []time.Duration{
		time.Millisecond, 30 * time.Millisecond, time.Second, 20 * time.Second, time.Hour, 18 * time.Hour,
	}
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 7))
		jumps := seed%2 == 1
		now := r.Int64N(int64(time.Hour) * 1000)
		v := &wheel{now: tickOf(now)}
		var due [64]int64 // 0: not armed
		timers := make([]Timer, len(due))
		for i := range timers {
			timers[i].Init(func() {
				late := now - due[i]
				if due[i] == 0 || late < 0 || !jumps && late > tick {
					t.Fatalf("seed %d: timer %d fired %v after its time %d", seed, i, time.Duration(late), due[i])
				}
				due[i] = 0
			})
		}
		for range 2000 {
			for range r.IntN(4) {
				i := r.IntN(len(timers))
				if r.IntN(4) == 0 {
					v.disarm(&timers[i])
					due[i] = 0
					continue
				}
				due[i] = now + r.Int64N(int64(spans[r.IntN(len(spans))]))
				v.arm(&timers[i], due[i])
			}
			at := v.deadline()
			if jumps {
				now += r.Int64N(int64(spans[r.IntN(len(spans)-1)]))
			} else if at != math.MaxInt64 {
				now = max(now, min(at, now+r.Int64N(int64(time.Minute))))
			}
			fire(v, now)
			for i := range timers {
				if (due[i] != 0) != timers[i].Armed() || due[i] != 0 && due[i] < now-tick {
					t.Fatalf("seed %d: timer %d should have fired at %d, now %d", seed, i, due[i], now)
				}
			}
		}
	}
}

func TestEmptyWheelHasNoDeadline(t *testing.T) {
	v := &wheel{now: 12345}
	if at := v.deadline(); at != math.MaxInt64 {
		t.Errorf("deadline %d", at)
	}
	var timer Timer
	timer.Init(func() {})
	v.arm(&timer, 12350<<tickShift)
	v.disarm(&timer)
	if at := v.deadline(); at != math.MaxInt64 {
		t.Errorf("deadline %d after the only timer was stopped", at)
	}
}

func TestTimerBeyondTheWheelFiresAtItsEnd(t *testing.T) {
	v := &wheel{}
	fired := false
	var timer Timer
	timer.Init(func() { fired = true })
	v.arm(&timer, math.MaxInt64)
	now := int64(0)
	for !fired && now < int64(30*time.Hour) {
		now = v.deadline()
		fire(v, now)
	}
	if !fired || now < int64(19*time.Hour) {
		t.Errorf("fired %v at %v", fired, time.Duration(now))
	}
}

func TestTimerStoppedByAnEarlierOneOfTheSameTurnDoesNotFire(t *testing.T) {
	v := &wheel{}
	var first, second Timer
	var fired []string
	first.Init(func() { fired = append(fired, "first"); v.disarm(&second) })
	second.Init(func() { fired = append(fired, "second"); v.disarm(&first) })
	v.arm(&first, tick)
	v.arm(&second, 2*tick)
	fire(v, 10*tick)
	if len(fired) != 1 || fired[0] != "first" {
		t.Errorf("fired %v, want the one due first, which stops the other", fired)
	}
}

func TestTimerMayArmItselfAgain(t *testing.T) {
	v := &wheel{}
	n := 0
	now := int64(0)
	var timer Timer
	timer.Init(func() {
		if n++; n < 5 {
			v.arm(&timer, now)
		}
	})
	v.arm(&timer, 0)
	for range 10 {
		now += tick
		fire(v, now)
	}
	if n != 5 || timer.Armed() {
		t.Errorf("fired %d times, armed %v", n, timer.Armed())
	}
}

// A real worker, asleep: the deadline in Go's netpoller wakes it.
func TestSleepingWorkerWakesForItsTimers(t *testing.T) {
	w := start(t, Config{}, nil)
	const long, short = 60 * time.Millisecond, 25 * time.Millisecond
	fired := make(chan time.Duration, 2)
	var timers [2]Timer
	on(t, w, func() {
		began := w.Now()
		for i := range timers {
			timers[i].Init(func() { fired <- time.Duration(w.Now() - began) })
		}
		w.Arm(&timers[0], time.Hour)
		w.Arm(&timers[0], long)
		w.Arm(&timers[1], short)
	})
	for _, d := range []time.Duration{short, long} {
		got := receive(t, fired, "a timer")
		if got < d {
			t.Errorf("the timer of %v fired after %v", d, got)
		}
		t.Logf("%v: fired %v late", d, got-d)
	}
	if n := w.pulse.Load() / 4; n > 200 { // two pulses a turn, each counted by two
		t.Errorf("%d turns for two timers: it did not sleep", n)
	}
}

func TestClocksOfATurnAgreeAndRandomNumbersDiffer(t *testing.T) {
	w := start(t, Config{}, nil)
	on(t, w, func() {
		d := w.Wall().Sub(w.epoch) - time.Duration(w.Now())
		if d.Abs() > time.Second {
			t.Errorf("the two differ by %v", d)
		}
		seen := map[uint64]bool{}
		for range 1000 {
			seen[w.Rand()] = true
		}
		if len(seen) < 999 {
			t.Errorf("%d different numbers among 1000 random ones", len(seen))
		}
	})
}
