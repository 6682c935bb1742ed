// SPDX-License-Identifier: Apache-2.0

// Package chunk is a worker's memory: counted chunks of two sizes, a bounded pool of free ones, and queues of bytes
// made of them. It does no I/O, and nothing in it may be used by two goroutines: chunks never leave their worker.
package chunk

// The capacities of a chunk in bytes. Large ones receive; small ones hold heads and other short writes.
const (
	Size  = 64 << 10
	Small = 4 << 10
)

// Free chunks that a pool keeps at most (16 MiB large, 4 MiB small); more are left to the collector.
const (
	keepLarge = 256
	keepSmall = 1024
	keepSegs  = 4096
)

// Pool holds the free chunks of one worker. The zero value is ready.
type Pool struct {
	large, small stack
	segs         *segment
	nSegs        int
}

// stack is the free chunks of one size, the one given back last on top.
type stack struct {
	top   *Chunk
	n     int
	least int // the lowest n since the last Ease: so many were not needed
}

func (s *stack) pop() *Chunk {
	c := s.top
	if c == nil {
		return nil
	}
	s.top, c.next = c.next, nil
	s.n--
	s.least = min(s.least, s.n)
	c.refs = 1
	return c
}

func (s *stack) push(c *Chunk) {
	c.next, s.top = s.top, c
	s.n++
}

// ease drops half of what was not needed, and the last one too.
func (s *stack) ease() {
	for range (s.least + 1) / 2 {
		c := s.top
		s.top, c.next = c.next, nil
		s.n--
	}
	s.least = s.n
}

// Large returns a chunk of Size bytes with one reference, the caller's.
func (p *Pool) Large() *Chunk {
	if c := p.large.pop(); c != nil {
		return c
	}
	return &Chunk{buf: make([]byte, Size), refs: 1, pool: p}
}

// Small returns a chunk of Small bytes with one reference, the caller's.
func (p *Pool) Small() *Chunk {
	if c := p.small.pop(); c != nil {
		return c
	}
	return &Chunk{buf: make([]byte, Small), refs: 1, pool: p}
}

// Free is the number of free chunks.
func (p *Pool) Free() int { return p.large.n + p.small.n }

// Ease leaves half of the chunks that were free all the time since the call before to the collector. Called every few
// seconds, it has the memory of a burst go when the burst is over, while what is in steady use stays.
func (p *Pool) Ease() {
	p.large.ease()
	p.small.ease()
}

// Trim leaves all free chunks to the collector.
func (p *Pool) Trim() { p.large, p.small = stack{}, stack{} }

func (p *Pool) put(c *Chunk) {
	poison(c.buf)
	c.used = 0
	switch {
	case len(c.buf) == Size && p.large.n < keepLarge:
		p.large.push(c)
	case len(c.buf) == Small && p.small.n < keepSmall:
		p.small.push(c)
	}
}

// Chunk is a piece of memory with a count of references. Queues reference the chunks their bytes lie in.
type Chunk struct {
	buf  []byte
	used int // what a queue's Append has filled
	refs int
	pool *Pool
	next *Chunk // in the pool's free list

	meter   Meter // of the first metered reference; charged until the last is gone
	metered int
}

// Buf is the whole memory of c, for who holds its only reference and fills it.
func (c *Chunk) Buf() []byte { return c.buf }

// Shared reports whether there are more references than one.
func (c *Chunk) Shared() bool { return c.refs > 1 }

// Retain adds a reference.
func (c *Chunk) Retain() { c.refs++ }

// Release drops a reference; the last one gives c back to its pool.
func (c *Chunk) Release() {
	c.refs--
	if c.refs > 0 {
		return
	}
	if c.refs < 0 {
		panic("chunk: released more often than referenced") //nolint:forbidigo // or one client gets another's bytes
	}
	c.pool.put(c)
}

// charge adds a metered reference.
func (c *Chunk) charge(m Meter) {
	if m == nil {
		return
	}
	if c.metered == 0 {
		c.meter = m
		m.Charge(len(c.buf))
	}
	c.metered++
}

// discharge drops a metered reference.
func (c *Chunk) discharge(m Meter) {
	if m == nil {
		return
	}
	c.metered--
	if c.metered == 0 {
		c.meter.Release(len(c.buf))
		c.meter = nil
	}
}

// Bytes are received bytes on their way through a callback. They die when the callback returns, unless C is referenced
// (Queue.Push does that, or copies). C may be nil.
type Bytes struct {
	B []byte
	C *Chunk // that B lies in
}

// Meter accounts the memory of chunks: a chunk's capacity is charged once, to the meter of the first metered queue that
// references it, and released when no metered queue references it any more. A meter outlives the chunks charged to it
// and calls nothing back.
type Meter interface {
	Charge(n int)
	Release(n int)
}

// Poison overwrites b in builds with the race detector, so that a reader of dead bytes shows. Otherwise it does
// nothing.
func Poison(b []byte) { poison(b) }
