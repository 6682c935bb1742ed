// SPDX-License-Identifier: Apache-2.0

package chunk

// referAt is the length from which Push references a chunk; shorter pieces are copied, so that few bytes never hold
// much memory.
const referAt = 16 << 10

// Queue is a FIFO of bytes lying in chunks. The zero value is an empty queue without a meter. An empty queue holds no
// memory. It has no bound of its own: its owner watches Len and Held.
type Queue struct {
	Meter Meter // of every chunk held; set only while the queue is empty. May be nil.

	head, tail *segment
	open       *segment // the last one in the chunk that Append fills; nil if that is consumed
	ref        *segment // the last one in the chunk that Push referenced last; nil if that is consumed
	n, held    int
}

// segment is a run of bytes in one chunk. Of a queue's segments in one chunk only the last holds the reference: a FIFO
// consumes the others before it.
type segment struct {
	b     []byte
	c     *Chunk
	next  *segment
	end   int // where b ends in a chunk that Append fills
	holds bool
}

// Len is the number of bytes queued.
func (q *Queue) Len() int { return q.n }

// Held is the capacity in bytes of the chunks that q holds. A chunk that two queues hold counts in both.
func (q *Queue) Held() int { return q.held }

// Append copies b to the end, into the room of the chunk it filled last, then into new chunks.
func (q *Queue) Append(p *Pool, b []byte) {
	for len(b) > 0 {
		var c *Chunk
		if q.open != nil && q.open.c.used < len(q.open.c.buf) {
			c = q.open.c
		} else {
			c = p.chunkFor(len(b))
		}
		n := copy(c.buf[c.used:], b)
		if s := q.open; s != nil && s == q.tail && s.c == c && s.end == c.used {
			s.b = s.b[:len(s.b)+n]
		} else {
			if s != nil && s.c == c {
				c.Retain()
			}
			q.add(c, c.buf[c.used:c.used+n], &q.open)
		}
		c.used += n
		q.open.end = c.used
		q.n += n
		b = b[n:]
	}
}

// Push adds b to the end: by reference if it has a chunk and at least 16 KiB, else by copy.
func (q *Queue) Push(p *Pool, b Bytes) {
	if b.C == nil || len(b.B) < referAt {
		q.Append(p, b.B)
		return
	}
	b.C.Retain()
	q.add(b.C, b.B, &q.ref)
	q.n += len(b.B)
}

// ShareWith adds all bytes of q to the end of dst, as Push would, and leaves q as it is.
func (q *Queue) ShareWith(p *Pool, dst *Queue) {
	for s := q.head; s != nil; s = s.next {
		dst.Push(p, Bytes{B: s.b, C: s.c})
	}
}

// Buffers appends the queued pieces in order to dst, at most as many as fit in its capacity.
func (q *Queue) Buffers(dst [][]byte) [][]byte {
	for s := q.head; s != nil && len(dst) < cap(dst); s = s.next {
		if len(s.b) > 0 {
			dst = append(dst, s.b)
		}
	}
	return dst
}

// Discard removes the first n bytes, all if there are fewer, and lets go of chunks that no byte is in any more.
func (q *Queue) Discard(n int) {
	for q.head != nil {
		s := q.head
		if n < len(s.b) {
			s.b = s.b[n:]
			q.n -= n
			return
		}
		n -= len(s.b)
		q.n -= len(s.b)
		q.drop()
	}
}

// Free removes everything.
func (q *Queue) Free() { q.Discard(q.n) }

// MoveTo moves all bytes to the end of dst. Short pieces are copied if dst has room for them in a chunk of its own.
func (q *Queue) MoveTo(dst *Queue) {
	if q == dst {
		return
	}
	for q.head != nil {
		s := q.head
		if o := dst.open; len(s.b) < Small && o != nil && len(o.c.buf)-o.c.used >= len(s.b) {
			dst.Append(o.c.pool, s.b)
		} else {
			s.c.Retain()
			if q.open != nil && q.open.c == s.c { // the room behind it moves too
				dst.add(s.c, s.b, &dst.open)
				dst.open.end = s.end
			} else {
				dst.add(s.c, s.b, &dst.ref)
			}
			dst.n += len(s.b)
		}
		q.n -= len(s.b)
		q.drop()
	}
}

// add appends a segment; the caller's reference to c becomes the queue's. last is the segment that held c, if any did.
func (q *Queue) add(c *Chunk, b []byte, last **segment) {
	s := c.pool.segment()
	s.b, s.c, s.holds = b, c, true
	if l := *last; l != nil && l.c == c {
		l.holds = false
		c.Release()
	} else {
		c.charge(q.Meter)
		q.held += len(c.buf)
	}
	*last = s
	if q.tail == nil {
		q.head = s
	} else {
		q.tail.next = s
	}
	q.tail = s
}

// drop removes the head segment.
func (q *Queue) drop() {
	s := q.head
	q.head = s.next
	if q.head == nil {
		q.tail = nil
	}
	if s == q.open {
		q.open = nil
	}
	if s == q.ref {
		q.ref = nil
	}
	if s.holds {
		q.held -= len(s.c.buf)
		s.c.discharge(q.Meter)
	}
	p, c, holds := s.c.pool, s.c, s.holds
	p.putSegment(s)
	if holds {
		c.Release()
	}
}

func (p *Pool) chunkFor(n int) *Chunk {
	if n <= Small {
		return p.Small()
	}
	return p.Large()
}

func (p *Pool) segment() *segment {
	s := p.segs
	if s == nil {
		return new(segment)
	}
	p.segs, s.next = s.next, nil
	p.nSegs--
	return s
}

func (p *Pool) putSegment(s *segment) {
	*s = segment{}
	if p.nSegs < keepSegs {
		s.next, p.segs = p.segs, s
		p.nSegs++
	}
}
