// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"slices"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// linePoll is how often a line looks for room that connections to other hosts, or of other workers, left: those tell it
// nothing.
const linePoll = 20 * time.Millisecond

// Waiter is a production request in line for a connection to a host.
type Waiter interface {
	// Freed tells the first that one may be had: it leaves the line and takes it, or stays where it is, and says false, if
	// there is none after all.
	Freed() bool
	// Refused tells all, with a connection that could not be made, that there is none left to wait for. They are in line
	// no more.
	Refused(f Failure)
}

// line is the requests that wait for one of a worker's connections to a host, first come first served.
type line struct {
	host    *Host
	w       *loop.Worker
	waiters []Waiter
	told    bool // it is about to hear of a free connection
	poll    loop.Timer
}

// CanDial reports whether a worker may open another production connection to h: circuit_breakers.max_connections leaves
// room, or the worker has none to that host at all. So a limit never keeps a request from a host for ever, as Envoy's
// does not.
func (c *Cluster) CanDial(w *loop.Worker, h *Host) bool {
	limit := c.cfg.Load().MaxConnections
	return limit == Unlimited || c.connections.Load() < int64(limit) || h.pools[w.Index].open == 0
}

// InLine reports whether somebody waits for one of w's connections to h: who comes now has to get in line too.
func (h *Host) InLine(w *loop.Worker) bool {
	l := h.pools[w.Index].line
	return l != nil && len(l.waiters) > 0
}

// Wait puts x in line for one of w's connections to h. The caller has counted it as pending, which bounds the line.
func (h *Host) Wait(w *loop.Worker, x Waiter) {
	p := &h.pools[w.Index]
	if p.line == nil {
		p.line = &line{host: h, w: w}
		p.line.poll.Init(p.line.look)
	}
	l := p.line
	if l.waiters = append(l.waiters, x); len(l.waiters) == 1 {
		w.Arm(&l.poll, linePoll)
	}
}

// Leave takes x out of the line.
func (h *Host) Leave(w *loop.Worker, x Waiter) {
	l := h.pools[w.Index].line
	if l == nil {
		return
	}
	if i := slices.Index(l.waiters, x); i >= 0 {
		l.waiters = slices.Delete(l.waiters, i, i+1)
		l.rest()
	}
}

// Freed tells that w may have another connection to h, for one is idle or no more: the line hears it in the next turn.
func (h *Host) Freed(w *loop.Worker) {
	if l := h.pools[w.Index].line; l != nil && len(l.waiters) > 0 && !l.told {
		l.told = true
		w.Post(func() {
			l.told = false
			l.serve()
		})
	}
}

// refuse ends the wait for connections that cannot be made, unless there are others to wait for.
func (h *Host) refuse(w *loop.Worker, f Failure) {
	p := &h.pools[w.Index]
	if p.line == nil || p.open > 0 {
		return
	}
	all := p.line.waiters
	p.line.waiters = nil // who tries again gets in line anew
	p.line.rest()
	for _, x := range all {
		x.Refused(f)
	}
}

func (l *line) serve() {
	for len(l.waiters) > 0 && l.waiters[0].Freed() {
	}
}

func (l *line) look() {
	l.w.Arm(&l.poll, linePoll)
	l.serve()
	l.rest()
}

// rest ends the looking about when nobody waits.
func (l *line) rest() {
	if len(l.waiters) == 0 {
		l.w.Disarm(&l.poll)
	}
}
