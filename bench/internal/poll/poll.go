// SPDX-License-Identifier: Apache-2.0

// Package poll is the bare minimum of sockets that the bench's own programs need: one epoll set, non-blocking reads and
// writes, listen, dial, accept. It does not hide epoll, it has no timers, and it serves one thread. It is raw on
// purpose: what the load and the upstreams cost is taken from the proxy under test, because they share its cores.
package poll

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Interests of a connection: registered once, edge triggered.
const connEvents = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// Event is one ready descriptor.
type Event struct {
	FD       int
	Ended    bool // the peer's FIN, a reset or an error is there: read to the end
	Writable bool
}

// Set is an epoll set. It belongs to one goroutine.
type Set struct {
	fd     int
	raw    [256]unix.EpollEvent
	events [256]Event
}

// New returns an empty set. It also stops the garbage collector: the bench's programs allocate nothing while they
// measure, and a raw wait would hold up a collection.
func New() (*Set, error) {
	debug.SetGCPercent(-1)
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	return &Set{fd: fd}, nil
}

// Close closes the set, not the descriptors in it.
func (s *Set) Close() { unix.Close(s.fd) }

// AddConn registers a connection for reading and writing, edge triggered.
func (s *Set) AddConn(fd int) error { return s.add(fd, connEvents) }

// AddReader registers a descriptor for reading, level triggered.
func (s *Set) AddReader(fd int) error { return s.add(fd, unix.EPOLLIN) }

func (s *Set) add(fd int, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(fd)}
	if err := unix.EpollCtl(s.fd, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		return fmt.Errorf("epoll_ctl %d: %w", fd, err)
	}
	return nil
}

// Wait blocks until something is ready or the timeout is over; a negative timeout waits for ever. The events are valid
// until the next call.
func (s *Set) Wait(timeout time.Duration) ([]Event, error) {
	ms := -1
	if timeout >= 0 {
		ms = int((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.fd), uintptr(unsafe.Pointer(&s.raw[0])),
		uintptr(len(s.raw)), uintptr(ms), 0, 0)
	if errno == unix.EINTR {
		return nil, nil
	}
	if errno != 0 {
		return nil, fmt.Errorf("epoll_pwait: %w", errno)
	}
	for i := range s.raw[:n] {
		r := &s.raw[i]
		s.events[i] = Event{
			FD:       int(r.Fd),
			Ended:    r.Events&(unix.EPOLLERR|unix.EPOLLHUP|unix.EPOLLRDHUP) != 0,
			Writable: r.Events&unix.EPOLLOUT != 0,
		}
	}
	return s.events[:n], nil
}

// Read reads what is there. n is 0 with again if nothing is, and 0 without it at the end of the stream.
func Read(fd int, b []byte) (n int, again bool, err error) {
	return rw(unix.SYS_READ, fd, b)
}

// Write writes what fits. again says that the socket took less than all of b.
func Write(fd int, b []byte) (n int, again bool, err error) {
	n, again, err = rw(unix.SYS_WRITE, fd, b)
	return n, again || err == nil && n < len(b), err
}

func rw(call uintptr, fd int, b []byte) (int, bool, error) {
	if len(b) == 0 {
		return 0, false, nil
	}
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), false, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, errno
		}
	}
}

// Listen opens a non-blocking listening socket on an IPv4 address.
func Listen(addr netip.AddrPort) (int, error) {
	fd, err := socket(addr)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("listen %s: %w", addr, err)
	}
	if err := unix.Bind(fd, sockaddr(addr)); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("bind %s: %w", addr, err)
	}
	if err := unix.Listen(fd, 4096); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("listen %s: %w", addr, err)
	}
	return fd, nil
}

// Accept takes one waiting connection; ok is false when there is none.
func Accept(listener int) (fd int, ok bool, err error) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			return fd, true, noDelay(fd)
		case unix.EAGAIN:
			return 0, false, nil
		case unix.EINTR, unix.ECONNABORTED:
		default:
			return 0, false, fmt.Errorf("accept4: %w", err)
		}
	}
}

// Dial begins a connection to an IPv4 address. The socket turns writable when it is up.
func Dial(addr netip.AddrPort) (int, error) {
	fd, err := socket(addr)
	if err != nil {
		return 0, err
	}
	if err := noDelay(fd); err != nil {
		unix.Close(fd)
		return 0, err
	}
	if err := unix.Connect(fd, sockaddr(addr)); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return 0, fmt.Errorf("connect %s: %w", addr, err)
	}
	return fd, nil
}

// Close closes a descriptor.
func Close(fd int) { unix.Close(fd) }

func socket(addr netip.AddrPort) (int, error) {
	if !addr.Addr().Is4() {
		return 0, fmt.Errorf("address %s: only IPv4 is served", addr)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	return fd, nil
}

func noDelay(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("set TCP_NODELAY on %d: %w", fd, err)
	}
	return nil
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
}
