// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

// The rest of what the portable driver does is shown by running all tests of the data plane on it: make test-portable.

func onPortable(t *testing.T) *Worker { return start(t, Config{Driver: Portable}, nil) }

// What was taken from the owner reaches the peer, though the connection was closed at once.
func TestPortableWritesWhatItTookBeforeItCloses(t *testing.T) {
	w := onPortable(t)
	p := newProbe()
	far := adopt(t, w, Production, p)
	want := pattern(20_000)
	on(t, w, func() { p.c.Write(want) })
	until(t, w, "all was taken", func() bool { return p.c.Queued() == 0 })
	on(t, w, func() { p.c.Close() })
	if got := readAll(t, far); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, or others than the %d written", len(got), len(want))
	}
}

// As the kernel does when bytes were not read.
func TestPortableResetsAPeerWhoseBytesWereNotRead(t *testing.T) {
	w := onPortable(t)
	p := newProbe()
	far := adopt(t, w, Production, p)
	on(t, w, func() { p.c.Pause() })
	far.Write([]byte("x"))
	until(t, w, "the byte is there", func() bool { return p.c.is(unread) })
	on(t, w, func() { p.c.Close() })
	if _, err := io.ReadAll(far); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v", err)
	}
}

// A connection whose owner does not read holds no more than a ring here: the peer is held back by the kernel.
func TestPortableHoldsNoMoreThanARingOfWhatNobodyReads(t *testing.T) {
	w := onPortable(t)
	p := newProbe()
	got := 0
	p.onBytes = func(b chunk.Bytes) { got += len(b.B) }
	far := adopt(t, w, Production, p)
	on(t, w, func() { p.c.Pause() })
	const all = 16 << 20
	wrote := make(chan error, 1)
	go func() {
		_, err := far.Write(make([]byte, all))
		wrote <- err
	}()
	held := func() (n int) {
		s := w.drv.(*portable).socks[p.c.fd]
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.in.n
	}
	until(t, w, "the ring is full", func() bool { return held() == ringSize })
	on(t, w, func() {
		if got != 0 {
			t.Errorf("%d bytes for an owner that has paused", got)
		}
		p.c.Resume()
	})
	if err := receive(t, wrote, "the peer's write"); err != nil {
		t.Error(err)
	}
	until(t, w, "all came", func() bool { return got == all })
}

// Closed while dialling: the goroutine ends, and what it may have connected is closed.
func TestPortableDialThatIsGivenUpLeavesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := onPortable(t)
	for range 50 {
		p := newProbe()
		on(t, w, func() { w.Dial(l.Addr().(*net.TCPAddr).AddrPort(), Production, time.Minute, p).Abort() })
		if p.calls.Load() != 0 {
			t.Error("callback after Abort")
		}
	}
	d := w.drv.(*portable)
	until(t, w, "nothing is open", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.open) == 0
	})
}
