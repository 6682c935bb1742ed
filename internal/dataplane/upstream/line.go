// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"slices"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// Waiter is a production request in line for a connection to a host. Freed tells that one may be had: it looks, and gets
// in line again if there is none after all.
type Waiter interface{ Freed() }

// CanDial reports whether a worker may open another production connection to h: circuit_breakers.max_connections leaves
// room, or the worker has none to that host at all. So a limit never keeps a request from a host for ever, as Envoy's
// does not.
func (c *Cluster) CanDial(w *loop.Worker, h *Host) bool {
	limit := c.cfg.Load().MaxConnections
	return limit == Unlimited || c.connections.Load() < int64(limit) || h.pools[w.Index].open == 0
}

// Wait puts x in line for one of w's connections to h. The caller has counted it as pending, which bounds the line.
func (h *Host) Wait(w *loop.Worker, x Waiter) {
	p := &h.pools[w.Index]
	p.line = append(p.line, x)
}

// Leave takes x out of the line.
func (h *Host) Leave(w *loop.Worker, x Waiter) {
	p := &h.pools[w.Index]
	if i := slices.Index(p.line, x); i >= 0 {
		p.line = slices.Delete(p.line, i, i+1)
	}
}

// freed tells that a production connection of w is idle or no more: whoever is first in line hears it in the next turn.
func (h *Host) freed(w *loop.Worker) {
	p := &h.pools[w.Index]
	if len(p.line) == 0 {
		return
	}
	if p.free++; p.free == 1 {
		w.Post(func() { h.serveLine(w) })
	}
}

func (h *Host) serveLine(w *loop.Worker) {
	p := &h.pools[w.Index]
	for ; p.free > 0; p.free-- {
		if len(p.line) > 0 {
			x := p.line[0]
			p.line = slices.Delete(p.line, 0, 1)
			x.Freed()
		}
	}
}
