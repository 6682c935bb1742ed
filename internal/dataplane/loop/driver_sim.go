// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"net/netip"
	"syscall"
)

// simDriver is a worker's part of a Sim.
type simDriver struct {
	sim   *Sim
	w     *Worker
	conns []*simConn
	free  []int
	open  int
	due   []*simConn // have something to tell
	told  []event
}

var _ driver = (*simDriver)(nil)

func (d *simDriver) add(c *simConn) int {
	c.d = d
	d.open++
	if n := len(d.free); n > 0 {
		at := d.free[n-1]
		d.free = d.free[:n-1]
		d.conns[at] = c
		return at
	}
	d.conns = append(d.conns, c)
	return len(d.conns) - 1
}

func (d *simDriver) register(fd int, k key) error {
	c := d.conns[fd]
	c.key, c.registered = k, true
	c.tell(c.before)
	return nil
}

func (d *simDriver) wait(bool, int64) ([]event, error) {
	d.told = d.told[:0]
	for i, c := range d.due {
		if c.bits != 0 {
			d.told = append(d.told, event{c.key, c.bits})
			c.bits = 0
		}
		d.due[i] = nil
	}
	d.due = d.due[:0]
	return d.told, nil
}

func (*simDriver) wake()  {}
func (*simDriver) close() {}

func (*simDriver) adopt(fd int) (int, error) { return fd, nil }

func (d *simDriver) dial(addr netip.AddrPort, _ Class) (int, error) {
	arrive := d.sim.places[addr]
	a := Arrival{Refuse: true}
	c := &simConn{}
	if arrive != nil {
		a = arrive(c.peer())
	}
	c.init(d.sim, a.Link)
	c.remote = addr
	fd := d.add(c)
	if !a.Never {
		d.sim.at(d.sim.now+c.link.delay()+int64(a.After), func() { c.arrive(a.Refuse) })
	}
	return fd, nil
}

func (*simDriver) dialUnix(string, Class) (int, error) { return -1, syscall.ENOENT }

func (d *simDriver) connected(fd int) error {
	if e := d.conns[fd].broken; e != 0 {
		return e
	}
	return nil
}

func (*simDriver) prepare(int, Class)                                    {}
func (*simDriver) keepAlive(int, KeepAlive)                              {}
func (*simDriver) originalDst(int, netip.AddrPort) (none netip.AddrPort) { return none }

func (d *simDriver) recv(fd int, p []byte) (int, syscall.Errno)      { return d.conns[fd].recv(p) }
func (d *simDriver) send(fd int, bufs [][]byte) (int, syscall.Errno) { return d.conns[fd].send(bufs) }
func (d *simDriver) unacked(fd int) int                              { return d.conns[fd].out.travelling() }
func (d *simDriver) shutdown(fd int)                                 { d.conns[fd].out.end() }

func (d *simDriver) shut(fd int, reset bool) {
	d.conns[fd].shut(reset)
	d.conns[fd] = nil
	d.free = append(d.free, fd)
	d.open--
}

func (d *simDriver) addrs(fd int) (local, remote netip.AddrPort) { return local, d.conns[fd].remote }
