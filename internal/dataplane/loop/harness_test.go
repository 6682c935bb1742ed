// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// start runs a worker until the test ends. change, if not nil, sees it before.
func start(t testing.TB, cfg Config, change func(*Worker)) *Worker {
	t.Helper()
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(w)
	}
	done := make(chan error, 1)
	go func() { done <- w.Run(context.Background()) }()
	t.Cleanup(func() {
		w.Stop()
		if err := receive(t, done, "Run to return"); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w
}

// on runs fn on the worker's goroutine and waits for it.
func on(t testing.TB, w *Worker, fn func()) {
	t.Helper()
	done := make(chan struct{})
	if !w.Post(func() { defer close(done); fn() }) {
		t.Fatal("posted to a stopped worker")
	}
	receive(t, done, "a posted function")
}

// receive waits for something on ch, or for its closing.
func receive[T any](t testing.TB, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// until asks on the worker's goroutine, turn after turn, until cond holds.
func until(t testing.TB, w *Worker, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		ok := false
		on(t, w, func() { ok = cond() })
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// probe is an owner whose callbacks a test sets; what is not set is ignored. connected, eof and gone tell of those.
type probe struct {
	c          *Conn
	onConnect  func()
	onBytes    func(chunk.Bytes)
	onEOF      func()
	onWritable func()
	onGone     func(error)

	connected, eof chan struct{}
	gone           chan error
	calls          atomic.Int64 // of all callbacks
}

func newProbe() *probe {
	return &probe{connected: make(chan struct{}), eof: make(chan struct{}), gone: make(chan error, 8)}
}

func (p *probe) Connected() {
	p.calls.Add(1)
	if p.onConnect != nil {
		p.onConnect()
	}
	close(p.connected)
}

func (p *probe) Bytes(b chunk.Bytes) {
	p.calls.Add(1)
	if p.onBytes != nil {
		p.onBytes(b)
	}
}

func (p *probe) EOF() {
	p.calls.Add(1)
	if p.onEOF != nil {
		p.onEOF()
	}
	close(p.eof)
}

func (p *probe) Writable() {
	p.calls.Add(1)
	if p.onWritable != nil {
		p.onWritable()
	}
}

func (p *probe) Gone(err error) {
	p.calls.Add(1)
	if p.onGone != nil {
		p.onGone(err)
	}
	p.gone <- err
}

// tcpPair is a TCP connection: a non-blocking descriptor and its far end.
func tcpPair(t testing.TB) (fd int, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	far = d.(*net.TCPConn)
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	if err := far.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return duplicate(t, near.(*net.TCPConn)), far
}

func duplicate(t testing.TB, c *net.TCPConn) (fd int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	cerr := raw.Control(func(s uintptr) { fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) })
	if cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return fd
}

// adopt gives the worker one end of a new connection.
func adopt(t testing.TB, w *Worker, class Class, p *probe) (far *net.TCPConn) {
	t.Helper()
	fd, far := tcpPair(t)
	on(t, w, func() {
		c, err := w.Adopt(fd, class, p)
		if err != nil {
			t.Error(err)
			return
		}
		p.c = c
	})
	return far
}

// serveEcho listens, adopts what comes into w and echoes it until the test ends.
func serveEcho(t testing.TB, w *Worker, class Class) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fd := duplicate(t, c.(*net.TCPConn))
			c.Close()
			w.Post(func() {
				e := &echo{}
				e.c, _ = w.Adopt(fd, class, e)
			})
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// echo sends back what it gets and reads no faster than that is taken.
type echo struct{ c *Conn }

func (e *echo) Connected() {}
func (e *echo) Bytes(b chunk.Bytes) {
	e.c.Push(b)
	if e.c.Queued() > HighWater {
		e.c.Pause()
	}
}
func (e *echo) EOF()       { e.c.CloseFlushed() }
func (e *echo) Writable()  { e.c.Resume() }
func (e *echo) Gone(error) {}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 31 >> 3)
	}
	return b
}

func readAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read after %d bytes: %v", len(b), err)
	}
	return b
}
