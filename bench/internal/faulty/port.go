// SPDX-License-Identifier: Apache-2.0

package faulty

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/umbra-mesh/umbra/bench/internal/poll"
)

// port is the state of a server's port.
type port uint8

const (
	open   port = iota
	closed      // nobody listens: connections are refused
	deaf        // no SYN is answered: connections do not come about
)

// deafPort is a listener whose queue is full: the system drops the SYNs that come.
type deafPort struct{ fds []int }

// backlogged connections fill the shortest queue there is; those that find it full wait without harm.
const backlogged = 4

func holdDeaf(addr netip.AddrPort) (*deafPort, error) {
	listener, err := poll.Listen(addr)
	if err != nil {
		return nil, err
	}
	d := &deafPort{fds: []int{listener}}
	if err := unix.Listen(listener, 0); err != nil { // the queue was longer
		d.release()
		return nil, fmt.Errorf("shorten the queue of %s: %w", addr, err)
	}
	for range backlogged {
		fd, err := poll.Dial(addr)
		if err != nil {
			d.release()
			return nil, err
		}
		d.fds = append(d.fds, fd)
	}
	return d, nil
}

// release lets go of the port. Of none it is nothing to do.
func (d *deafPort) release() {
	if d == nil {
		return
	}
	for _, fd := range d.fds {
		poll.Close(fd)
	}
}
