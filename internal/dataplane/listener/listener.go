// SPDX-License-Identifier: Apache-2.0

// Package listener accepts connections and hands each to the worker with the fewest. It reads nothing from them and
// does not know what they are for.
package listener

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// backlog is asked for; the kernel takes at most net.core.somaxconn.
const backlog = 4096

// starvedPause is how long accepting rests when there are no descriptors or no memory left.
const starvedPause = 100 * time.Millisecond

// logEvery is the least time between two lines of the log about the same trouble.
const logEvery = time.Second

// Stats counts what became of connections. Safe from every goroutine.
type Stats struct {
	Accepted atomic.Uint64 // handed to a worker
	Refused  atomic.Uint64 // closed at once: the limit, or no worker runs any more
	Starved  atomic.Uint64 // attempts to accept that failed for want of descriptors or memory
	Failed   atomic.Uint64 // other failures of accept: mostly connections that died in the queue
}

// Listener is a listening socket with its acceptor. The exported fields are set before Serve.
type Listener struct {
	Limit  int          // connections in all workers together; 0 is none
	Logger *slog.Logger // nil: none
	Stats  Stats

	addr netip.AddrPort
	file *os.File
	raw  syscall.RawConn

	mu      sync.Mutex
	serving bool // guarded by mu
	closed  bool // guarded by mu

	closing chan struct{} // Close was called
	done    chan struct{} // Serve has returned

	// Owned by the acceptor.
	workers []*loop.Worker
	next    int // where the search for the worker with the fewest begins
	logged  time.Time
	accept  func(fd, flags int) (int, unix.Sockaddr, error)
}

// Listen binds addr and listens. Port 0 picks a free one; [::] takes IPv4 too.
func Listen(addr netip.AddrPort) (*Listener, error) {
	fd, bound, err := listen(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %v: %w", addr, err)
	}
	file := os.NewFile(uintptr(fd), "listener "+bound.String()) // non-blocking: Go's netpoller parks it
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("listen on %v: %w", addr, err)
	}
	return &Listener{
		addr: bound, file: file, raw: raw, accept: unix.Accept4,
		closing: make(chan struct{}), done: make(chan struct{}),
	}, nil
}

func listen(addr netip.AddrPort) (fd int, bound netip.AddrPort, err error) {
	sa, family, err := loop.Sockaddr(addr)
	if err != nil {
		return -1, bound, err
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, bound, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return -1, bound, os.NewSyscallError("setsockopt", err)
	}
	if family == unix.AF_INET6 && addr.Addr().IsUnspecified() {
		if err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return -1, bound, os.NewSyscallError("setsockopt", err)
		}
	}
	if err = unix.Bind(fd, sa); err != nil {
		return -1, bound, os.NewSyscallError("bind", err)
	}
	if err = unix.Listen(fd, backlog); err != nil {
		return -1, bound, os.NewSyscallError("listen", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return -1, bound, os.NewSyscallError("getsockname", err)
	}
	return fd, loop.AddrPort(name), nil
}

// Addr is the address listened on, with the port that was picked.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// Accept takes a connection over, on the goroutine of its worker. fd is non-blocking.
type Accept = func(w *loop.Worker, fd int, peer, local netip.AddrPort)

// Serve accepts until Close and has accept called for every connection. It is called once; after Close it returns at
// once.
func (l *Listener) Serve(workers []*loop.Worker, accept Accept) {
	l.mu.Lock()
	if l.closed || l.serving {
		l.mu.Unlock()
		return
	}
	l.serving = true
	l.mu.Unlock()
	defer close(l.done)
	defer l.file.Close()
	if l.Logger == nil {
		l.Logger = slog.New(slog.DiscardHandler)
	}
	l.workers = workers
	for !l.isClosing() {
		starved := false
		err := l.raw.Read(func(fd uintptr) bool {
			starved = l.acceptAll(int(fd), math.MaxInt, accept)
			return starved
		})
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			l.Logger.Error("listener ends", "address", l.addr, "error", err)
			return
		}
		if starved {
			l.rest()
		}
	}
	// What the kernel has accepted on our behalf would be reset: take it first.
	_ = l.raw.Control(func(fd uintptr) { l.acceptAll(int(fd), backlog, accept) })
}

// Close takes what is in the accept queue, closes the socket and waits until that is done. Connections stay.
func (l *Listener) Close() {
	l.mu.Lock()
	first, serving := !l.closed, l.serving
	l.closed = true
	l.mu.Unlock()
	if first {
		close(l.closing)
		if !serving {
			l.file.Close()
			return
		}
		// It fails only if the acceptor has ended already.
		_ = l.file.SetReadDeadline(time.Unix(1, 0))
	}
	if serving {
		<-l.done
	}
}

func (l *Listener) isClosing() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

// rest waits for others to give back what accepting needs.
func (l *Listener) rest() {
	t := time.NewTimer(starvedPause)
	defer t.Stop()
	select {
	case <-l.closing:
	case <-t.C:
	}
}

// acceptAll accepts at most so many connections until the queue is empty, and reports whether it had to stop before,
// for want of descriptors.
func (l *Listener) acceptAll(listening, most int, accept Accept) bool {
	for range most {
		fd, sa, err := l.accept(listening, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			l.hand(fd, loop.AddrPort(sa), accept)
		case unix.EAGAIN:
			return false
		case unix.EINTR:
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			l.Stats.Starved.Add(1)
			l.complain("no descriptors or memory", "error", err)
			return true
		case unix.EBADF, unix.EINVAL, unix.ENOTSOCK: // of the listening socket, not of a connection
			l.Stats.Failed.Add(1)
			l.complain("listening socket is broken", "error", err)
			return true
		default: // accept(2): pending network errors of the new connection
			l.Stats.Failed.Add(1)
		}
	}
	return false
}

// hand gives a connection to the worker with the fewest.
func (l *Listener) hand(fd int, peer netip.AddrPort, accept Accept) {
	if len(l.workers) == 0 {
		l.refuse(fd)
		return
	}
	at, all := l.fewest()
	if l.Limit > 0 && all >= l.Limit {
		l.refuse(fd)
		l.complain("limit of connections reached", "limit", l.Limit)
		return
	}
	local := l.addr
	if sa, err := unix.Getsockname(fd); err == nil {
		local = loop.AddrPort(sa)
	}
	w := l.workers[at]
	if !w.Hand(func() { accept(w, fd, peer, local) }) {
		l.refuse(fd)
		return
	}
	l.Stats.Accepted.Add(1)
}

// fewest is the worker with the fewest connections, taken in turn among equals, and the number of all connections.
func (l *Listener) fewest() (at, all int) {
	least := -1
	for i := range l.workers {
		k := (l.next + i) % len(l.workers)
		n := l.workers[k].Conns()
		all += n
		if least < 0 || n < least {
			at, least = k, n
		}
	}
	l.next = at + 1
	return at, all
}

func (l *Listener) refuse(fd int) {
	l.Stats.Refused.Add(1)
	_ = unix.Close(fd)
}

// complain logs that connections are not accepted, once in a while.
func (l *Listener) complain(why string, key string, value any) {
	if now := time.Now(); now.Sub(l.logged) >= logEvery {
		l.logged = now
		l.Logger.Warn("connections are not accepted", "address", l.addr, "why", why, key, value)
	}
}
