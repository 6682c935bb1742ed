// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"math"
	"math/bits"
)

// A tick is 4.2 ms. A timer fires at the first tick after its time: never early by the worker's clock, at most a tick
// and the turn then running late. A timer of more than 19 hours fires after 19 hours.
const (
	tickShift = 22
	levelBits = 6
	slots     = 1 << levelBits
	levels    = 4
	maxDelta  = 1<<(levels*levelBits) - 1<<((levels-1)*levelBits)
)

// Lists of a wheel besides its slots.
const (
	listFiring = levels // due, on the way to their callbacks
	listCopy   = levels + 1
	listNone   = levels + 2
)

// Timer calls a function once after some time. It is embedded by its user, who calls Init once; it is armed and
// disarmed in O(1) without allocating. A disarmed timer does not fire, even if it was due in the same turn.
type Timer struct {
	next, prev *Timer
	fn         func()
	when       int64 // tick
	level      uint8
	slot       uint8
	class      Class
}

// Init sets what is called, on the worker's goroutine in the timers' part of a turn.
func (t *Timer) Init(fn func()) { *t = Timer{fn: fn, level: listNone} }

// InitCopy is Init for work on copies: fn is called in the copies' part of a turn and may panic.
func (t *Timer) InitCopy(fn func()) { *t = Timer{fn: fn, level: listNone, class: Copy} }

// Armed reports whether t will fire.
func (t *Timer) Armed() bool { return t.fn != nil && t.level != listNone }

// wheel is a hierarchical timer wheel: four levels of 64 slots, each slot of a level as long as the level below.
type wheel struct {
	now  int64 // tick; all timers up to it have fired
	full [levels]uint64
	list [levels + 2][slots]*Timer // of the extra lists only slot 0 is used, oldest at the tail
	tail [2]*Timer
}

func tickOf(ns int64) int64 { return ns >> tickShift }

// arm makes t fire at the first tick after ns.
func (v *wheel) arm(t *Timer, ns int64) {
	v.disarm(t)
	t.when = max(tickOf(ns)+1, v.now+1)
	v.place(t)
}

func (v *wheel) place(t *Timer) {
	d := t.when - v.now
	if d > maxDelta {
		d = maxDelta
		t.when = v.now + d
	}
	level := 0
	for d >= slots<<(level*levelBits) {
		level++
	}
	v.push(t, uint8(level), uint8(t.when>>(level*levelBits)&(slots-1)))
}

func (v *wheel) push(t *Timer, level, slot uint8) {
	head := &v.list[level][slot]
	t.level, t.slot = level, slot
	t.prev, t.next = nil, *head
	if *head != nil {
		(*head).prev = t
	} else if level >= levels {
		v.tail[level-levels] = t
	}
	*head = t
	if level < levels {
		v.full[level] |= 1 << slot
	}
}

func (v *wheel) disarm(t *Timer) {
	if t.fn == nil || t.level == listNone {
		return
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else if t.level >= levels {
		v.tail[t.level-levels] = t.prev
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		v.list[t.level][t.slot] = t.next
		if t.next == nil && t.level < levels {
			v.full[t.level] &^= 1 << t.slot
		}
	}
	t.next, t.prev, t.level = nil, nil, listNone
}

// next is the tick at which something is to be done, and false if there is nothing.
func (v *wheel) nextTick() (int64, bool) {
	at := int64(math.MaxInt64)
	for level := range levels {
		if v.full[level] == 0 {
			continue
		}
		from := v.now>>(level*levelBits) + 1
		ahead := bits.TrailingZeros64(bits.RotateLeft64(v.full[level], -int(from&(slots-1))))
		at = min(at, (from+int64(ahead))<<(level*levelBits))
	}
	return at, at != math.MaxInt64
}

// deadline is the clock's reading at which advance has something to do, math.MaxInt64 if never.
func (v *wheel) deadline() int64 {
	at, ok := v.nextTick()
	if !ok {
		return math.MaxInt64
	}
	return at << tickShift
}

// advance moves the clock to ns and puts the timers that are due on the firing list, or on the copies' list.
func (v *wheel) advance(ns int64) {
	to := tickOf(ns)
	for v.now < to {
		at, ok := v.nextTick()
		if !ok || at > to {
			v.now = to
			return
		}
		v.now = at
		for level := levels - 1; level > 0; level-- {
			if at&(1<<(level*levelBits)-1) == 0 {
				v.cascade(uint8(level), uint8(at>>(level*levelBits)&(slots-1)))
			}
		}
		v.expire(uint8(at & (slots - 1)))
	}
}

// cascade puts the timers of a slot that begins now into the levels below.
func (v *wheel) cascade(level, slot uint8) {
	for {
		t := v.list[level][slot]
		if t == nil {
			return
		}
		v.disarm(t)
		v.place(t) // what is due now, into the slot that expires next
	}
}

func (v *wheel) expire(slot uint8) {
	for {
		t := v.list[0][slot]
		if t == nil {
			return
		}
		v.disarm(t)
		v.due(t)
	}
}

func (v *wheel) due(t *Timer) {
	if t.class == Copy {
		v.push(t, listCopy, 0)
	} else {
		v.push(t, listFiring, 0)
	}
}

// pop takes the timer that became due first off one of the two lists, nil if it is empty.
func (v *wheel) pop(list uint8) *Timer {
	t := v.tail[list-levels]
	if t != nil {
		v.disarm(t)
	}
	return t
}
