// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

// fickle echoes and does at random, in its callbacks, all that an owner may do.
type fickle struct {
	t     *testing.T
	c     *Conn
	r     *rand.Rand
	timer Timer
	over  bool
}

// gauge is a chunk.Meter.
type gauge struct{ now int }

func (g *gauge) Charge(n int)  { g.now += n }
func (g *gauge) Release(n int) { g.now -= n }

func (f *fickle) act() {
	if f.over {
		f.t.Error("callback after the end")
	}
	switch f.r.IntN(60) {
	case 0:
		f.c.Close()
		f.over = true
	case 1:
		f.c.Abort()
		f.over = true
	case 2:
		f.c.CloseFlushed()
		f.over = true
	case 3, 4, 5, 6:
		f.c.Pause()
		f.c.w.Arm(&f.timer, time.Duration(f.r.IntN(10))*time.Millisecond)
	case 7:
		f.c.Resume()
		f.c.Pause()
		f.c.Resume()
	case 8:
		f.c.Write(pattern(f.r.IntN(50_000)))
	}
}

func (f *fickle) Connected() { f.act() }
func (f *fickle) Bytes(b chunk.Bytes) {
	f.c.Push(b)
	f.act()
}
func (f *fickle) EOF() {
	if f.act(); !f.over {
		f.c.CloseFlushed()
		f.over = true
	}
}
func (f *fickle) Writable() { f.act() }
func (f *fickle) Gone(error) {
	if f.over {
		f.t.Error("gone after the end")
	}
	f.over = true
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Hundreds of connections whose both ends write, pause, close and reset at random: no event is made after the end, and
// no slot, descriptor, byte or charge stays.
func TestRandomEndsLeaveNothingBehind(t *testing.T) {
	t.Run("default", func(t *testing.T) { randomEnds(t, Default) })
	t.Run("portable", func(t *testing.T) { randomEnds(t, Portable) })
}

func randomEnds(t *testing.T, k Kind) {
	g := &gauge{}
	w := start(t, Config{Driver: k}, nil)
	before := descriptors(t)
	var group sync.WaitGroup
	for i := range uint64(200) {
		fd, far := tcpPair(t)
		class := Class(i % 2)
		f := &fickle{t: t, r: rand.New(rand.NewPCG(i, 3))}
		on(t, w, func() {
			c, err := w.Adopt(fd, class, f)
			if err != nil {
				t.Error(err)
				return
			}
			c.Out().Meter = g
			f.c = c
			f.timer.Init(func() { c.Resume() })
		})
		group.Go(func() { misbehave(far, rand.New(rand.NewPCG(i, 4))) })
	}
	group.Wait()
	until(t, w, "all connections are closed", func() bool { return w.Conns() == 0 && len(w.free) == len(w.slots) })
	on(t, w, func() {
		if g.now != 0 {
			t.Errorf("%d bytes still charged", g.now)
		}
	})
	// The portable driver closes a socket on a goroutine of its own.
	until(t, w, fmt.Sprintf("there are %d descriptors, as before", before), func() bool { return descriptors(t) == before })
}

func misbehave(far *net.TCPConn, r *rand.Rand) {
	defer far.Close()
	b := pattern(100_000)
	for {
		var err error
		switch r.IntN(12) {
		case 0:
			far.SetLinger(0)
			return
		case 1:
			if far.CloseWrite(); r.IntN(2) == 0 {
				return
			}
		case 2, 3, 4, 5:
			far.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err = far.Read(b); os.IsTimeout(err) {
				err = nil
			}
		default:
			far.SetWriteDeadline(time.Now().Add(time.Millisecond))
			if _, err = far.Write(b[:r.IntN(len(b))]); os.IsTimeout(err) {
				err = nil
			}
		}
		if err != nil {
			return
		}
	}
}
