// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

// withSocket calls f with the descriptor of a connection, whatever the worker runs on.
func withSocket(w *Worker, c *Conn, f func(fd int)) {
	if p, ok := w.drv.(*portable); ok {
		p.socks[c.fd].control(f)
		return
	}
	f(int(c.fd))
}

func optionOf(t *testing.T, w *Worker, c *Conn, level, name int) (v int) {
	withSocket(w, c, func(fd int) {
		var err error
		if v, err = unix.GetsockoptInt(fd, level, name); err != nil {
			t.Error(err)
		}
	})
	return v
}

func TestConnectTimesOutAtAFullBacklog(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	loopback := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := errors.Join(unix.Bind(fd, loopback), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := AddrPort(sa)
	w := start(t, Config{}, nil)
	// The queue takes one; further ones are not answered.
	fill := [4]*probe{newProbe(), newProbe(), newProbe(), newProbe()}
	on(t, w, func() { fill[0].c = w.Dial(addr, Production, 0, fill[0]) })
	receive(t, fill[0].connected, "the first connection")
	on(t, w, func() {
		for _, p := range fill[1:] {
			p.c = w.Dial(addr, Production, 0, p)
		}
	})
	p := newProbe()
	const timeout = 50 * time.Millisecond
	var began, ended int64
	p.onGone = func(error) { ended = w.Now() }
	on(t, w, func() {
		began = w.Now()
		p.c = w.Dial(addr, Production, timeout, p)
	})
	if err := receive(t, p.gone, "Gone"); err != ErrConnectTimeout {
		t.Errorf("gone with %v", err)
	}
	if took := time.Duration(ended - began); took < timeout {
		t.Errorf("timed out after %v", took)
	}
}

func TestSocketsOptions(t *testing.T) {
	w := start(t, Config{}, nil)
	addr := serveEcho(t, w, Production)
	for class, lowat := range map[Class]bool{Production: false, Copy: true} {
		p := newProbe()
		on(t, w, func() { p.c = w.Dial(addr, class, 0, p) })
		receive(t, p.connected, "the connection")
		on(t, w, func() {
			option := func(name int) int {
				return optionOf(t, w, p.c, unix.IPPROTO_TCP, name)
			}
			if option(unix.TCP_NODELAY) == 0 {
				t.Errorf("class %d: Nagle's algorithm is on", class)
			}
			if got := option(unix.TCP_NOTSENT_LOWAT) == copyLowat; got != lowat {
				t.Errorf("class %d: TCP_NOTSENT_LOWAT set: %v", class, got)
			}
			p.c.Close()
		})
	}
}

func TestKeepAliveSetsTheOptions(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := start(t, Config{}, nil)
	p := newProbe()
	on(t, w, func() {
		p.c = w.Dial(l.Addr().(*net.TCPAddr).AddrPort(), Production, time.Minute, p)
		p.c.KeepAlive(KeepAlive{Probes: 7, Time: 100500 * time.Millisecond, Interval: 5 * time.Second})
	})
	receive(t, p.connected, "the connection")
	on(t, w, func() {
		for _, o := range []struct{ level, name, want int }{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 7},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 101}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5},
		} {
			if got := optionOf(t, w, p.c, o.level, o.name); got != o.want {
				t.Errorf("option %d is %d, want %d", o.name, got, o.want)
			}
		}
		p.c.Close()
		p.c.KeepAlive(KeepAlive{}) // nothing any more
	})
}

// What the callback kept before it panicked is not overwritten by the next connection's bytes.
func TestBytesKeptByAPanickingCopyStayTheirs(t *testing.T) {
	w := start(t, Config{}, nil)
	cop, prod := newProbe(), newProbe()
	var kept chunk.Queue
	want := pattern(40_000)
	cop.onBytes = func(b chunk.Bytes) {
		kept.Push(w.Pool, b)
		if kept.Len() == len(want) {
			panic("bytes")
		}
	}
	farCopy, farProd := adopt(t, w, Copy, cop), adopt(t, w, Production, prod)
	on(t, w, func() { cop.c.Pause() }) // so that they come in one piece
	farCopy.Write(want)
	until(t, w, "all bytes are there", func() bool {
		here := 0
		if p, ok := w.drv.(*portable); ok {
			s := p.socks[cop.c.fd]
			s.mu.Lock()
			here = s.in.n
			s.mu.Unlock()
		}
		withSocket(w, cop.c, func(fd int) {
			n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
			if err == nil {
				here += n
			}
		})
		return here == len(want)
	})
	on(t, w, func() { cop.c.Resume() })
	receive(t, cop.gone, "Gone")
	farProd.Write(make([]byte, 40_000))
	until(t, w, "production's bytes came", func() bool { return prod.calls.Load() > 0 })
	on(t, w, func() {
		if got := slices.Concat(kept.Buffers(make([][]byte, 0, 8))...); !bytes.Equal(got, want) {
			t.Error("the bytes that were kept have changed")
		}
		kept.Free()
		prod.c.Close()
	})
}
