// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

func TestEchoThroughAdoptAndDial(t *testing.T) {
	for i, class := range []Class{Production, Copy, Production, Copy} {
		w := start(t, Config{Driver: Kind(i / 2)}, nil)
		addr := serveEcho(t, w, class)
		want := pattern(3 << 20)
		p := newProbe()
		var got []byte
		rest := want
		feed := func() {
			for len(rest) > 0 && p.c.Queued() <= HighWater {
				n := min(10000, len(rest))
				p.c.Write(rest[:n])
				rest = rest[n:]
			}
		}
		p.onWritable = feed
		full := make(chan struct{})
		p.onBytes = func(b chunk.Bytes) {
			if got = append(got, b.B...); len(got) >= len(want) {
				close(full)
			}
		}
		on(t, w, func() {
			p.c = w.Dial(addr, class, time.Minute, p)
			if p.calls.Load() != 0 {
				t.Error("Dial called back")
			}
			feed()
		})
		receive(t, p.connected, "the connection")
		receive(t, full, "the echo")
		on(t, w, func() {
			if !bytes.Equal(got, want) {
				t.Error("the echo differs")
			}
			if p.c.Sent() != uint64(len(want)) {
				t.Errorf("Sent says %d of %d", p.c.Sent(), len(want))
			}
			if p.c.Remote() != addr || !p.c.Local().IsValid() {
				t.Errorf("addresses: local %v, remote %v", p.c.Local(), p.c.Remote())
			}
			p.c.CloseFlushed()
		})
		until(t, w, "both ends are closed", func() bool { return w.Conns() == 0 && len(w.free) == len(w.slots) })
	}
}

func TestWriterIsToldWhenAFullSocketDrains(t *testing.T) {
	for _, mark := range []int{0, 8 << 10, 256 << 10} {
		t.Run(strconv.Itoa(mark), func(t *testing.T) { drains(t, mark) })
	}
}

func drains(t *testing.T, mark int) {
	w := start(t, Config{}, nil)
	p := newProbe()
	far := adopt(t, w, Production, p)
	on(t, w, func() { p.c.SetHighWater(mark) })
	if mark == 0 {
		mark = HighWater
	}
	want := pattern(16 << 20)
	rest := want
	writables, most := 0, 0
	feed := func() {
		for len(rest) > 0 && !p.c.Full() {
			n := min(5000, len(rest))
			p.c.Write(rest[:n])
			rest = rest[n:]
		}
		most = max(most, p.c.Queued())
		if len(rest) == 0 {
			p.c.CloseFlushed()
		}
	}
	p.onWritable = func() { writables++; feed() }
	on(t, w, feed)
	until(t, w, "the socket is full", func() bool { return p.c.is(blocked) })
	if got := readAll(t, far); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, or others than the %d written", len(got), len(want))
	}
	on(t, w, func() {
		if writables < len(want)/(2*mark)/2 {
			t.Errorf("Writable was called %d times", writables)
		}
		if most <= mark || most > mark+5000 {
			t.Errorf("%d bytes were queued", most)
		}
	})
}

// Edge triggering tells of bytes once: those that came while the owner had paused must be remembered.
func TestBytesThatCameWhilePausedFollowResume(t *testing.T) {
	w := start(t, Config{}, nil)
	p := newProbe()
	var got []byte
	p.onBytes = func(b chunk.Bytes) { got = append(got, b.B...); p.c.Pause() }
	far := adopt(t, w, Production, p)
	far.Write([]byte("first "))
	until(t, w, "the first bytes came", func() bool { return len(got) == 6 })
	far.Write([]byte("second"))
	far.CloseWrite()
	until(t, w, "the peer's FIN is seen", func() bool { return p.c.RemoteClosed() })
	on(t, w, func() {
		if string(got) != "first " || p.calls.Load() != 1 {
			t.Errorf("paused, but got %q in %d calls", got, p.calls.Load())
		}
		p.c.Resume()
	})
	until(t, w, "the second bytes came", func() bool { return string(got) == "first second" })
	on(t, w, func() { p.c.Resume() })
	receive(t, p.eof, "EOF")
}

func TestPeerMayEndItsDirectionAndReadOn(t *testing.T) {
	w := start(t, Config{}, nil)
	p := newProbe()
	p.onEOF = func() {
		p.c.Write([]byte("answer"))
		p.c.CloseFlushed()
	}
	far := adopt(t, w, Production, p)
	far.Write([]byte("question"))
	far.CloseWrite()
	if got := readAll(t, far); string(got) != "answer" {
		t.Errorf("got %q", got)
	}
}

