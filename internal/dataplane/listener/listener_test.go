// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

// until waits for a condition that other goroutines bring about.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func listenHere(t *testing.T) *Listener {
	t.Helper()
	l, err := Listen(anyPort)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func startWorkers(t *testing.T, n int) []*loop.Worker {
	t.Helper()
	workers := make([]*loop.Worker, n)
	for i := range workers {
		w, err := loop.New(loop.Config{Index: i})
		if err != nil {
			t.Fatal(err)
		}
		workers[i] = w
		done := make(chan error)
		go func() { done <- w.Run(context.Background()) }()
		t.Cleanup(func() {
			w.Stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	return workers
}

// greeter says hello and closes when the peer does.
type greeter struct{ c *loop.Conn }

func (g *greeter) Connected()        {}
func (g *greeter) Bytes(chunk.Bytes) {}
func (g *greeter) EOF()              { g.c.Close() }
func (g *greeter) Writable()         {}
func (g *greeter) Gone(error)        {}

func greet(w *loop.Worker, fd int, peer, local netip.AddrPort) {
	g := &greeter{}
	c, err := w.AdoptFrom(fd, loop.Production, g, local, peer)
	if err != nil {
		return
	}
	g.c = c
	c.Write([]byte("hello"))
}

// serve runs l until the test ends.
func serve(t *testing.T, l *Listener, workers []*loop.Worker, accept Accept) {
	t.Helper()
	serveEach(t, l, workers, func() Accept { return accept })
}

func serveEach(t *testing.T, l *Listener, workers []*loop.Worker, enter func() Accept) {
	done := make(chan struct{})
	go func() { defer close(done); l.ServeEach(workers, enter) }()
	t.Cleanup(func() { l.Close(); <-done })
}

func dial(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", l.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func expectHello(t *testing.T, c net.Conn) {
	t.Helper()
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestConnectionsAreSpreadEvenlyEvenInABurst(t *testing.T) {
	l := listenHere(t)
	workers := startWorkers(t, 3)
	var conns []net.Conn
	for range 30 { // all in the queue before the acceptor looks
		conns = append(conns, dial(t, l))
	}
	serve(t, l, workers, greet)
	for _, c := range conns {
		expectHello(t, c)
	}
	for _, w := range workers {
		if n := w.Conns(); n != 10 {
			t.Errorf("worker %d has %d connections, want 10", w.Index, n)
		}
	}
	// When connections of one are gone, it gets the next ones.
	for i, c := range conns {
		if i%3 == 1 {
			c.Close()
		}
	}
	until(t, "a third is closed", func() bool { return total(workers) == 20 })
	for range 10 {
		expectHello(t, dial(t, l))
	}
	for _, w := range workers {
		if n := w.Conns(); n != 10 {
			t.Errorf("worker %d has %d connections, want 10", w.Index, n)
		}
	}
	until(t, "all are counted", func() bool { return l.Stats.Accepted.Load() == 40 }) // each after it was handed on
}

func total(workers []*loop.Worker) (n int) {
	for _, w := range workers {
		n += w.Conns()
	}
	return n
}

func TestConnectionsOneAfterTheOtherGoToAllWorkers(t *testing.T) {
	l := listenHere(t)
	workers := startWorkers(t, 2)
	var got [2]atomic.Int64
	serve(t, l, workers, func(w *loop.Worker, fd int, peer, local netip.AddrPort) {
		got[w.Index].Add(1)
		greet(w, fd, peer, local)
	})
	for range 10 {
		c := dial(t, l)
		expectHello(t, c)
		c.Close()
		until(t, "it is closed", func() bool { return total(workers) == 0 })
	}
	if a, b := got[0].Load(), got[1].Load(); a != 5 || b != 5 {
		t.Errorf("%d and %d connections, want 5 each", a, b)
	}
}

func TestAcceptIsToldBothAddresses(t *testing.T) {
	l, err := Listen(netip.MustParseAddrPort("0.0.0.0:0"))
	if err != nil {
		t.Fatal(err)
	}
	type pair struct{ peer, local string }
	got := make(chan pair, 1)
	serve(t, l, startWorkers(t, 1), func(w *loop.Worker, fd int, peer, local netip.AddrPort) {
		greet(w, fd, peer, local)
		got <- pair{peer.String(), local.String()}
	})
	c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), l.Addr().Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := pair{c.LocalAddr().String(), c.RemoteAddr().String()}
	if p := <-got; p != want {
		t.Errorf("got %v, want %v", p, want)
	}
}

func TestDualStackListenerTakesIPv4(t *testing.T) {
	l, err := Listen(netip.MustParseAddrPort("[::]:0"))
	if err != nil {
		t.Fatal(err)
	}
	peers := make(chan netip.AddrPort, 1)
	serve(t, l, startWorkers(t, 1), func(w *loop.Worker, fd int, peer, local netip.AddrPort) {
		greet(w, fd, peer, local)
		peers <- peer
	})
	c, err := net.Dial("tcp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), l.Addr().Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if peer := <-peers; !peer.Addr().Is4() {
		t.Errorf("peer %v", peer)
	}
}

func TestConnectionsBeyondTheLimitAreClosedAndCounted(t *testing.T) {
	l := listenHere(t)
	l.Limit = 3
	workers := startWorkers(t, 2)
	serve(t, l, workers, greet)
	var conns []net.Conn
	for range 3 {
		c := dial(t, l)
		expectHello(t, c)
		conns = append(conns, c)
	}
	for range 2 {
		if b, err := io.ReadAll(dial(t, l)); err != nil || len(b) != 0 {
			t.Errorf("got %q, %v, want the connection closed", b, err)
		}
	}
	if n := l.Stats.Refused.Load(); n != 2 {
		t.Errorf("%d refused, want 2", n)
	}
	conns[0].Close()
	until(t, "there is room", func() bool { return total(workers) == 2 })
	expectHello(t, dial(t, l))
}

func TestCloseTakesWhatIsInTheQueueFirst(t *testing.T) {
	l := listenHere(t)
	workers := startWorkers(t, 1)
	// The acceptor is held in its first call until the queue has more.
	held, release := make(chan struct{}), make(chan struct{})
	accept, first := l.accept, true
	l.accept = func(fd int) (int, unix.Sockaddr, error) {
		if first {
			first = false
			close(held)
			<-release
			return -1, nil, unix.EAGAIN // as if it had come a moment earlier
		}
		return accept(fd)
	}
	serve(t, l, workers, greet)
	var conns []net.Conn
	conns = append(conns, dial(t, l))
	<-held
	for range 50 {
		conns = append(conns, dial(t, l))
	}
	closed := make(chan struct{})
	go func() { l.Close(); close(closed) }()
	<-l.closing
	close(release)
	<-closed
	for _, c := range conns {
		expectHello(t, c)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("connected after Close")
	}
	if again, err := Listen(l.Addr()); err != nil {
		t.Errorf("the port is not free: %v", err)
	} else {
		again.Close()
	}
}

func TestAcceptingGoesOnAfterDescriptorsRanOut(t *testing.T) {
	l := listenHere(t)
	workers := startWorkers(t, 1)
	conns := []net.Conn{dial(t, l), dial(t, l)}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0 // open ones stay usable
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}
	defer restore()
	serve(t, l, workers, greet)
	until(t, "accepting failed twice", func() bool { return l.Stats.Starved.Load() >= 2 })
	restore()
	for _, c := range conns {
		expectHello(t, c)
	}
	if n := l.Stats.Starved.Load(); n > uint64(patience/starvedPause) {
		t.Errorf("%d attempts: no rest between them", n)
	}
}

func TestFailureOfOneConnectionDoesNotEndAccepting(t *testing.T) {
	l := listenHere(t)
	failures := []error{unix.ECONNABORTED, unix.EINTR, unix.EPROTO}
	accept := l.accept
	l.accept = func(fd int) (int, unix.Sockaddr, error) {
		if len(failures) > 0 {
			err := failures[0]
			failures = failures[1:]
			return -1, nil, err
		}
		return accept(fd)
	}
	serve(t, l, startWorkers(t, 1), greet)
	expectHello(t, dial(t, l))
	if n := l.Stats.Failed.Load(); n != 2 {
		t.Errorf("%d failed, want 2", n)
	}
}

func TestConnectionForAStoppedWorkerIsRefused(t *testing.T) {
	l := listenHere(t)
	w, err := loop.New(loop.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w.Stop()
	if err := w.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var called atomic.Bool
	serve(t, l, []*loop.Worker{w}, func(*loop.Worker, int, netip.AddrPort, netip.AddrPort) { called.Store(true) })
	if b, err := io.ReadAll(dial(t, l)); err != nil || len(b) != 0 {
		t.Errorf("got %q, %v, want the connection closed", b, err)
	}
	if l.Stats.Refused.Load() != 1 || called.Load() {
		t.Error("not counted as refused, or handed on")
	}
}

func TestCloseWithoutServeFreesThePort(t *testing.T) {
	l := listenHere(t)
	l.Close()
	l.Close()
	l.Serve(nil, nil)
	again, err := Listen(l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestPortInUseIsAnErrorThatNamesIt(t *testing.T) {
	l := listenHere(t)
	_, err := Listen(l.Addr())
	if err == nil {
		t.Fatal("listened twice")
	}
	if want := "listen on " + l.Addr().String() + ": bind: address already in use"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("%v does not wrap EADDRINUSE", err)
	}
}

// lend gives the socket a second descriptor, as another process has it.
func lend(t *testing.T, l *Listener) *os.File {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var f *os.File
	if err := raw.Control(func(fd uintptr) {
		dup, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		f = os.NewFile(uintptr(dup), "lent")
	}); err != nil || f == nil {
		t.Fatalf("%v, %v", f, err)
	}
	return f
}

func TestSocketGoesFromOneListenerToTheNextWithoutALoss(t *testing.T) {
	workers := startWorkers(t, 1)
	old := listenHere(t)
	old.accept = func(int) (int, unix.Sockaddr, error) { return -1, nil, unix.EAGAIN } // it is late for all of them
	serve(t, old, workers, greet)
	var conns []net.Conn
	for range 20 {
		conns = append(conns, dial(t, old))
	}
	l, err := Inherit(old.Addr(), lend(t, old))
	if err != nil {
		t.Fatal(err)
	}
	old.Leave()
	if l.Addr() != old.Addr() {
		t.Errorf("listens on %v, want %v", l.Addr(), old.Addr())
	}
	for range 20 {
		conns = append(conns, dial(t, l))
	}
	serve(t, l, workers, greet)
	for _, c := range conns {
		expectHello(t, c)
	}
	until(t, "all are counted", func() bool { return l.Stats.Accepted.Load() == 40 })
}

func TestInheritedSocketMustListenThere(t *testing.T) {
	l := listenHere(t)
	if _, err := Inherit(netip.MustParseAddrPort("127.0.0.1:1"), lend(t, l)); err == nil {
		t.Error("took a socket of another address")
	}
	fd, err := socket(unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Inherit(anyPort, os.NewFile(uintptr(fd), "idle")); err == nil {
		t.Error("took a socket that does not listen")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Inherit(anyPort, null); err == nil {
		t.Error("took what is no socket")
	}
}

func TestConnectionsBeyondAListenersOwnLimitAreClosedAndCounted(t *testing.T) {
	workers := startWorkers(t, 2)
	one, other := listenHere(t), listenHere(t)
	one.Own, one.OwnLimit = new(atomic.Int64), 2
	log := make(lines, 100)
	one.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	serveEach(t, one, workers, func() Accept {
		one.Own.Add(1)
		return greet
	})
	serve(t, other, workers, greet)
	expectHello(t, dial(t, one))
	for range 3 {
		expectHello(t, dial(t, other))
	}
	expectHello(t, dial(t, one))
	if b, err := io.ReadAll(dial(t, one)); err != nil || len(b) != 0 {
		t.Errorf("got %q, %v, want the connection closed", b, err)
	}
	if refused, over := one.Stats.Refused.Load(), one.Stats.OverOwn.Load(); refused != 1 || over != 1 {
		t.Errorf("%d refused, %d over the limit, want 1", refused, over)
	}
	one.Own.Add(-1) // as who serves them does when one ends
	expectHello(t, dial(t, one))
	got := <-log // before the socket was closed, so it is there
	if want := `msg="connection refused" peer=127.0.0.1:`; !strings.Contains(got, want) ||
		!strings.Contains(got, `why="limit of this listener's connections"`) {
		t.Errorf("no %q in %q", want, got)
	}
}

// lines are what a logger writes.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func TestConnectionsWaitWhileAcceptingIsPaused(t *testing.T) {
	l := listenHere(t)
	l.Paused = new(atomic.Bool)
	l.Paused.Store(true)
	serve(t, l, startWorkers(t, 1), greet)
	c := dial(t, l)
	until(t, "accepting has waited twice", func() bool { return l.Stats.Starved.Load() >= 2 })
	if n := l.Stats.Accepted.Load(); n != 0 {
		t.Fatalf("%d accepted while paused", n)
	}
	l.Paused.Store(false)
	expectHello(t, c)
}

func TestPausedListenerStillTakesWhatIsInTheQueueWhenItCloses(t *testing.T) {
	l := listenHere(t)
	l.Paused = new(atomic.Bool)
	l.Paused.Store(true)
	serve(t, l, startWorkers(t, 1), greet)
	c := dial(t, l)
	until(t, "accepting has waited", func() bool { return l.Stats.Starved.Load() >= 1 })
	l.Close()
	expectHello(t, c)
}

func TestConnectionsWaitForDescriptorsBelowTheHighest(t *testing.T) {
	l := listenHere(t)
	const room = 6
	// Every descriptor up to the next one is in use.
	var low []*os.File
	null := func() *os.File {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	workers := startWorkers(t, 1)
	for range 64 { // those of other tests' ends may still be about to close
		low = append(low, null())
	}
	number := func(f *os.File) (n int) {
		raw, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) { n = int(fd) }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	l.Highest = number(low[len(low)-1]) + room
	serve(t, l, workers, greet)
	var conns []net.Conn
	for range 2 * room { // each takes two, one of them the test's own
		conns = append(conns, dial(t, l))
	}
	until(t, "accepting waits", func() bool { return l.Stats.Starved.Load() >= 2 })
	if n := l.Stats.Accepted.Load(); n > room+1 {
		t.Errorf("%d accepted with room for %d", n, room)
	}
	for _, f := range low {
		f.Close()
	}
	for _, c := range conns {
		expectHello(t, c)
	}
}
