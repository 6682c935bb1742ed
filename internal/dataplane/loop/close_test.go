// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

// shifted makes a worker's clock run ahead by what the test adds.
func shifted(ahead *atomic.Int64) func(*Worker) {
	return func(w *Worker) {
		real := w.clock
		w.clock = func() int64 { return real() + ahead.Load() }
	}
}

func TestAbortIsSeenAsAReset(t *testing.T) {
	w := start(t, Config{}, nil)
	p := newProbe()
	far := adopt(t, w, Copy, p)
	on(t, w, func() {
		p.c.Write([]byte("part of it"))
		p.c.Abort()
		p.c.Abort()
		if !p.c.Closed() {
			t.Error("aborted, but not closed")
		}
	})
	if b, err := io.ReadAll(far); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %q, %v", b, err)
	}
	on(t, w, func() {
		if p.calls.Load() != 0 {
			t.Error("callback after Abort")
		}
	})
}

// The answer arrives whole although the peer goes on sending, which nobody reads: a plain close would reset it.
func TestCloseFlushedDeliversEverythingThenFIN(t *testing.T) {
	w := start(t, Config{}, nil)
	p := newProbe()
	far := adopt(t, w, Production, p)
	on(t, w, func() { p.c.Pause() })
	stop := make(chan struct{})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for b := pattern(30000); ; {
			if _, err := far.Write(b); err != nil {
				t.Errorf("the peer cannot write: %v", err)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	until(t, w, "something is unread", func() bool { return p.c.is(unread) })
	want := pattern(6 << 20)
	on(t, w, func() {
		p.c.Write(want)
		p.c.CloseFlushed()
		p.c.Write([]byte("too late"))
		if w.Conns() != 1 {
			t.Error("closed before it was flushed")
		}
	})
	got := readAll(t, far)
	close(stop)
	receive(t, sent, "the peer's writer")
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, or others than the %d written", len(got), len(want))
	}
	far.Close()
	until(t, w, "it is closed", func() bool { return w.Conns() == 0 })
	if p.calls.Load() != 0 {
		t.Error("callback after CloseFlushed")
	}
}

func TestCloseFlushedResetsAPeerThatTakesNothing(t *testing.T) {
	var ahead atomic.Int64
	w := start(t, Config{}, shifted(&ahead))
	p := newProbe()
	far := adopt(t, w, Production, p)
	on(t, w, func() {
		p.c.Write(pattern(16 << 20))
		p.c.CloseFlushed()
	})
	until(t, w, "the socket is full", func() bool { return p.c.is(blocked) })
	// There was progress since CloseFlushed, so the first step is granted anew.
	for range 2 {
		ahead.Add(int64(lingerStep + time.Second))
		on(t, w, func() {})
	}
	until(t, w, "it is closed", func() bool { return w.Conns() == 0 })
	if n, err := io.Copy(io.Discard, far); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer read %d bytes, then %v: cut short without a reset", n, err)
	}
}

func TestCloseFlushedDoesNotWaitForeverForThePeersFIN(t *testing.T) {
	var ahead atomic.Int64
	w := start(t, Config{}, shifted(&ahead))
	p := newProbe()
	far := adopt(t, w, Production, p)
	on(t, w, func() {
		p.c.Write([]byte("bye"))
		p.c.CloseFlushed()
	})
	if got := readAll(t, far); string(got) != "bye" {
		t.Errorf("got %q", got)
	}
	until(t, w, "our FIN is acknowledged", func() bool { return w.drv.unacked(int(p.c.fd)) == 0 })
	on(t, w, func() {
		if w.Conns() != 1 {
			t.Error("closed before the peer's FIN")
		}
	})
	ahead.Add(int64(lingerStep + time.Second))
	until(t, w, "it is closed", func() bool { return w.Conns() == 0 })
}

// The kernel takes more only when a third of its buffer is free, which a slow peer needs long for: acknowledged bytes
// count, too.
func TestSlowReaderGetsAllOfItPastTheFirstStep(t *testing.T) {
	var ahead atomic.Int64
	w := start(t, Config{}, shifted(&ahead))
	p := newProbe()
	far := adopt(t, w, Production, p)
	want := pattern(16 << 20)
	on(t, w, func() {
		p.c.Write(want)
		p.c.CloseFlushed()
	})
	until(t, w, "the socket is full", func() bool { return p.c.is(blocked) })
	var got []byte
	buf := make([]byte, 64<<10)
	for range 6 {
		for more := false; !more; {
			n, err := io.ReadFull(far, buf)
			if err != nil {
				t.Fatalf("after %d bytes: %v", len(got)+n, err)
			}
			got = append(got, buf[:n]...)
			on(t, w, func() { more = p.c.acked() > p.c.mark })
		}
		ahead.Add(int64(lingerStep + time.Second))
		on(t, w, func() {})
	}
	if got = append(got, readAll(t, far)...); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, or others than the %d written", len(got), len(want))
	}
}

