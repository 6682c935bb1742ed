// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestRingIsABoundedQueue(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var q ring
	var want []byte
	next := byte(0)
	for range 20_000 {
		switch r.IntN(4) {
		case 0: // as who sends
			p := make([]byte, r.IntN(ringSize))
			for i := range p {
				p[i] = next + byte(i)
			}
			n := q.put(p)
			if n < len(p) && q.room() != 0 {
				t.Fatal("put took less than there was room for")
			}
			want = append(want, p[:n]...)
			next += byte(n)
		case 1: // as who reads from a socket
			if q.room() > 0 {
				p := q.tail()
				n := r.IntN(len(p)) + 1
				for i := range p[:n] {
					p[i] = next + byte(i)
				}
				want = append(want, p[:n]...)
				q.filled(n)
				next += byte(n)
			}
		case 2: // as who receives
			p := make([]byte, r.IntN(ringSize))
			n := q.take(p)
			if !bytes.Equal(p[:n], want[:n]) {
				t.Fatal("taken in another order")
			}
			want = want[n:]
		default: // as who writes to a socket
			p := q.front()
			if !bytes.HasPrefix(want, p) {
				t.Fatal("other bytes at the front")
			}
			if n := len(p); n > 0 {
				n = r.IntN(n) + 1
				q.drop(n)
				want = want[n:]
			}
		}
		if q.n != len(want) || q.n+q.room() != ringSize {
			t.Fatalf("%d bytes and room for %d, want %d", q.n, q.room(), len(want))
		}
	}
}
