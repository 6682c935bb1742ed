// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math/bits"
	"slices"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// Pick chooses a host by the cluster's policy and what the request brings, nil if it has none. ch is the caller's again
// when it returns.
func (c *Cluster) Pick(w *loop.Worker, ch *Choice) *Host {
	s := c.sets[ch.Class].Load()
	if s.single != nil {
		return s.single
	}
	if s.pair != nil && len(ch.Tried) == 0 {
		r, n := w.Rand(), uint64(len(s.pair))
		i, _ := bits.Mul64(r, n)
		k, _ := bits.Mul64(bits.RotateLeft64(r, 32), n)
		a, b := s.pair[i], s.pair[k]
		if b.active.Load() < a.active.Load() {
			return b
		}
		return a
	}
	if s.plain != nil && len(ch.Tried) == 0 {
		if s.policy == RoundRobin {
			return c.turn(s.plain, w, ch)
		}
		return c.choose(s, s.plain, w, ch, w.Rand(), 0)
	}
	if s.policy == ClusterProvided {
		return c.original(w, ch.Original)
	}
	if len(s.levels) == 0 {
		return nil
	}
	h := c.draw(s, w, ch, 0)
	if ch.HostAttempts > 0 && h != nil && slices.Contains(ch.Tried, h) {
		return c.another(s, w, ch, h)
	}
	return h
}

// mostDraws bounds the draws for one retry, whatever the policy wants: a configuration cannot stop a loop.
const mostDraws = 256

// another draws again while the host is one that was tried. When luck runs out any other of the cluster's is taken that
// a draw could have had: Envoy would send the retry to the same host again.
func (c *Cluster) another(s *hostSet, w *loop.Worker, ch *Choice, h *Host) *Host {
	for i := 1; i <= min(ch.HostAttempts, mostDraws); i++ {
		h = c.draw(s, w, ch, i)
		if h == nil || !slices.Contains(ch.Tried, h) {
			return h
		}
	}
	for i := range s.levels {
		if s.spill.loads[i] == 0 {
			continue
		}
		for _, other := range s.levels[i].hosts {
			if !slices.Contains(ch.Tried, other) {
				return other
			}
		}
	}
	return h
}

// draw is one choice: the priority, then the host by the policy.
func (c *Cluster) draw(s *hostSet, w *loop.Worker, ch *Choice, attempt int) *Host {
	r := w.Rand()
	l := s.only
	if l == nil || ch.PriorityEvery > 0 && len(ch.Tried) >= ch.PriorityEvery {
		if s.policy == RingHash || s.policy == Maglev {
			if ch.Hashed {
				r = ch.Hash
			}
			l = s.level(ch, uint32(r%100)+1)
		} else {
			var p uint64
			p, r = bits.Mul64(r, 100) // what is left of r is as random
			l = s.level(ch, uint32(p)+1)
		}
	}
	if l.panics {
		c.Stats(w).Inc(LbHealthyPanic)
	}
	if len(l.hosts) == 0 {
		return nil
	}
	return c.choose(s, l, w, ch, r, attempt)
}

// choose is the policy's choice in a priority that has hosts.
func (c *Cluster) choose(s *hostSet, l *level, w *loop.Worker, ch *Choice, r uint64, attempt int) *Host {
	switch s.policy {
	case RoundRobin:
		return c.turn(l, w, ch)
	case Random:
		return l.at(r).host
	case RingHash, Maglev:
		if ch.Hashed {
			r = ch.Hash
		}
		if s.policy == RingHash {
			return l.ring.at(r, attempt)
		}
		return l.maglev.at(r, attempt)
	}
	g := &l.group
	if l.local != nil {
		g = &l.local[l.draw.at(r)]
		r = w.Rand()
	}
	return g.least(w, r, s.choices)
}

// level is the priority for a draw of 1 to 100, for a retry without those it has tried.
func (s *hostSet) level(ch *Choice, draw uint32) *level {
	if ch.PriorityEvery > 0 && len(ch.Tried) >= ch.PriorityEvery {
		var room [16]int
		tried := room[:0]
		for _, h := range ch.Tried {
			if i := s.levelOf(h); i >= 0 {
				tried = append(tried, i)
			}
		}
		var loads [maxExcluded]uint32
		if s.spill.without(&loads, tried, ch.PriorityEvery) {
			return &s.levels[at(loads[:len(s.levels)], draw)]
		}
	}
	return &s.levels[at(s.spill.loads, draw)]
}

// turn is whose turn it is with RoundRobin, on this worker.
func (c *Cluster) turn(l *level, w *loop.Worker, ch *Choice) *Host {
	next := &c.cells[w.Index].next[ch.Class][min(l.index, maxCursors-1)]
	*next++
	return l.turns[*next%uint32(len(l.turns))]
}

// least draws some hosts by weight and takes the one with fewest requests in flight for its weight, of equal ones the
// first.
func (g *group) least(w *loop.Worker, r uint64, choices int) *Host {
	best := g.at(r)
	load := best.host.active.Load()
	for i := 1; i < choices; i++ {
		if i == 1 {
			r = bits.RotateLeft64(r, 32)
		} else {
			r = w.Rand()
		}
		e := g.at(r)
		if other := e.host.active.Load(); float64(other)*best.weight < float64(load)*e.weight {
			best, load = e, other
		}
	}
	return best.host
}
