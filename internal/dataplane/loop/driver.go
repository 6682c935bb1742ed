// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"net/netip"
	"syscall"
)

// maxBuffers is the most pieces one write takes.
const maxBuffers = 64

// Kind says what a worker runs on.
type Kind uint8

const (
	// Default is the system's best: epoll on Linux, Portable elsewhere, and everywhere in a build with the tag portable.
	Default Kind = iota
	// Portable is the net package with two goroutines for each connection. It does the same and costs more.
	Portable
)

// driver is what a worker needs of the operating system: readiness, edge triggered, and non-blocking sockets. Called by
// the worker's goroutine only, but for wake.
type driver interface {
	// register puts a socket into the set for good, for all events. Readiness is told again only when it comes anew.
	register(fd int, k key) error
	// wait returns what became ready, at most some hundred events; valid until the next call. If block is set and there
	// is nothing it waits for an event, wake, or the clock passing until (never for longer than that by much; it may
	// return early with nothing).
	wait(block bool, until int64) ([]event, error)
	// wake ends a wait, the next one if none is going on. Safe from every goroutine until close.
	wake()
	close()

	// adopt takes over an accepted socket, also if it fails, and says what it is called from here on.
	adopt(fd int) (int, error)
	// dial begins to connect a new socket, connected says how it ended.
	dial(addr netip.AddrPort, class Class) (fd int, err error)
	dialUnix(path string, class Class) (fd int, err error)
	connected(fd int) error
	prepare(fd int, class Class)
	keepAlive(fd int, k KeepAlive)
	originalDst(fd int, local netip.AddrPort) netip.AddrPort
	recv(fd int, p []byte) (int, syscall.Errno)
	send(fd int, bufs [][]byte) (int, syscall.Errno)
	unacked(fd int) int // bytes taken that the peer has not acknowledged; 0 if that is not known
	shutdown(fd int)
	shut(fd int, reset bool)
	addrs(fd int) (local, remote netip.AddrPort)
}

// key finds a connection again; a slot's generation changes with each connection, so that an event of an earlier one is
// not taken for the present one's.
type key struct {
	slot uint32
	gen  uint32
}

type event struct {
	key
	bits readiness
}

// readiness is what an event tells.
type readiness uint8

const (
	readable readiness = 1 << iota
	writable
	peerDone // the peer ended its direction
	hangup   // both directions are over, or an error is pending
)
