// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"net/netip"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

const (
	// maxDestinations bounds a worker's hosts of one OriginalDst cluster.
	maxDestinations = 8192
	// destinationSweep is Envoy's cleanup_interval: a host that nobody used for that long is forgotten.
	destinationSweep = 5 * time.Second
)

// destinations are a worker's hosts of an OriginalDst cluster: they come with the connections that ask for them.
type destinations struct {
	hosts map[netip.AddrPort]*destination
	timer loop.Timer
}

type destination struct {
	host *Host
	used bool // since the last sweep
}

// original is the host that a redirected connection was going to, nil without one or if there are too many.
func (c *Cluster) original(w *loop.Worker, addr netip.AddrPort) *Host {
	d := &c.cells[w.Index].dsts
	if !addr.IsValid() {
		return nil
	}
	if x := d.hosts[addr]; x != nil {
		x.used = true
		return x.host
	}
	if len(d.hosts) >= maxDestinations {
		return nil
	}
	e := &Endpoint{Addr: addr}
	h := newHost(e.identity(), e, len(c.cells), time.Time{})
	if d.hosts == nil {
		d.hosts = map[netip.AddrPort]*destination{}
		d.timer.Init(func() { c.sweepDestinations(w) })
	}
	if len(d.hosts) == 0 {
		w.Arm(&d.timer, destinationSweep)
	}
	d.hosts[addr] = &destination{host: h, used: true}
	return h
}

// sweepDestinations forgets the hosts that have no connection and were not used since the last time.
func (c *Cluster) sweepDestinations(w *loop.Worker) {
	d := &c.cells[w.Index].dsts
	for addr, x := range d.hosts {
		if !x.used && x.host.Active() == 0 && !x.host.hasIdle(w.Index) {
			x.host.gone.Store(true) // a copy may be under way: its connection is not kept
			delete(d.hosts, addr)
		}
		x.used = false
	}
	if len(d.hosts) > 0 {
		w.Arm(&d.timer, destinationSweep)
	}
}

// forget ends the workers' hosts of what was an OriginalDst cluster.
func (d *Directory) forget(c *Cluster) {
	for _, w := range d.workers {
		w.Post(func() {
			dsts := &c.cells[w.Index].dsts
			for addr, x := range dsts.hosts {
				x.host.gone.Store(true)
				x.host.closeIdle(w.Index)
				delete(dsts.hosts, addr)
			}
			w.Disarm(&dsts.timer)
		})
	}
}
