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
	Refused  atomic.Uint64 // closed at once: over a limit, or no worker runs any more
	OverAll  atomic.Uint64 // of these, the ones over Limit
	OverOwn  atomic.Uint64 // of these, the ones over OwnLimit
	Starved  atomic.Uint64 // times that accepting waited: no descriptors or memory were left, or it was paused
	Failed   atomic.Uint64 // other failures of accept: mostly connections that died in the queue
}

// Listener is a listening socket with its acceptor. The exported fields are set before Serve.
type Listener struct {
	Limit  int          // connections in all workers together; 0 is none
	Logger *slog.Logger // nil: none
	Stats  Stats

	// OwnLimit bounds this listener's connections, of which Own is the number: whoever serves them counts them up when
	// they are handed over (ServeEach), and down when their sockets are closed. No limit if it is 0.
	Own      *atomic.Int64
	OwnLimit int
	// Paused has new connections wait in the accept queue while it is set; nil: never.
	Paused *atomic.Bool
	// Highest is a descriptor: while all up to it are in use, new connections wait, so that those that are there can have
	// what they need. 0: none.
	Highest int

	addr netip.AddrPort
	file *os.File
	raw  syscall.RawConn

	mu      sync.Mutex
	serving bool // guarded by mu
	closed  bool // guarded by mu

	leave   bool          // set before closing is closed: what is in the queue is another process's
	closing chan struct{} // Close or Leave was called
	done    chan struct{} // Serve has returned

	// Owned by the acceptor.
	workers []*loop.Worker
	next    int  // where the search for the worker with the fewest begins
	tight   bool // the last descriptor was above Highest
	logged  time.Time
	accept  func(fd int) (int, unix.Sockaddr, error) // of a non-blocking connection
}

// Listen binds addr and listens. Port 0 picks a free one; [::] takes IPv4 too.
func Listen(addr netip.AddrPort) (*Listener, error) { return open(addr, false) }

func open(addr netip.AddrPort, shared bool) (*Listener, error) {
	fd, bound, err := listen(addr, shared)
	if err != nil {
		return nil, fmt.Errorf("listen on %v: %w", addr, err)
	}
	l, err := newListener(os.NewFile(uintptr(fd), "listener "+bound.String())) // non-blocking: Go's netpoller parks it
	if err != nil {
		return nil, fmt.Errorf("listen on %v: %w", addr, err)
	}
	l.addr = bound
	return l, nil
}

// Inherit takes over a socket that another process has opened for addr. It owns file from the call on, also if it
// fails.
func Inherit(addr netip.AddrPort, file *os.File) (*Listener, error) {
	l, err := newListener(file)
	if err != nil {
		return nil, fmt.Errorf("inherit %v: %w", addr, err)
	}
	if l.addr, err = l.bound(); err == nil && addr.Port() != 0 && l.addr != addr {
		err = fmt.Errorf("the socket listens on %v", l.addr)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("inherit %v: %w", addr, err)
	}
	return l, nil
}

func newListener(file *os.File) (*Listener, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &Listener{
		file: file, raw: raw, accept: acceptOne, closing: make(chan struct{}), done: make(chan struct{}),
	}, nil
}

// bound is where an inherited socket listens.
func (l *Listener) bound() (at netip.AddrPort, err error) {
	failed := l.raw.Control(func(fd uintptr) {
		var listening int
		var name unix.Sockaddr
		if listening, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil {
			err = os.NewSyscallError("getsockopt", err)
		} else if listening == 0 {
			err = errors.New("the socket does not listen")
		} else if name, err = unix.Getsockname(int(fd)); err == nil {
			at = loop.AddrPort(name)
		}
	})
	return at, errors.Join(failed, err)
}

// SyscallConn gives the listening socket, to pass it on to another process.
func (l *Listener) SyscallConn() (syscall.RawConn, error) { return l.raw, nil }

