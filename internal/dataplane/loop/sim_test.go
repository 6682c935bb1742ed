// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

var simPlace = netip.MustParseAddrPort("10.0.0.1:80")

// simulated is a network with one worker whose faults fail the test, and which must leave nothing behind.
func simulated(t *testing.T) (*Sim, *Worker) {
	t.Helper()
	s := NewSim(time.Now())
	s.Fail = func(what string) { t.Errorf("at %v: %s", s.Now(), what) }
	w := s.NewWorker(Config{}, 1)
	t.Cleanup(func() {
		s.Run(time.Hour)
		if left := s.Left(); len(left) > 0 {
			t.Errorf("left behind: %s", strings.Join(left, "; "))
		}
		s.End()
	})
	return s, w
}

// drained has a peer take all that arrives.
func drained(p *Peer, got *[]byte) {
	*got = append(*got, p.Arrived()...)
	p.Take(len(p.Arrived()))
}

func TestSimMovesBytesBothWaysInVirtualTime(t *testing.T) {
	for _, l := range []Link{
		{Latency: time.Millisecond}, {Latency: time.Second, Room: 1000}, {Seed: 3, Piece: 7, Jitter: time.Millisecond, Room: 5000},
	} {
		s, w := simulated(t)
		want := pattern(100_000)
		var got, echoed []byte
		s.Listen(simPlace, func(p *Peer) Arrival {
			rest := []byte(nil)
			p.News = func() {
				rest = append(rest, p.Arrived()...)
				p.Take(len(p.Arrived()))
				rest = rest[p.Send(rest):]
				if p.Ended() && len(rest) == 0 {
					p.Close()
				}
			}
			return Arrival{Link: l}
		})
		p := newProbe()
		p.onBytes = func(b chunk.Bytes) {
			if echoed = append(echoed, b.B...); len(echoed) == len(want) {
				p.c.CloseFlushed()
			}
		}
		p.c = w.Dial(simPlace, Production, time.Minute, p)
		p.c.Write(want)
		began := time.Now()
		s.Run(time.Hour)
		if got = echoed; !bytes.Equal(got, want) {
			t.Errorf("%+v: %d bytes came back, or others than the %d sent", l, len(got), len(want))
		}
		if s.Now() < 2*l.Latency || time.Since(began) > time.Minute {
			t.Errorf("%+v: %v passed there, %v here", l, s.Now(), time.Since(began))
		}
	}
}

func TestSimTellsHowDiallingEnds(t *testing.T) {
	s, w := simulated(t)
	for _, c := range []struct {
		a    Arrival
		want error
		at   time.Duration
	}{
		{Arrival{Refuse: true, After: time.Second}, syscall.ECONNREFUSED, time.Second},
		{Arrival{Never: true}, ErrConnectTimeout, 10 * time.Second},
		{Arrival{After: time.Minute}, ErrConnectTimeout, 10 * time.Second},
	} {
		s.Listen(simPlace, func(*Peer) Arrival { return c.a })
		began := s.Now()
		p := newProbe()
		p.c = w.Dial(simPlace, Production, 10*time.Second, p)
		s.Run(began + time.Minute/2)
		select {
		case err := <-p.gone:
			if !errors.Is(err, c.want) {
				t.Errorf("%+v: gone with %v", c.a, err)
			}
		default:
			t.Errorf("%+v: not gone", c.a)
		}
		s.Run(began + time.Hour/2)
	}
}

func TestSimPeerSeesAbortAsResetAndCloseAsFIN(t *testing.T) {
	for _, abort := range []bool{false, true} {
		s, w := simulated(t)
		p := newProbe()
		far, fd := s.Connect(w, Link{Seed: 5})
		var got []byte
		far.News = func() { drained(far, &got) }
		c, err := w.Adopt(fd, Copy, p)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("some"))
		s.Run(time.Second)
		if string(got) != "some" {
			t.Errorf("got %q", got)
		}
		if abort {
			c.Abort()
		} else {
			c.Close()
		}
		w.Post(func() {}) // a turn
		s.Run(2 * time.Second)
		if far.Reset() != abort || far.Ended() == abort {
			t.Errorf("abort %v: reset %v, ended %v", abort, far.Reset(), far.Ended())
		}
	}
}

func TestSimAnswersBytesForAClosedConnectionWithAReset(t *testing.T) {
	s, w := simulated(t)
	far, fd := s.Connect(w, Link{})
	c, err := w.Adopt(fd, Production, newProbe())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	w.Post(func() {})
	s.After(time.Second, func() { far.Send([]byte("too late")) })
	s.Run(time.Minute)
	if !far.Reset() {
		t.Error("no reset")
	}
}

// Owners that do at random all that they may, with peers that do, too: nothing is called back after the end, nothing is
// left, and the same seeds give the same run.
func TestSimIsTheSameForTheSameSeeds(t *testing.T) {
	run := func(seed uint64) (log []time.Duration) {
		s, w := simulated(t)
		for i := range uint64(30) {
			r := rand.New(rand.NewPCG(seed, i))
			far, fd := s.Connect(w, Link{Seed: r.Uint64(), Jitter: time.Millisecond, Piece: 1 + r.IntN(9000), Room: 1 + r.IntN(50_000)})
			f := &fickle{t: t, r: rand.New(rand.NewPCG(seed, i+100))}
			c, err := w.Adopt(fd, Class(i%2), f)
			if err != nil {
				t.Fatal(err)
			}
			f.c = c
			f.timer.Init(func() { c.Resume() })
			far.News = func() {
				log = append(log, s.Now())
				far.Take(r.IntN(len(far.Arrived()) + 1))
				switch r.IntN(40) {
				case 0:
					far.Close()
				case 1:
					far.Abort()
				case 2:
					far.CloseWrite()
				default:
					far.Send(pattern(r.IntN(20_000)))
				}
			}
			s.After(time.Duration(i), far.News)
			s.After(time.Minute, far.Abort)
		}
		s.Run(time.Hour)
		return log
	}
	for seed := range uint64(20) {
		if a, b := run(seed), run(seed); len(a) == 0 || !slices.Equal(a, b) {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}