func TestResetIsGoneAfterWhatCameBefore(t *testing.T) {
	w := start(t, Config{}, nil)
	p := newProbe()
	var got []byte
	p.onBytes = func(b chunk.Bytes) { got = append(got, b.B...) }
	far := adopt(t, w, Production, p)
	on(t, w, func() { p.c.Pause() })
	far.Write([]byte("last words"))
	far.SetLinger(0)
	far.Close()
	until(t, w, "the reset is seen", func() bool { return p.c.RemoteClosed() })
	on(t, w, func() { p.c.Resume() })
	if err := receive(t, p.gone, "Gone"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("gone with %v", err)
	}
	on(t, w, func() {
		if string(got) != "last words" {
			t.Errorf("got %q", got)
		}
		p.c.Write([]byte("x"))
		p.c.Resume()
		p.c.CloseFlushed()
		p.c.Abort()
	})
	until(t, w, "it is given back", func() bool { return w.Conns() == 0 })
	if n := p.calls.Load(); n != 2 {
		t.Errorf("%d callbacks, want Bytes and Gone", n)
	}
}

func TestWriteToAResetPeerIsGone(t *testing.T) {
	w := start(t, Config{}, nil)
	p := newProbe()
	far := adopt(t, w, Production, p)
	far.CloseWrite()
	receive(t, p.eof, "EOF")
	far.SetLinger(0)
	far.Close()
	if err := receive(t, p.gone, "Gone"); err == nil {
		t.Error("gone without an error")
	}
}

// mute is a driver whose sockets cannot send, though they are well.
type mute struct{ driver }

func (mute) send(int, [][]byte) (int, syscall.Errno) { return 0, syscall.ENOBUFS }

func TestFailedWriteIsGoneAfterWhatCameBefore(t *testing.T) {
	w := start(t, Config{}, func(w *Worker) { w.drv = mute{w.drv} })
	p := newProbe()
	var got []byte
	p.onBytes = func(b chunk.Bytes) { got = append(got, b.B...) }
	far := adopt(t, w, Production, p)
	on(t, w, func() { p.c.Pause() })
	far.Write([]byte("early answer"))
	until(t, w, "the answer is there", func() bool { return p.c.is(unread) })
	on(t, w, func() { p.c.Write([]byte("request")) })
	until(t, w, "writing failed", func() bool { return p.c.is(broken) })
	on(t, w, func() { p.c.Resume() })
	if err := receive(t, p.gone, "Gone"); err != syscall.ENOBUFS {
		t.Errorf("gone with %v", err)
	}
	on(t, w, func() {
		if string(got) != "early answer" {
			t.Errorf("got %q", got)
		}
	})
}

// A paused owner that waits for Writable hears of the error at once: neither Writable nor, perhaps, its own Resume
// would come.
func TestResetReachesAnOwnerThatPausedAndWaitsForWritable(t *testing.T) {
	w := start(t, Config{}, nil)
	p := newProbe()
	far := adopt(t, w, Production, p)
	far.Write([]byte("unread"))
	on(t, w, func() {
		p.c.Pause()
		p.c.Write(pattern(16 << 20))
	})
	until(t, w, "the socket is full", func() bool { return p.c.is(blocked) })
	far.SetLinger(0)
	far.Close()
	if err := receive(t, p.gone, "Gone"); err == nil {
		t.Error("gone without an error")
	}
}

func TestConnectRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	w := start(t, Config{}, nil)
	for _, class := range []Class{Production, Copy} {
		p := newProbe()
		on(t, w, func() {
			p.c = w.Dial(addr, class, time.Minute, p)
			p.c.Write([]byte("never sent"))
			if p.calls.Load() != 0 {
				t.Error("Dial or Write called back")
			}
		})
		if err := receive(t, p.gone, "Gone"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("gone with %v", err)
		}
	}
}

func TestDialThatCannotBeginIsGone(t *testing.T) {
	w := start(t, Config{}, nil)
	p := newProbe()
	on(t, w, func() { p.c = w.Dial(netip.MustParseAddrPort("[fe80::1%eth0]:80"), Production, 0, p) })
	if err := receive(t, p.gone, "Gone"); err == nil {
		t.Error("gone without an error")
	}
	q := newProbe()
	on(t, w, func() { w.Dial(netip.AddrPort{}, Production, 0, q).Close() })
	on(t, w, func() {})
	if q.calls.Load() != 0 {
		t.Error("callback after Close")
	}
}

func TestOwnerMayChangeInsideACallback(t *testing.T) {
	w := start(t, Config{}, nil)
	first, second := newProbe(), newProbe()
	first.onBytes = func(chunk.Bytes) { first.c.SetOwner(second) }
	far := adopt(t, w, Production, first)
	far.Write([]byte("x"))
	until(t, w, "the first owner got bytes", func() bool { return first.calls.Load() == 1 })
	far.Close()
	receive(t, second.eof, "EOF at the second owner")
	on(t, w, func() { first.c.Close() })
}

func TestIdleConnectionIsSmallAndHoldsNoMemory(t *testing.T) {
	if size := unsafe.Sizeof(Conn{}); size > 320 {
		t.Errorf("a connection takes %d bytes", size)
	}
	w := start(t, Config{}, nil)
	addr := serveEcho(t, w, Production)
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := pattern(200000)
	go c.Write(b)
	if _, err := io.ReadFull(c, make([]byte, len(b))); err != nil {
		t.Fatal(err)
	}
	until(t, w, "the connection holds nothing", func() bool {
		conn := w.slots[0].conn
		return conn.out.Held() == 0 && conn.out.Len() == 0
	})
}
