// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// copyLowat is TCP_NOTSENT_LOWAT of copies' sockets: kernel memory for an ill mirror is bounded apart from ours.
const copyLowat = 128 << 10

// copyReceive is SO_RCVBUF of copies' sockets, of which the kernel makes twice as much. Left to itself it lets a socket
// that is read fast hold up to tcp_rmem's maximum, 6 MiB and more, for each copy whose answer comes faster than the
// copies' part of the turns reads it. The bound costs copies nothing: answers up to 1 MiB are read as fast.
//
// SO_SNDBUF is left to the kernel: what is unsent has copyLowat, and what is sent and not acknowledged is no more than
// the mirror's kernel wants to have.
const copyReceive = 128 << 10

// sockets are the plain socket calls of a driver, bare so that none allocates.
type sockets struct {
	iov [maxBuffers]unix.Iovec
	msg unix.Msghdr
}

// adopt takes over an accepted socket: it is known by its descriptor.
func (*sockets) adopt(fd int) (int, error) { return fd, nil }

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

func (*sockets) dialUnix(path string, class Class) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	(*sockets)(nil).prepare(fd, class)
	// It connects at once or not at all: EAGAIN is a full backlog, and nothing would tell when it is not any more.
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
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
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, copyReceive)
	}
}

// keepAlive sets the options that the socket takes; a Unix one takes none.
func (*sockets) keepAlive(fd int, k KeepAlive) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	for _, o := range [...]struct{ name, value int }{
		{unix.TCP_KEEPIDLE, seconds(k.Time)}, {unix.TCP_KEEPINTVL, seconds(k.Interval)}, {unix.TCP_KEEPCNT, k.Probes},
	} {
		if o.value > 0 {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, o.name, o.value)
		}
	}
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// originalDst asks netfilter. Without a redirection it says the socket's own address, or nothing.
func (*sockets) originalDst(fd int, local netip.AddrPort) netip.AddrPort {
	const option = 80 // SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST
	var raw [unix.SizeofSockaddrInet6]byte
	size := uint32(len(raw))
	level := uintptr(unix.SOL_IP)
	if local.Addr().Is6() {
		level = unix.SOL_IPV6
	}
	_, _, e := syscall.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), level, option,
		uintptr(unsafe.Pointer(&raw)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return netip.AddrPort{}
	}
	return redirected(raw[:size], local)
}

// redirected reads a raw socket address; not valid if it is none, or local itself.
func redirected(raw []byte, local netip.AddrPort) netip.AddrPort {
	if len(raw) < unix.SizeofSockaddrInet4 {
		return netip.AddrPort{}
	}
	port := binary.BigEndian.Uint16(raw[2:])
	var addr netip.Addr
	switch binary.NativeEndian.Uint16(raw) {
	case unix.AF_INET:
		addr = netip.AddrFrom4([4]byte(raw[4:8]))
	case unix.AF_INET6:
		if len(raw) < unix.SizeofSockaddrInet6 {
			return netip.AddrPort{}
		}
		addr = netip.AddrFrom16([16]byte(raw[8:24])).Unmap()
	default:
		return netip.AddrPort{}
	}
	if to := netip.AddrPortFrom(addr, port); to != local {
		return to
	}
	return netip.AddrPort{}
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
