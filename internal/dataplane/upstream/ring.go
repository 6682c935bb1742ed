// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Envoy's defaults for the size of a ring.
const (
	defaultMinRing = 1024
	defaultMaxRing = 8 << 20
)

// hashRing is a consistent hash with Envoy's points: the hashes of "<address>_<i>", so that both send a key to the same
// host.
type hashRing struct {
	points []uint64 // ascending
	owners []uint32 // index into hosts
	hosts  []*Host
}

// newRing gives each host points by its weight, at least one point to the lightest. The ring has about size.Min points,
// and never more than size.Max.
func newRing(hosts []*Host, weights []float64, size Ring) hashRing {
	low, high := size.Min, size.Max
	if low == 0 {
		low = defaultMinRing
	}
	if high == 0 || high > defaultMaxRing {
		high = defaultMaxRing // Envoy's validation knows no larger ring
	}
	sum, least := 0.0, math.Inf(1)
	for _, w := range weights {
		sum += w
		least = min(least, w)
	}
	least /= sum
	scale := min(math.Ceil(least*float64(low))/least, float64(high))
	type point struct {
		hash  uint64
		owner uint32
	}
	points := make([]point, 0, int(math.Ceil(scale)))
	target := 0.0
	var text []byte
	for i, h := range hosts {
		target += scale * weights[i] / sum
		text = append(append(text[:0], h.Name...), '_')
		stem := len(text)
		for k := int64(0); float64(len(points)) < target; k++ {
			text = strconv.AppendInt(text[:stem], k, 10)
			points = append(points, point{xxhash.Sum64(text), uint32(i)})
		}
	}
	slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.hash, b.hash) })
	r := hashRing{points: make([]uint64, len(points)), owners: make([]uint32, len(points)), hosts: hosts}
	for i, p := range points {
		r.points[i], r.owners[i] = p.hash, p.owner
	}
	return r
}

// at is the owner of the first point from hash on, and for later attempts of those that follow.
func (r *hashRing) at(hash uint64, attempt int) *Host {
	i, _ := slices.BinarySearch(r.points, hash)
	return r.hosts[r.owners[(i+attempt)%len(r.points)]]
}
