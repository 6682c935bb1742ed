// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package proxy_test

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// peerReset reports whether the peer has reset the connection, without reading from it.
func peerReset(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(p, 0)
	return err != nil && err != unix.EINTR || n > 0 && p[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}

// blackhole is an address that answers no SYN: a listener whose queue is full. open empties and closes it.
func blackhole(t testing.TB) (addr string, open func()) {
	t.Helper()
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	fd := socket()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in := sa.(*unix.SockaddrInet4)
	addr = (&net.TCPAddr{IP: in.Addr[:], Port: in.Port}).String()
	fds := []int{fd}
	for range 4 { // as many as fill the queue; the others' SYNs are dropped
		c := socket()
		if err := unix.Connect(c, in); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
		fds = append(fds, c)
	}
	open = func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
		fds = nil
	}
	t.Cleanup(open)
	return addr, open
}
