// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// This file is how a socket takes the place of others at its port, as when a listener moves from all addresses to one
// of them or back. The kernel lets both listen if all of them want to share the port, which they may say late; it gives
// a connection to the one with the most exact address. Then the old one fades: it is bound to a network interface that
// does not exist, so that the kernel finds the new one for connections that begin from then on, while handshakes under
// way still end in the old one's queue. (Closed at once it would reset those, and a filter that drops SYN packets would
// have new clients wait a second.) No connection is refused or reset, but that with SYN cookies, when the old one's
// queue overflows in that moment, a handshake under way comes to nothing.

// Overlap tells whether two sockets cannot listen at both addresses unless they share the port.
func Overlap(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && (a == b || a.Addr().IsUnspecified() || b.Addr().IsUnspecified())
}

// Replace is Listen at an address that others are in the way of, which listen on until they Fade or Close.
func Replace(addr netip.AddrPort, others []*Listener) (*Listener, error) {
	defer func() { _ = shareAll(others, false) }() // so that no other process can, by accident; if it fails, one can
	if err := shareAll(others, true); err != nil {
		return nil, fmt.Errorf("listen on %v: %w", addr, err)
	}
	l, err := open(addr, true)
	if err != nil {
		return nil, err
	}
	if err := shareAll([]*Listener{l}, false); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen on %v: %w", addr, err)
	}
	return l, nil
}

func shareAll(all []*Listener, on bool) (err error) {
	for _, l := range all {
		failed := l.raw.Control(func(fd uintptr) {
			if e := share(int(fd), on); e != nil {
				err = e
			}
		})
		if failed != nil {
			err = failed
		}
	}
	return err
}

func share(fd int, on bool) error {
	value := 0
	if on {
		value = 1
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, value))
}

// Fade leaves new connections to the sockets that replace this one. Those whose handshakes have begun are accepted
// still, until Close. An error means that the system cannot do that (Linux can since 5.7): the socket is as it was.
func (l *Listener) Fade() (err error) {
	if failed := l.raw.Control(func(fd uintptr) { err = fade(int(fd)) }); failed != nil {
		return failed
	}
	return err
}
