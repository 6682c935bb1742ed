// SPDX-License-Identifier: Apache-2.0

package loop

// ring is a bounded queue of bytes, made at its first use. Who fills it may write into tail while another takes from
// the front, if both say so under one lock.
type ring struct {
	buf   []byte
	start int
	n     int
}

const ringSize = 32 << 10

func (r *ring) room() int { return ringSize - r.n }

// tail is free space that follows the bytes in one piece; filled says how much of it was used.
func (r *ring) tail() []byte {
	if r.buf == nil {
		r.buf = make([]byte, ringSize)
	}
	end := r.start + r.n
	if end >= ringSize {
		return r.buf[end-ringSize : r.start]
	}
	return r.buf[end:]
}

func (r *ring) filled(n int) { r.n += n }

// put appends as much of p as there is room for.
func (r *ring) put(p []byte) (n int) {
	for len(p) > n && r.room() > 0 {
		k := copy(r.tail(), p[n:])
		r.n += k
		n += k
	}
	return n
}

// front is the oldest bytes, as many as are in one piece; drop takes them off.
func (r *ring) front() []byte {
	return r.buf[r.start:min(r.start+r.n, len(r.buf))]
}

func (r *ring) drop(n int) {
	r.n -= n
	if r.start += n; r.start >= ringSize {
		r.start -= ringSize
	}
}

// take moves the oldest bytes to p.
func (r *ring) take(p []byte) (n int) {
	for n < len(p) && r.n > 0 {
		k := copy(p[n:], r.front())
		r.drop(k)
		n += k
	}
	return n
}
