// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"math"
	"sync"
)

const cacheLine = 64

// Statuses that Code counts; RFC 9110 §15 has three digits.
const (
	minStatus = 100
	maxStatus = 999
)

// Block is one worker's part of a Set. All its methods are for that worker's goroutine alone; what they count is seen
// by others after the worker's next Publish.
type Block struct {
	_ [cacheLine]byte // blocks of different workers share no cache line

	// Owned by the worker.
	schema *schema
	shard  *shard
	values []int64 // by schema, see there
	dirty  bool
	slots  [(maxStatus + 1) / 100]*[100]uint16 // status -> index in values; 0 is none
	codes  []uint16                            // statuses seen, in the order of their values

	// Guarded by shard.mu; written by the worker alone.
	published      []int64
	publishedCodes []uint16

	_ [cacheLine]byte
}

// shard is what one worker has in a registry.
type shard struct {
	_     [cacheLine]byte
	dirty []*Block   // owned by the worker: blocks with unpublished values
	mu    sync.Mutex // held by the worker once a turn, by a reader for the length of one block's copy
	_     [cacheLine]byte
}

func newBlock(s *schema, sh *shard) *Block {
	return &Block{schema: s, shard: sh, values: makeLines(s.size), published: makeLines(s.size)}
}

// makeLines returns n zeros in whole cache lines.
func makeLines(n int) []int64 {
	const line = cacheLine / 8
	return make([]int64, n, max(1, (n+line-1)/line)*line)
}

// Inc adds one to metric i of the kind.
func (b *Block) Inc(i int) { b.Add(i, 1) }

// Add adds n to metric i of the kind. Only a gauge takes a negative n.
func (b *Block) Add(i int, n int64) {
	b.values[i] += n
	if !b.dirty {
		b.mark()
	}
}

// Get returns the worker's own part of metric i, published or not.
func (b *Block) Get(i int) int64 { return b.values[i] }

// Code counts one final answer with that status. The first time a status is seen on a block it allocates. What is
// outside 100..999 is no status and is not counted; without Kind.Codes nothing is.
func (b *Block) Code(status int) {
	if status < minStatus || status > maxStatus {
		return
	}
	page := b.slots[status/100]
	if page == nil || page[status%100] == 0 {
		b.newCode(status)
		return
	}
	b.values[page[status%100]-1]++
	if !b.dirty {
		b.mark()
	}
}

// newCode gives status a value and counts it there. A slot is the value's index plus one.
func (b *Block) newCode(status int) {
	if b.schema.kind.Codes == "" {
		return
	}
	page := b.slots[status/100]
	if page == nil {
		page = new([100]uint16)
		b.slots[status/100] = page
	}
	b.values = append(b.values, 1)
	b.codes = append(b.codes, uint16(status))
	page[status%100] = uint16(len(b.values))
	if !b.dirty {
		b.mark()
	}
}

// Observe adds v to histogram h of the kind, in the unit of its buckets. NaN is not counted: it would spoil the sum
// for good.
func (b *Block) Observe(h int, v float64) {
	if v != v {
		return
	}
	hist := &b.schema.hists[h]
	n := 0
	for n < len(hist.buckets) && v > hist.buckets[n] {
		n++
	}
	b.values[hist.at+n]++
	sum := &b.values[hist.at+len(hist.buckets)+1]
	*sum = int64(math.Float64bits(math.Float64frombits(uint64(*sum)) + v))
	if !b.dirty {
		b.mark()
	}
}

func (b *Block) mark() {
	b.dirty = true
	b.shard.dirty = append(b.shard.dirty, b)
}

// publish copies the values out. The caller holds shard.mu.
func (b *Block) publish() {
	b.dirty = false
	b.published = append(b.published[:0], b.values...)
	if len(b.publishedCodes) != len(b.codes) {
		b.publishedCodes = append(b.publishedCodes, b.codes[len(b.publishedCodes):]...)
	}
}