func listen(addr netip.AddrPort, shared bool) (fd int, bound netip.AddrPort, err error) {
	sa, family, err := loop.Sockaddr(addr)
	if err != nil {
		return -1, bound, err
	}
	fd, err = socket(family)
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
	if shared {
		if err = share(fd, true); err != nil {
			return -1, bound, err
		}
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
	l.ServeEach(workers, func() Accept { return accept })
}

// ServeEach is Serve where enter says for each connection who takes it over, on the acceptor's goroutine and before it
// is handed to its worker: a count of what is on its way is kept there. Nobody takes it over if that worker has ended.
func (l *Listener) ServeEach(workers []*loop.Worker, enter func() Accept) {
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
			starved = l.held(int(fd)) || l.acceptAll(int(fd), false, enter)
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
	if !l.leave {
		// What the kernel has accepted on our behalf would be reset: take it first.
		_ = l.raw.Control(func(fd uintptr) { l.acceptAll(int(fd), true, enter) })
	}
}

// Close takes what is in the accept queue, closes the socket and waits until that is done. Connections stay.
func (l *Listener) Close() { l.end(false) }

// Leave closes the socket for this process, and waits until that is done: another one has it too, and takes what is in
// the accept queue.
func (l *Listener) Leave() { l.end(true) }

func (l *Listener) end(leave bool) {
	l.mu.Lock()
	first, serving := !l.closed, l.serving
	if first {
		l.leave = leave
	}
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

// held reports whether connections must wait.
func (l *Listener) held(listening int) bool {
	why := ""
	if l.tight {
		// The kernel gives the lowest free descriptor.
		fd, err := unix.FcntlInt(uintptr(listening), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		if l.tight = err != nil || fd > l.Highest; l.tight {
			why = "few descriptors are left"
		}
	}
	if l.Paused != nil && l.Paused.Load() {
		why = "overload"
	}
	if why == "" {
		return false
	}
	l.Stats.Starved.Add(1)
	l.complain(why, "above", l.Highest)
	return true
}

// acceptAll accepts until the queue is empty, and reports whether it had to stop before, for want of descriptors or
// because connections must wait. The last time none waits, and no more are taken than the queue may have held.
func (l *Listener) acceptAll(listening int, last bool, enter func() Accept) bool {
	most := math.MaxInt
	if last {
		most = backlog
	}
	for range most {
		fd, sa, err := l.accept(listening)
		switch err {
		case nil:
			l.hand(fd, loop.AddrPort(sa), enter)
			if l.Highest > 0 && fd > l.Highest {
				l.tight = true
			}
			if !last && (l.tight || l.Paused != nil && l.Paused.Load()) && l.held(listening) {
				return true
			}
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
func (l *Listener) hand(fd int, peer netip.AddrPort, enter func() Accept) {
	if len(l.workers) == 0 {
		l.refuse(fd, peer, "there are no workers")
		return
	}
	at, all := l.fewest()
	if l.Limit > 0 && all >= l.Limit {
		l.Stats.OverAll.Add(1)
		l.refuse(fd, peer, "limit of connections")
		l.complain("limit of connections reached", "limit", l.Limit)
		return
	}
	if l.OwnLimit > 0 && l.Own.Load() >= int64(l.OwnLimit) {
		l.Stats.OverOwn.Add(1)
		l.refuse(fd, peer, "limit of this listener's connections")
		l.complain("limit of this listener's connections reached", "limit", l.OwnLimit)
		return
	}
	local := l.addr
	if sa, err := unix.Getsockname(fd); err == nil {
		local = loop.AddrPort(sa)
	}
	w := l.workers[at]
	accept := enter()
	if !w.Hand(func() { accept(w, fd, peer, local) }) {
		l.refuse(fd, peer, "the worker has ended")
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

func (l *Listener) refuse(fd int, peer netip.AddrPort, why string) {
	l.Stats.Refused.Add(1)
	l.Logger.Debug("connection refused", "peer", peer, "listener", l.addr, "why", why)
	_ = unix.Close(fd)
}

// complain logs that connections are not accepted, once in a while.
func (l *Listener) complain(why string, key string, value any) {
	if now := time.Now(); now.Sub(l.logged) >= logEvery {
		l.logged = now
		l.Logger.Warn("connections are not accepted", "address", l.addr, "why", why, key, value)
	}
}
