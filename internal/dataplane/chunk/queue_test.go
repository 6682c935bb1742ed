// SPDX-License-Identifier: Apache-2.0

package chunk

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// gauge is a Meter that knows what is charged now and how often anything was.
type gauge struct{ now, charges int }

func (g *gauge) Charge(n int)  { g.now += n; g.charges++ }
func (g *gauge) Release(n int) { g.now -= n }

var all = func() []byte {
	b := make([]byte, Size)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}()

func pattern(n int) []byte { return all[:n:n] }

func received(p *Pool, b []byte) Bytes {
	c := p.Large()
	n := copy(c.Buf(), b)
	return Bytes{B: c.Buf()[:n], C: c}
}

func contents(q *Queue) []byte {
	return bytes.Join(q.Buffers(make([][]byte, 0, 1<<16)), nil)
}

func TestAppendFillsTheLastChunkFirst(t *testing.T) {
	var p Pool
	var q Queue
	q.Append(&p, pattern(1000))
	q.Append(&p, pattern(3000))
	if q.Held() != Small || q.Len() != 4000 {
		t.Errorf("held %d of length %d, want one small chunk of 4000", q.Held(), q.Len())
	}
	if got := len(q.Buffers(make([][]byte, 0, 8))); got != 1 {
		t.Errorf("%d pieces, want 1", got)
	}
	q.Append(&p, pattern(97))
	if q.Held() != 2*Small {
		t.Errorf("held %d, want a second small chunk for the last byte", q.Held())
	}
	if want := slices.Concat(pattern(1000), pattern(3000), pattern(97)); !bytes.Equal(contents(&q), want) {
		t.Error("contents differ")
	}
}

func TestPushReferencesBigPiecesAndCopiesSmallOnes(t *testing.T) {
	var p Pool
	var q Queue
	big := received(&p, pattern(referAt))
	q.Push(&p, big)
	if !big.C.Shared() || q.Held() != Size {
		t.Error("a piece of 16 KiB was not referenced")
	}
	small := received(&p, pattern(referAt-1))
	q.Push(&p, small)
	if small.C.Shared() {
		t.Error("a piece under 16 KiB was referenced")
	}
	q.Push(&p, Bytes{B: pattern(referAt)})
	if q.Len() != 3*referAt-1 {
		t.Errorf("length %d", q.Len())
	}
}

func TestChunkIsHeldOncePerQueueHoweverManyPiecesItHas(t *testing.T) {
	var p Pool
	g := &gauge{}
	q := Queue{Meter: g}
	in := received(&p, pattern(Size))
	for i := range 3 { // as chunked encoding would write it
		q.Append(&p, []byte("4000\r\n"))
		q.Push(&p, Bytes{B: in.B[i*referAt : (i+1)*referAt], C: in.C})
		q.Append(&p, []byte("\r\n"))
	}
	if want := Size + Small; q.Held() != want || g.now != want {
		t.Errorf("held %d, charged %d, want %d", q.Held(), g.now, want)
	}
	if in.C.refs != 2 {
		t.Errorf("%d references, want the reader's and the queue's", in.C.refs)
	}
	q.Discard(q.Len() - 1) // the last byte lies in the small chunk
	if q.Held() != Small || in.C.refs != 1 || g.now != Small {
		t.Errorf("held %d, charged %d, %d references after all but one byte", q.Held(), g.now, in.C.refs)
	}
	q.Free()
	if q.Held() != 0 || q.Len() != 0 || g.now != 0 {
		t.Errorf("held %d, charged %d, length %d after Free", q.Held(), g.now, q.Len())
	}
}

func TestMeterIsChargedOnceForAChunkInManyQueues(t *testing.T) {
	var p Pool
	g := &gauge{}
	production := Queue{}
	copies := [2]Queue{{Meter: g}, {Meter: g}}
	in := received(&p, pattern(Size))
	production.Push(&p, in)
	if g.now != 0 {
		t.Error("a queue without a meter was charged")
	}
	copies[0].Push(&p, in)
	copies[1].Push(&p, in)
	in.C.Release()
	if g.now != Size || g.charges != 1 {
		t.Errorf("charged %d in %d charges, want %d in one", g.now, g.charges, Size)
	}
	copies[0].Free()
	if g.now != Size {
		t.Error("released while another metered queue holds the chunk")
	}
	copies[1].Free()
	if g.now != 0 {
		t.Error("charged though only production holds the chunk")
	}
	if production.Free(); p.large.n != 1 {
		t.Errorf("%d chunks in the pool, want 1", p.large.n)
	}
}

