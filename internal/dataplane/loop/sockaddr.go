// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// AddrPort is the address of an Internet socket, an IPv4 one never in its IPv6 form; the zero AddrPort for other kinds.
func AddrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// Sockaddr is the reverse of AddrPort, with the socket's address family. Zones are not supported.
func Sockaddr(addr netip.AddrPort) (unix.Sockaddr, int, error) {
	switch a := addr.Addr(); {
	case a.Is4() || a.Is4In6():
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: a.As4()}, unix.AF_INET, nil
	case a.Is6() && a.Zone() == "":
		return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: a.As16()}, unix.AF_INET6, nil
	}
	return nil, 0, fmt.Errorf("address %q: neither IPv4 nor IPv6 without a zone", addr)
}
