// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"runtime/debug"
	"time"
)

// keepEntries bounds the memory that lists keep from turn to turn.
const keepEntries = 4096

// easeEvery is how often a pool's free chunks that were not needed are looked at.
const easeEvery = 5 * time.Second

// keep empties a list and keeps its memory, unless that is large.
func keep[T any](s []T) []T {
	if cap(s) > keepEntries {
		return nil
	}
	return s[:0]
}

// tick reads the clocks.
func (w *Worker) tick() {
	w.wall = w.date()
	w.now = w.clock()
}

// turn is one round of the loop: what became ready is collected; mailbox, production, timers; then copies for a bounded
// time; then what ended is given back.
func (w *Worker) turn() error {
	block := !w.pending()
	if block {
		w.idle(true)
	}
	events, err := w.drv.wait(block, w.wheel.deadline())
	w.idle(false)
	if err != nil {
		return err
	}
	w.tick()
	w.worked = len(events) > 0
	for _, e := range events {
		w.note(e)
	}
	if w.mail.run() {
		w.worked = true
	}
	w.moved = 0
	p := &w.lists[Production]
	for n := p.ready.n; n > 0; n-- {
		w.serve(p.ready.pop(linkReady))
		w.worked = true
	}
	w.timers()
	for n := p.dirty.n; n > 0; n-- {
		w.flush(p.dirty.pop(linkDirty))
		w.worked = true
	}
	if w.copiesPending() {
		w.worked = true
		w.copies()
	}
	w.reap()
	w.giveBack()
	if !w.easing && w.Pool.Free() > 0 {
		w.easing = true
		w.Arm(&w.ease, easeEvery)
	}
	if w.worked && w.cfg.Publish != nil {
		w.cfg.Publish()
	}
	return nil
}

// pending reports whether there is something to do before the next event. Posts and Stop are events.
func (w *Worker) pending() bool {
	p := &w.lists[Production]
	return p.ready.n > 0 || p.dirty.n > 0 || w.copiesPending()
}

func (w *Worker) copiesPending() bool {
	c := &w.lists[Copy]
	return c.ready.n > 0 || c.dirty.n > 0 || w.copyTasks.n > 0 || w.wheel.tail[listCopy-levels] != nil
}

func (w *Worker) timers() {
	w.wheel.advance(w.now)
	for t := w.wheel.pop(listFiring); t != nil; t = w.wheel.pop(listFiring) {
		w.worked = true
		t.fn()
	}
}

// giveBack frees what was deferred, in order; what that defers too.
func (w *Worker) giveBack() {
	for i := 0; i < len(w.frees); i++ {
		f := w.frees[i]
		w.frees[i] = nil
		f.Free()
	}
	w.frees = keep(w.frees)
}

// budget is what is left for copies in this turn.
type budget struct {
	until int64 // by the clock
	bytes int
}

func (w *Worker) spent(b budget) bool { return w.moved >= b.bytes || w.clock() >= b.until }

// copies serves, runs and writes what belongs to copies until it is all done or the budget is spent. What was cut short
// stays in its list, and the next turn begins with the part after it, so that none of them starves the others.
func (w *Worker) copies() {
	start := w.clock()
	b := budget{
		until: start + max(int64(CopyTime), start-w.now),
		bytes: max(CopyBytes, w.moved),
	}
	w.moved = 0
	for range copyParts {
		part := w.copyPart
		w.copyPart = (part + 1) % copyParts
		var through bool
		switch part {
		case 0:
			through = w.serveCopies(b)
		case 1:
			through = w.runTasks(b)
		default:
			through = w.flushCopies(b)
		}
		if !through {
			return
		}
	}
}

const copyParts = 3

// serveCopies reports whether it went through its list.
func (w *Worker) serveCopies(b budget) bool {
	l := &w.lists[Copy].ready
	for n := l.n; n > 0; n-- {
		w.serveCopy(l.pop(linkReady))
		if w.spent(b) {
			return false
		}
	}
	return true
}

// runTasks reports whether it went through its list.
func (w *Worker) runTasks(b budget) bool {
	for t := w.wheel.pop(listCopy); t != nil; t = w.wheel.pop(listCopy) {
		w.run(t.fn)
		if w.spent(b) {
			return false
		}
	}
	for n := w.copyTasks.n; n > 0; n-- {
		w.run(w.copyTasks.pop().fn)
		if w.spent(b) {
			return false
		}
	}
	return true
}

// flushCopies reports whether it went through its list.
func (w *Worker) flushCopies(b budget) bool {
	l := &w.lists[Copy].dirty
	for n := l.n; n > 0; n-- {
		w.flush(l.pop(linkDirty))
		if w.spent(b) {
			return false
		}
	}
	return true
}

func (w *Worker) serveCopy(c *Conn) {
	defer w.contain(c)
	w.serve(c)
}

func (w *Worker) run(fn func()) {
	defer w.contain(nil)
	fn()
}

// contain recovers from a panic in what belongs to copies: the connection, if there is one, is reset, and its owner
// told.
func (w *Worker) contain(c *Conn) {
	v := recover()
	if v == nil {
		return
	}
	w.renew(0) // the callback may have referenced what was received before it fell
	w.cfg.Logger.Error("panic in a copy contained",
		"worker", w.Index, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	if w.cfg.OnPanic != nil {
		w.cfg.OnPanic(v)
	}
	if c == nil || c.owner == nil {
		return
	}
	o := c.owner
	c.Abort()
	w.run(func() { o.Gone(ErrPanic) })
}