func TestMoveToTakesChunksOverAndAccountsThemAnew(t *testing.T) {
	var p Pool
	from, to := &gauge{}, &gauge{}
	src, dst := Queue{Meter: from}, Queue{Meter: to}
	in := received(&p, pattern(Size))
	src.Append(&p, []byte("head"))
	src.Push(&p, in)
	in.C.Release()
	src.MoveTo(&dst)
	if src.Len() != 0 || src.Held() != 0 || dst.Held() != Size+Small {
		t.Errorf("source holds %d, destination %d", src.Held(), dst.Held())
	}
	if want := append([]byte("head"), pattern(Size)...); !bytes.Equal(contents(&dst), want) {
		t.Error("contents differ")
	}
	dst.Append(&p, []byte("tail"))
	if dst.Held() != Size+Small {
		t.Error("the room in the chunk that moved was not used")
	}
	dst.Free()
	if from.now != 0 || to.now != 0 {
		t.Errorf("charged %d and %d at the end", from.now, to.now)
	}
}

func TestMoveToHoldsAChunkOnceHoweverManyPiecesMove(t *testing.T) {
	var p Pool
	var src, dst Queue
	in := received(&p, pattern(Size))
	for i := range 3 {
		src.Append(&p, pattern(20000)) // all three in one chunk
		src.Push(&p, Bytes{B: in.B[i*referAt : (i+1)*referAt], C: in.C})
	}
	in.C.Release()
	held := src.Held()
	src.MoveTo(&dst)
	if dst.Held() != held || held != heldBy(&dst) || held != 2*Size {
		t.Errorf("held %d before and %d after", held, dst.Held())
	}
}

func TestMoveToCopiesShortPiecesIntoRoom(t *testing.T) {
	var p Pool
	var src, dst Queue
	dst.Append(&p, []byte("one "))
	src.Append(&p, []byte("two"))
	src.MoveTo(&dst)
	if got := len(dst.Buffers(make([][]byte, 0, 4))); got != 1 || dst.Held() != Small {
		t.Errorf("%d pieces in %d bytes, want one in a small chunk", got, dst.Held())
	}
}

func TestShareWithLeavesTheSource(t *testing.T) {
	var p Pool
	var replay, out Queue
	in := received(&p, pattern(Size))
	replay.Append(&p, []byte("a"))
	replay.Push(&p, in)
	in.C.Release()
	for range 2 {
		replay.ShareWith(&p, &out)
		if !bytes.Equal(contents(&out), contents(&replay)) || out.Len() != Size+1 {
			t.Fatal("what was shared differs")
		}
		out.Free()
	}
}

func TestBuffersKeepsToTheCapacity(t *testing.T) {
	var p Pool
	var q Queue
	for range 5 {
		in := received(&p, pattern(referAt))
		q.Push(&p, in)
		in.C.Release()
	}
	if got := q.Buffers(make([][]byte, 0, 3)); len(got) != 3 {
		t.Errorf("%d pieces", len(got))
	}
}

func TestPoolKeepsABoundedNumberOfChunks(t *testing.T) {
	var p Pool
	var chunks []*Chunk
	for range keepSmall + 10 {
		chunks = append(chunks, p.Small())
	}
	for range keepLarge + 10 {
		chunks = append(chunks, p.Large())
	}
	for _, c := range chunks {
		c.Release()
	}
	if p.small.n != keepSmall || p.large.n != keepLarge {
		t.Errorf("pool keeps %d small and %d large chunks", p.small.n, p.large.n)
	}
}

func TestReleasingTooOftenPanics(t *testing.T) {
	var p Pool
	c := p.Small()
	c.Release()
	defer func() {
		if recover() == nil {
			t.Error("no panic: the chunk would be given to two owners")
		}
	}()
	c.Release()
}

