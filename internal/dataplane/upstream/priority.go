// SPDX-License-Identifier: Apache-2.0

package upstream

// tally is how many hosts a priority has, and how many of them are well.
type tally struct{ hosts, healthy int }

// spill is how load is spread over priorities, in Envoy's whole per cents.
type spill struct {
	loads  []uint32 // they add up to 100, unless there is no priority at all
	health []uint32 // a priority's healthy share times the overprovisioning factor, at most 100
	panics []bool   // all hosts of the priority are used, healthy or not
}

// spread does Envoy's arithmetic: the first priority takes as much as its health allows, the next what is left, and so
// on. With all of them below the panic threshold (in per cent, 0: never), load goes by number of hosts instead.
func spread(tallies []tally, overprovisioning, threshold uint32) spill {
	n := len(tallies)
	s := spill{loads: make([]uint32, n), health: make([]uint32, n), panics: make([]bool, n)}
	if n == 0 {
		return s
	}
	sum := uint32(0)
	for i, t := range tallies {
		if t.hosts > 0 {
			s.health[i] = uint32(min(100, uint64(overprovisioning)*uint64(t.healthy)/uint64(t.hosts)))
		}
		sum = min(100, sum+s.health[i])
	}
	if sum > 0 {
		distribute(s.loads, s.health, sum)
	} else if threshold == 0 {
		s.loads[0] = 100
		return s
	}
	total := true
	for i, t := range tallies {
		s.panics[i] = sum < 100 && (t.hosts == 0 || 100*float64(t.healthy)/float64(t.hosts) < float64(threshold))
		total = total && s.panics[i]
	}
	if total {
		s.byNumber(tallies)
	}
	return s
}

// distribute gives each priority its share of 100 by its health, in order; what rounding leaves goes to the first that
// has any.
func distribute(loads, health []uint32, sum uint32) {
	left := uint32(100)
	first := -1
	for i, h := range health {
		if first < 0 && h > 0 {
			first = i
		}
		loads[i] = min(left, h*100/sum)
		left -= loads[i]
	}
	if first >= 0 {
		loads[first] += left
	}
}

// byNumber spreads load by the number of hosts: total panic.
func (s *spill) byNumber(tallies []tally) {
	all := 0
	for _, t := range tallies {
		all += t.hosts
	}
	clear(s.loads)
	if all == 0 {
		s.loads[0] = 100
		return
	}
	left := uint32(100)
	first := -1
	for i, t := range tallies {
		if first < 0 && t.hosts > 0 {
			first = i
		}
		s.loads[i] = uint32(100 * t.hosts / all)
		left -= s.loads[i]
	}
	s.loads[first] += left
}

// maxExcluded is how many priorities PriorityEvery can tell apart; Envoy has 128, and no configuration has as many.
const maxExcluded = 64

// at is the priority for a draw of 1 to 100.
func at(loads []uint32, draw uint32) int {
	sum := uint32(0)
	for i, l := range loads {
		if sum += l; draw <= sum {
			return i
		}
	}
	return 0
}

// without writes to loads what is in force when the priorities tried before are left out, every so many attempts: tried
// are the indexes of the priorities of the attempts so far. When none is left all are back in. It reports false if that
// changes nothing.
func (s *spill) without(loads *[maxExcluded]uint32, tried []int, every int) bool {
	n := len(s.health)
	if n > maxExcluded || every <= 0 {
		return false
	}
	var out uint64
	changed := false
	from := 0
	for end := every; end <= len(tried); end += every {
		for _, p := range tried[from:end] {
			out |= 1 << p
		}
		if !s.anyBut(out) {
			// A new round: as if nothing had been tried so far.
			out, from, changed = 0, end, false
			continue
		}
		changed = true
	}
	if !changed {
		return false
	}
	var health [maxExcluded]uint32
	sum := uint32(0)
	for i, h := range s.health {
		if out>>i&1 == 0 {
			health[i] = h
			sum = min(100, sum+h)
		}
	}
	distribute(loads[:n], health[:n], sum)
	return true
}

// anyBut reports whether a priority that is not out has a healthy host.
func (s *spill) anyBut(out uint64) bool {
	for i, h := range s.health {
		if h > 0 && out>>i&1 == 0 {
			return true
		}
	}
	return false
}
