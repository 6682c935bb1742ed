// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// alias draws an index by weight in constant time (Walker's method as Vose has it): each column holds at most two.
type alias struct {
	n     int
	cut   []uint64 // of column i: below it is i, from it on other[i]; nil if all weights are the same
	other []uint32
}

func newAlias(weights []float64) alias {
	n := len(weights)
	a := alias{n: n}
	if even(weights) {
		return a
	}
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	a.cut, a.other = make([]uint64, n), make([]uint32, n)
	share := make([]float64, n) // of a column, 1 on average
	small, large := make([]uint32, 0, n), make([]uint32, 0, n)
	for i, w := range weights {
		share[i] = w / sum * float64(n)
		if share[i] < 1 {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a.cut[s], a.other[s] = uint64(math.Ldexp(share[s], 64)), l
		if share[l] -= 1 - share[s]; share[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) { // whole columns, but for rounding
		a.cut[i], a.other[i] = math.MaxUint64, i
	}
	return a
}

// at is the index that the random number r falls on.
func (a *alias) at(r uint64) int {
	i, rest := bits.Mul64(r, uint64(a.n))
	if a.cut != nil && rest >= a.cut[i] {
		return int(a.other[i])
	}
	return int(i)
}

func even(weights []float64) bool {
	for _, w := range weights {
		if w != weights[0] {
			return false
		}
	}
	return true
}

// maxTurns bounds the list that round robin goes through, as long as there are fewer hosts than a quarter of it.
const maxTurns = 4096

// turns lists hosts as often as their weights say and as evenly as can be. Whole weights are followed exactly if the list
// stays in its bound.
func turns(hosts []*Host, weights []float64) []*Host {
	if even(weights) {
		return hosts
	}
	counts := counts(weights, max(maxTurns, 4*len(weights)))
	type turn struct {
		at   float64
		host int
	}
	var all []turn
	for i, n := range counts {
		for k := range n {
			all = append(all, turn{(float64(k) + 0.5) / float64(n), i})
		}
	}
	slices.SortFunc(all, func(a, b turn) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.host, b.host)) })
	list := make([]*Host, len(all))
	for i, t := range all {
		list[i] = hosts[t.host]
	}
	return list
}

// counts turns weights into whole numbers that add up to about limit at most, each at least 1.
func counts(weights []float64, limit int) []int {
	sum, whole, divisor := 0.0, true, uint64(0)
	for _, w := range weights {
		sum += w
		if whole = whole && w == math.Trunc(w) && w < 1<<53; whole {
			divisor = gcd(divisor, uint64(w))
		}
	}
	out := make([]int, len(weights))
	if whole && sum/float64(divisor) <= float64(limit) {
		for i, w := range weights {
			out[i] = int(uint64(w) / divisor)
		}
		return out
	}
	for i, w := range weights {
		out[i] = max(1, int(math.Round(w/sum*float64(limit))))
	}
	return out
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