// The queues against plain byte slices, over random operations; every meter and count ends at zero.
func TestQueuesBehaveLikeByteSlices(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		var p Pool
		g := &gauge{}
		qs := [3]Queue{{Meter: g}, {}, {Meter: g}}
		var model [3][]byte
		for range 300 {
			i := r.IntN(3)
			q := &qs[i]
			switch op := r.IntN(8); op {
			case 0, 1:
				b := pattern(r.IntN(6000))
				q.Append(&p, b)
				model[i] = append(model[i], b...)
			case 2, 3: // one receive, pieces of it to two queues
				in := received(&p, pattern(Size))
				j := r.IntN(3)
				for at := 0; at < Size; {
					n := min(1+r.IntN(40000), Size-at)
					for _, k := range []int{i, j} {
						qs[k].Push(&p, Bytes{B: in.B[at : at+n], C: in.C})
						model[k] = append(model[k], in.B[at:at+n]...)
					}
					at += n
				}
				in.C.Release()
			case 4, 5:
				n := min(r.IntN(100000), len(model[i]))
				q.Discard(n)
				model[i] = model[i][n:]
			case 6:
				if j := r.IntN(3); j != i {
					q.MoveTo(&qs[j])
					model[j] = append(model[j], model[i]...)
					model[i] = nil
				}
			case 7:
				if j := r.IntN(3); j != i && len(model[i])+len(model[j]) < 1<<20 {
					q.ShareWith(&p, &qs[j])
					model[j] = append(model[j], model[i]...)
				}
			}
			for k := range qs {
				if qs[k].Len() != len(model[k]) {
					t.Fatalf("seed %d: queue %d has length %d, want %d", seed, k, qs[k].Len(), len(model[k]))
				}
			}
		}
		for k := range qs {
			if !bytes.Equal(contents(&qs[k]), model[k]) {
				t.Fatalf("seed %d: queue %d differs", seed, k)
			}
			if held := heldBy(&qs[k]); held != qs[k].Held() {
				t.Fatalf("seed %d: queue %d says it holds %d, its chunks have %d", seed, k, qs[k].Held(), held)
			}
		}
		for k := range qs {
			qs[k].Free()
			if qs[k].Held() != 0 {
				t.Fatalf("seed %d: queue %d holds %d when empty", seed, k, qs[k].Held())
			}
		}
		if g.now != 0 {
			t.Fatalf("seed %d: %d bytes still charged", seed, g.now)
		}
	}
}

// heldBy counts the chunks that q has references to.
func heldBy(q *Queue) (n int) {
	for s := q.head; s != nil; s = s.next {
		if s.holds {
			n += len(s.c.buf)
		}
	}
	return n
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	var p Pool
	q, dst := Queue{Meter: &gauge{}}, Queue{}
	head := pattern(300)
	bufs := make([][]byte, 0, 16)
	turn := func() {
		in := p.Large()
		q.Append(&p, head)
		q.Push(&p, Bytes{B: in.Buf()[:20000], C: in})
		q.Append(&p, head)
		q.Push(&p, Bytes{B: in.Buf()[20000:40000], C: in})
		in.Release()
		q.MoveTo(&dst)
		for dst.Len() > 0 {
			_ = dst.Buffers(bufs)
			dst.Discard(15000)
		}
	}
	turn()
	if n := testing.AllocsPerRun(1000, turn); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
}

func TestWhatABurstLeftGoesByHalvesAndWhatIsInUseStays(t *testing.T) {
	var p Pool
	use := func(n int) {
		var chunks []*Chunk
		for range n {
			chunks = append(chunks, p.Large(), p.Small())
		}
		for _, c := range chunks {
			c.Release()
		}
	}
	use(100)
	p.Ease() // the burst was since the last one
	if p.Free() != 200 {
		t.Fatalf("%d chunks free at the end of a burst, want 200", p.Free())
	}
	var free []int
	for range 9 {
		use(10)
		p.Ease()
		free = append(free, p.large.n, p.small.n)
	}
	want := []int{55, 55, 32, 32, 21, 21, 15, 15, 12, 12, 11, 11, 10, 10, 10, 10, 10, 10}
	if diff := cmp.Diff(want, free); diff != "" {
		t.Error(diff)
	}
	for range 5 {
		p.Ease()
	}
	if p.Free() != 0 {
		t.Errorf("%d chunks free when none is used any more", p.Free())
	}
	use(1)
	if p.Free() != 2 {
		t.Errorf("%d chunks free, want 2", p.Free())
	}
}
