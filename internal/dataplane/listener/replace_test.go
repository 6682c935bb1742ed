// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Between all addresses and one of them, over and over, while clients connect as fast as they can.
func TestNoConnectionIsLostWhenASocketTakesThePlaceOfAnother(t *testing.T) {
	for name, pair := range map[string][2]string{
		"all addresses and one":         {"0.0.0.0", "127.0.0.1"},
		"all of IPv6's and one of IPv4": {"::", "127.0.0.1"},
		"all of IPv6's and all of IPv4": {"::", "0.0.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			workers := startWorkers(t, 2)
			l, err := Listen(netip.AddrPortFrom(netip.MustParseAddr(pair[0]), 0))
			if err != nil {
				t.Fatal(err)
			}
			port := l.Addr().Port()
			serve(t, l, workers, greet)
			here := &Listener{addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}

			var over atomic.Bool
			var served atomic.Int64
			var clients sync.WaitGroup
			for range 4 {
				clients.Go(func() {
					for !over.Load() {
						if err := hello(here); err != nil {
							t.Error(err)
							return
						}
						served.Add(1)
					}
				})
			}
			fading := []*Listener{l}
			for i := range 30 {
				before := served.Load()
				next, err := Replace(netip.AddrPortFrom(netip.MustParseAddr(pair[(i+1)%2]), port), fading)
				if err != nil {
					t.Error(err)
					break
				}
				serve(t, next, workers, greet)
				if err := fading[len(fading)-1].Fade(); err != nil {
					t.Error(err)
					break
				}
				if fading = append(fading, next); len(fading) > 3 {
					fading[0].Close()
					fading = fading[1:]
				}
				// Each client has begun a connection and ended it since.
				until(t, "connections go on", func() bool { return served.Load() > before+8 || t.Failed() })
			}
			over.Store(true)
			clients.Wait()
			// What fades takes nobody who begins now.
			last := fading[len(fading)-1]
			accepted := last.Stats.Accepted.Load()
			for range 20 {
				if err := hello(here); err != nil {
					t.Error(err)
				}
			}
			if n := last.Stats.Accepted.Load() - accepted; n != 20 {
				t.Errorf("the newest socket has %d of 20 connections", n)
			}
		})
	}
}

// hello connects and is greeted.
func hello(l *Listener) error {
	c, err := net.DialTimeout("tcp", l.Addr().String(), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var b [1]byte
	_, err = c.Read(b[:])
	return err
}

func TestWhatIsInTheQueueOfASocketThatFadesIsServed(t *testing.T) {
	workers := startWorkers(t, 1)
	l := listenHere(t)
	waiting := dial(t, l)
	next, err := Replace(netip.AddrPortFrom(netip.IPv4Unspecified(), l.Addr().Port()), []*Listener{l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	if err := l.Fade(); err != nil {
		t.Fatal(err)
	}
	serve(t, l, workers, greet)
	expectHello(t, waiting)
}

func TestAReplacedSocketSharesItsPortWithNobodyElse(t *testing.T) {
	l := listenHere(t)
	all := netip.AddrPortFrom(netip.IPv4Unspecified(), l.Addr().Port())
	next, err := Replace(all, []*Listener{l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	beside := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), all.Port())
	for _, addr := range []netip.AddrPort{all, l.Addr(), beside} {
		if other, err := Listen(addr); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listen on %v: %v", addr, err)
			if err == nil {
				other.Close()
			}
		}
	}
}

func TestASocketThatCannotBeReplacedServesOn(t *testing.T) {
	workers := startWorkers(t, 1)
	l := listenHere(t)
	serve(t, l, workers, greet)
	other := listenHere(t)
	if _, err := Replace(other.Addr(), []*Listener{l}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v", err)
	}
	expectHello(t, dial(t, l))
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", true},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"0.0.0.0:80", "127.0.0.2:80", true},
		{"127.0.0.2:80", "[::]:80", true},
		{"0.0.0.0:80", "127.0.0.2:81", false},
	} {
		if got := Overlap(netip.MustParseAddrPort(c.a), netip.MustParseAddrPort(c.b)); got != c.want {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
}
