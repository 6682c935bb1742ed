// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// hostSet is all that a pick needs, as it is between two changes of hosts, their health or their weights. Immutable: a
// change makes another one, off the loops.
type hostSet struct {
	policy  Policy
	choices int
	hosts   []*Host // all of them

	// single is the one host that can be picked, if there is just one and that is no panic: nothing is to be drawn.
	single *Host
	// pair is what LeastRequest draws from in its commonest form: two choices of equal weights, all in one priority.
	pair []*Host
	// plain is the priority that has all the load, if there is nothing more to a first attempt's choice than the policy.
	plain *level
	// only is the priority that has all the load, nil if it is spread.
	only       *level
	levels     []level // by priority
	priorities []uint32
	spill      spill
}

// level is one priority.
type level struct {
	index  int
	panics bool
	group           // all that can be picked; the weights hold the localities'
	local  []group  // LeastRequest by locality: the choices are made in one
	draw   alias    // of local
	turns  []*Host  // RoundRobin
	ring   hashRing // RingHash
	maglev maglev   // Maglev
}

// group is hosts that a pick is made among.
type group struct {
	hosts   []*Host
	entries []entry // Random and LeastRequest: the same hosts, as a draw wants them
	even    bool    // all weights are the same
}

// entry is a host with its column of an alias, in one place: a draw touches nothing else.
type entry struct {
	host   *Host
	weight float64
	cut    uint64
	other  uint32
}

func newGroup(hosts []*Host, weights []float64) group {
	g := group{hosts: hosts, entries: make([]entry, len(hosts)), even: even(weights)}
	a := newAlias(weights)
	for i, h := range hosts {
		g.entries[i] = entry{host: h, weight: weights[i], cut: math.MaxUint64, other: uint32(i)}
		if !g.even {
			g.entries[i].cut, g.entries[i].other = a.cut[i], a.other[i]
		}
	}
	return g
}

// at is the host that the random number r falls on.
func (g *group) at(r uint64) *entry {
	i, rest := bits.Mul64(r, uint64(len(g.entries)))
	e := &g.entries[i]
	other := uint64(e.other)
	if rest >= e.cut { // as good as random: let it be a conditional move
		i = other
	}
	return &g.entries[i]
}

// member is a host with its part in the cluster.
type member struct {
	host *Host
	*Endpoint
}

// newHostSet works out what picks of one class go by.
func newHostSet(cfg *Config, members []member, class loop.Class, now time.Time) *hostSet {
	s := &hostSet{policy: cfg.Policy, choices: int(cfg.Choices)}
	if s.choices == 0 {
		s.choices = 2
	}
	if len(members) == 0 {
		return s
	}
	by := map[uint32][]member{}
	for _, m := range members {
		s.hosts = append(s.hosts, m.host)
		by[m.Priority] = append(by[m.Priority], m)
	}
	for p := range by {
		s.priorities = append(s.priorities, p)
	}
	slices.Sort(s.priorities)
	tallies := make([]tally, len(s.priorities))
	for i, p := range s.priorities {
		tallies[i].hosts = len(by[p])
		for _, m := range by[p] {
			if m.well(class) {
				tallies[i].healthy++
			}
		}
	}
	over := cfg.Overprovisioning
	if over == 0 {
		over = defaultOverprovisioning
	}
	threshold := uint32(0)
	if p := cfg.PanicPercent; p > 0 {
		threshold = uint32(math.Round(min(p, 100))) // Envoy knows whole ones only
	}
	s.spill = spread(tallies, over, threshold)
	s.levels = make([]level, len(s.priorities))
	pickable := 0
	for i, p := range s.priorities {
		l := &s.levels[i]
		l.index, l.panics = i, s.spill.panics[i]
		l.fill(cfg, by[p], class, over, now)
		pickable += len(l.hosts)
		if s.spill.loads[i] == 100 {
			s.only = l
		}
	}
	if l := s.only; l != nil && !l.panics && len(l.hosts) > 0 && l.local == nil {
		s.plain = l
		if s.policy == LeastRequest && s.choices == 2 && l.even {
			s.pair = l.hosts
		}
	}
	if pickable == 1 && s.only != nil && !s.only.panics && len(s.only.hosts) == 1 {
		s.single = s.only.hosts[0]
	}
	return s
}

// defaultOverprovisioning is Envoy's, in per cent: a priority spills when less than 1/1.4 of it is healthy.
const defaultOverprovisioning = 140

// well reports whether requests of that class go to the host outside of a panic.
func (m *member) well(class loop.Class) bool { return !m.Unhealthy && !m.host.Ejected(class) }

// weight is the host's share, less while it warms up.
func (m *member) weight(cfg *Config, now time.Time) float64 {
	return float64(max(m.Weight, 1)) * cfg.warmth(now.Sub(m.host.since))
}

// locality is the hosts of one locality in one priority.
type locality struct {
	weight uint32
	all    int
	hosts  []*Host
	shares []float64
	sum    float64
}

// fill makes what the policy goes by out of the members of one priority.
func (l *level) fill(cfg *Config, members []member, class loop.Class, over uint32, now time.Time) {
	var order []Locality
	places := map[Locality]*locality{}
	var hosts []*Host
	var weights []float64
	for i := range members {
		m := &members[i]
		p := places[m.Locality]
		if p == nil {
			p = &locality{weight: m.LocalityWeight}
			places[m.Locality] = p
			order = append(order, m.Locality)
		}
		p.all++
		if !l.panics && !m.well(class) {
			continue
		}
		w := m.weight(cfg, now)
		p.hosts, p.shares = append(p.hosts, m.host), append(p.shares, w)
		p.sum += w
		hosts, weights = append(hosts, m.host), append(weights, w)
	}
	hashed := cfg.Policy == RingHash || cfg.Policy == Maglev
	if cfg.LocalityWeighted && (hashed || !l.panics) {
		var groups []group
		var shares []float64
		var folded []float64
		var chosen []*Host
		for _, key := range order {
			p := places[key]
			share := float64(p.weight)
			if !hashed {
				share *= min(1, float64(over)/100*float64(len(p.hosts))/float64(p.all))
			}
			if share == 0 || len(p.hosts) == 0 {
				continue
			}
			for i, h := range p.hosts {
				chosen, folded = append(chosen, h), append(folded, p.shares[i]/p.sum*share)
			}
			groups, shares = append(groups, newGroup(p.hosts, p.shares)), append(shares, share)
		}
		if len(chosen) > 0 { // else the weights say nothing
			hosts, weights = chosen, folded
			if cfg.Policy == LeastRequest && len(groups) > 1 {
				l.local, l.draw = groups, newAlias(shares)
			}
		}
	}
	l.build(cfg, hosts, weights)
}

func (l *level) build(cfg *Config, hosts []*Host, weights []float64) {
	l.hosts = hosts
	if len(hosts) == 0 {
		return
	}
	switch cfg.Policy {
	case RoundRobin:
		l.turns = turns(hosts, weights)
	case RingHash:
		l.ring = newRing(hosts, weights, cfg.Ring)
	case Maglev:
		l.maglev = newMaglev(hosts, weights, cfg.TableSize)
	default:
		l.group = newGroup(hosts, weights)
	}
}

// levelOf is the index of a host's priority, -1 if the set has none such.
func (s *hostSet) levelOf(h *Host) int {
	i, ok := slices.BinarySearchFunc(s.priorities, h.meta.Load().Priority, cmp.Compare[uint32])
	if !ok {
		return -1
	}
	return i
}