// After our FIN, too: closing a socket whose peer still sends would reset what it has not read.
func TestSlowReaderGetsWhatTheKernelHoldsAfterFIN(t *testing.T) {
	var ahead atomic.Int64
	w := start(t, Config{}, shifted(&ahead))
	p := newProbe()
	far := adopt(t, w, Production, p)
	want := pattern(400_000)
	on(t, w, func() {
		p.c.Write(want)
		p.c.CloseFlushed()
	})
	until(t, w, "the FIN is queued", func() bool { return p.c.is(shutSent) })
	var got []byte
	buf := make([]byte, 10_000)
	for more := false; !more; {
		n, err := io.ReadFull(far, buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:n]...)
		on(t, w, func() { more = p.c.acked() > p.c.mark })
	}
	on(t, w, func() {
		if p.c.acked() == p.c.sent {
			t.Fatal("the kernel holds nothing back")
		}
	})
	ahead.Add(int64(lingerStep + time.Second))
	on(t, w, func() {})
	on(t, w, func() {
		if w.Conns() != 1 {
			t.Error("closed though the peer was getting on")
		}
	})
	if got = append(got, readAll(t, far)...); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, or others than the %d written", len(got), len(want))
	}
}

func TestCloseWhileConnectingEndsInSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := start(t, Config{}, nil)
	p := newProbe()
	on(t, w, func() {
		p.c = w.Dial(l.Addr().(*net.TCPAddr).AddrPort(), Production, time.Minute, p)
		p.c.CloseFlushed()
	})
	until(t, w, "its slot is free", func() bool { return len(w.free) == 1 })
	if p.calls.Load() != 0 {
		t.Error("callback after CloseFlushed")
	}
}

func TestStopClosesConnectionsAndRefusesPosts(t *testing.T) {
	w, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.Run(t.Context()) }()
	p := newProbe()
	far := adopt(t, w, Production, p)
	ran := make(chan struct{})
	w.Post(func() {
		w.Stop()
		w.Post(func() { close(ran) })
	})
	receive(t, ran, "what was posted before the end")
	if err := receive(t, done, "Run to return"); err != nil {
		t.Error(err)
	}
	if w.Post(func() { t.Error("run after the end") }) {
		t.Error("Post says that it will run")
	}
	w.Stop()
	if got := readAll(t, far); len(got) != 0 {
		t.Errorf("got %q", got)
	}
	if w.Conns() != 0 || p.calls.Load() != 0 {
		t.Errorf("%d connections, %d callbacks after the end", w.Conns(), p.calls.Load())
	}
}

// The far end gets everything and a FIN, and is read on until it ends its own side.
func TestEndFlushedEndsOneDirection(t *testing.T) {
	w := start(t, Config{}, nil)
	p := newProbe()
	var got atomic.Int64
	p.onBytes = func(b chunk.Bytes) { got.Add(int64(len(b.B))) }
	far := adopt(t, w, Production, p)
	want := pattern(6 << 20)
	on(t, w, func() {
		p.c.Write(want)
		p.c.EndFlushed()
		p.c.Write([]byte("too late"))
		p.c.Push(chunk.Bytes{B: []byte("too late")})
		p.c.EndFlushed()
	})
	if b := readAll(t, far); !bytes.Equal(b, want) {
		t.Errorf("got %d bytes, want %d", len(b), len(want))
	}
	on(t, w, func() {
		p.c.Write([]byte("too late"))
		if p.c.Queued() != 0 || p.c.Closed() {
			t.Errorf("%d bytes queued behind the FIN, closed %v", p.c.Queued(), p.c.Closed())
		}
	})
	if _, err := far.Write(pattern(100_000)); err != nil {
		t.Fatal(err)
	}
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	receive(t, p.eof, "the peer's FIN")
	if got.Load() != 100_000 {
		t.Errorf("%d bytes read behind our FIN", got.Load())
	}
	on(t, w, func() {
		select {
		case err := <-p.gone:
			t.Errorf("both sides ended in order, but it is gone: %v", err)
		default:
		}
		p.c.CloseFlushed()
	})
	until(t, w, "the connection is given back", func() bool { return w.Conns() == 0 })
}

func TestResetAfterEndFlushedIsTold(t *testing.T) {
	w := start(t, Config{}, nil)
	p := newProbe()
	far := adopt(t, w, Production, p)
	on(t, w, func() { p.c.EndFlushed() })
	if b := readAll(t, far); len(b) != 0 {
		t.Errorf("got %q", b)
	}
	if err := far.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	far.Close()
	if err := receive(t, p.gone, "the end of the connection"); err == nil {
		t.Error("gone without a reason")
	}
}
