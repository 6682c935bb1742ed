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

// heldPort is a port that does not serve and that nobody else gets meanwhile: a socket that does not listen, to which the
// system refuses connections, or a listener whose queue is full: the system drops the SYNs that come.
type heldPort []int

// backlogged connections fill the shortest queue there is; those that find it full wait without harm.
const backlogged = 4

func hold(addr string, as Port) (heldPort, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	to := &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
	var d heldPort
	holder, err := d.socket()
	if err == nil {
		err = errors.Join(unix.SetsockoptInt(holder, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(holder, to))
	}
	if err == nil && as == Deaf {
		err = d.fill(holder, to)
	}
	if err != nil {
		d.release()
		return nil, fmt.Errorf("hold %s without serving: %w", addr, err)
	}
	return d, nil
}

// fill lets the holder listen and fills its queue.
func (d *heldPort) fill(holder int, to unix.Sockaddr) error {
	if err := unix.Listen(holder, 0); err != nil {
		return err
	}
	for range backlogged {
		c, err := d.socket()
		if err != nil {
			return err
		}
		if err := unix.Connect(c, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
	}
	return nil
}

func (d *heldPort) socket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, err
	}
	unix.CloseOnExec(fd)
	*d = append(*d, fd)
	return fd, unix.SetNonblock(fd, true)
}

// release lets go of the port.
func (d heldPort) release() {
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
