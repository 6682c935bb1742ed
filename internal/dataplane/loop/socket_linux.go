// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxBuffers is the most pieces one write takes.
const maxBuffers = 64

// copyLowat is TCP_NOTSENT_LOWAT of copies' sockets: kernel memory for an ill mirror is bounded apart from ours.
const copyLowat = 128 << 10

// sockets are the plain socket calls of a driver, bare so that none allocates.
type sockets struct {
	iov [maxBuffers]unix.Iovec
	msg unix.Msghdr
}

func (*sockets) dial(addr netip.AddrPort, class Class) (int, error) {
	sa, family, err := Sockaddr(addr)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	(*sockets)(nil).prepare(fd, class)
	if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (*sockets) connected(fd int) error {
	e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if e != 0 {
		return syscall.Errno(e)
	}
	return nil
}

// prepare sets a socket's options. A socket that refuses them (a Unix one in a test) is as good without.
func (*sockets) prepare(fd int, class Class) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if class == Copy {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, copyLowat)
	}
}

func (*sockets) recv(fd int, p []byte) (int, syscall.Errno) {
	n, _, e := syscall.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), 0, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

func (s *sockets) send(fd int, bufs [][]byte) (int, syscall.Errno) {
	var n uintptr
	var e syscall.Errno
	if len(bufs) == 1 {
		b := bufs[0]
		n, _, e = syscall.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
			uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	} else {
		for i, b := range bufs {
			s.iov[i].Base = unsafe.SliceData(b)
			s.iov[i].SetLen(len(b))
		}
		s.msg.Iov = &s.iov[0]
		s.msg.SetIovlen(len(bufs))
		n, _, e = syscall.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&s.msg)), unix.MSG_NOSIGNAL)
	}
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

func (*sockets) unacked(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

func (*sockets) shutdown(fd int) { _ = unix.Shutdown(fd, unix.SHUT_WR) }

// shut closes the descriptor, with a RST if reset is set.
func (*sockets) shut(fd int, reset bool) {
	if reset {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	_ = unix.Close(fd)
}

func (*sockets) addrs(fd int) (local, remote netip.AddrPort) {
	if sa, err := unix.Getsockname(fd); err == nil {
		local = AddrPort(sa)
	}
	if sa, err := unix.Getpeername(fd); err == nil {
		remote = AddrPort(sa)
	}
	return local, remote
}

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
