// SPDX-License-Identifier: Apache-2.0

package faulty

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Port is the state of a server's port.
type Port uint8

// The states.
const (
	Open   Port = iota
	Closed      // nobody listens: connections are refused
	Deaf        // no SYN is answered: connections do not come about
)

// deafPort is a listener whose queue is full: the system drops the SYNs that come.
type deafPort []int

// backlogged connections fill the shortest queue there is; those that find it full wait without harm.
const backlogged = 4

func holdDeaf(addr string) (deafPort, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	to := &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
	var d deafPort
	listener, err := d.socket()
	if err == nil {
		err = errors.Join(unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(listener, to))
	}
	if err == nil {
		err = unix.Listen(listener, 0)
	}
	for range backlogged {
		if err != nil {
			break
		}
		var c int
		if c, err = d.socket(); err == nil {
			if e := unix.Connect(c, to); !errors.Is(e, unix.EINPROGRESS) {
				err = e
			}
		}
	}
	if err != nil {
		d.release()
		return nil, fmt.Errorf("hold %s without answering: %w", addr, err)
	}
	return d, nil
}

func (d *deafPort) socket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, err
	}
	unix.CloseOnExec(fd)
	*d = append(*d, fd)
	return fd, unix.SetNonblock(fd, true)
}

// release lets go of the port.
func (d deafPort) release() {
	for _, fd := range d {
		unix.Close(fd)
	}
}

// peerGone reports whether the peer has ended the connection, without reading from it.
func peerGone(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: ends &^ (unix.POLLHUP | unix.POLLERR | unix.POLLNVAL)}}
	n, err := unix.Poll(p, 0)
	return err != nil && !errors.Is(err, unix.EINTR) || n > 0 && p[0].Revents&ends != 0
}
