// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"cmp"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// defaultTable is Envoy's size of a Maglev table.
const defaultTable = 65537

// maglev is Google's consistent hash with Envoy's permutations, so that both send a key to the same host.
type maglev struct {
	table []uint32 // index into hosts
	hosts []*Host
}

// maxTable is the largest table that Envoy's validation lets through.
const maxTable = 5000011

// newMaglev fills a table of size places, 0 for the default. The permutations need a prime number: others are taken for
// the default.
func newMaglev(hosts []*Host, weights []float64, size uint32) maglev {
	if size > maxTable || !prime(size) {
		size = defaultTable
	}
	type entry struct {
		host           uint32
		offset, skip   uint64
		weight, target float64
		next           uint64
	}
	most := slices.Max(weights)
	entries := make([]entry, len(hosts))
	m := uint64(size)
	for i, h := range hosts {
		seeded := xxhash.NewWithSeed(1)
		_, _ = seeded.WriteString(h.Name) // it cannot fail
		entries[i] = entry{
			host: uint32(i), weight: weights[i],
			offset: xxhash.Sum64String(h.Name) % m, skip: seeded.Sum64()%max(m-1, 1) + 1,
		}
	}
	// The order decides who is first at a place that several want.
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(hosts[a.host].Name, hosts[b.host].Name) })

	const free = math.MaxUint32
	t := maglev{table: make([]uint32, m), hosts: hosts}
	for i := range t.table {
		t.table[i] = free
	}
	left := len(t.table)
	for round := 1.0; left > 0; round++ {
		for i := 0; i < len(entries) && left > 0; i++ {
			e := &entries[i]
			if round*e.weight < e.target {
				continue
			}
			e.target += most
			at := (e.offset + e.skip*e.next) % m
			for t.table[at] != free {
				e.next++
				at = (e.offset + e.skip*e.next) % m
			}
			t.table[at] = e.host
			e.next++
			left--
		}
	}
	return t
}

// at is the host of a hash; later attempts look elsewhere.
func (t *maglev) at(hash uint64, attempt int) *Host {
	if attempt > 0 {
		hash ^= math.MaxUint64 - uint64(attempt) + 1
	}
	return t.hosts[t.table[hash%uint64(len(t.table))]]
}

func prime(n uint32) bool {
	if n < 2 {
		return false
	}
	for d := uint64(2); d*d <= uint64(n); d++ {
		if uint64(n)%d == 0 {
			return false
		}
	}
	return true
}
