// SPDX-License-Identifier: Apache-2.0

package load

import (
	"math/bits"
	"time"
)

// A bucket spans 1/32 of its power of two, so a quantile is off by at most 3 %.
const (
	subBits    = 5
	subBuckets = 1 << subBits
)

// histogram counts durations. Its size is fixed.
type histogram struct {
	counts [(64 - subBits) * subBuckets]int64
	total  int64
	max    time.Duration
}

func (h *histogram) observe(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.total++
	h.max = max(h.max, d)
}

// quantile returns the upper end of the bucket that holds the q-th part of the durations, 0 if there are none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := int64(q * float64(h.total))
	for i, n := range h.counts {
		if rank -= n; rank < 0 {
			return min(time.Duration(upper(i)), h.max)
		}
	}
	return h.max
}

func bucket(v uint64) int {
	shift := max(0, bits.Len64(v)-subBits-1)
	return shift*subBuckets + int(v>>shift)
}

// upper is the largest value of bucket i.
func upper(i int) uint64 {
	shift := max(0, i/subBuckets-1)
	return (uint64(i-shift*subBuckets)+1)<<shift - 1
}
