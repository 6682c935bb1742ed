// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// maxIdle bounds the idle connections kept for one host by one worker, for production and for copies each.
const maxIdle = 256

// Host is one address of a cluster with its live state.
type Host struct {
	Addr netip.AddrPort // invalid for a unix socket, and for a LogicalDNS host: a connection knows where it goes
	Path string         // unix socket
	Name string         // as text, for logs and hashing: the address, the path, or the name and port

	since time.Time                      // it came
	meta  atomic.Pointer[Endpoint]       // as configured last
	now   atomic.Pointer[netip.AddrPort] // LogicalDNS: the first address of the newest answer

	active  atomic.Int64 // production requests in flight: least request
	gone    atomic.Bool  // left the cluster: connections are not kept
	http10  atomic.Bool  // answered in HTTP/1.0 last: no chunked copies to it
	monitor [2]monitor   // by loop.Class
	pools   []pools      // by worker
}

// pools are one worker's idle connections to a host, last used first, apart for production and copies.
type pools struct {
	idle [2][]*Conn // by loop.Class

	// Production's: connections there are, and requests in line for one; nil before the first.
	open int
	line *line
}

// identity is what makes two endpoints the same host.
type identity struct {
	addr netip.AddrPort
	text string // a path, or a name with its port
}

func (e *Endpoint) identity() identity {
	switch {
	case e.Path != "":
		return identity{text: e.Path}
	case e.Name != "":
		return identity{text: net.JoinHostPort(e.Name, strconv.Itoa(int(e.Port)))}
	}
	return identity{addr: e.Addr}
}

func newHost(id identity, e *Endpoint, workers int, now time.Time) *Host {
	h := &Host{Addr: id.addr, Path: e.Path, Name: id.text, since: now, pools: make([]pools, workers)}
	if id.addr.IsValid() {
		h.Name = id.addr.String()
	}
	h.meta.Store(e)
	for class := range h.monitor {
		h.monitor[class].host, h.monitor[class].class = h, loop.Class(class)
	}
	return h
}

// dial begins a connection to where the host is at present.
func (h *Host) dial(w *loop.Worker, class loop.Class, timeout time.Duration, o loop.Owner) *loop.Conn {
	if h.Path != "" {
		return w.DialUnix(h.Path, class, timeout, o)
	}
	addr := h.Addr
	if now := h.now.Load(); now != nil {
		addr = *now
	}
	return w.Dial(addr, class, timeout, o)
}

// Active is the number of production requests in flight.
func (h *Host) Active() int64 { return h.active.Load() }

// Begin counts a production request on this host, End ends it.
func (h *Host) Begin() { h.active.Add(1) }

// End ends what Begin began.
func (h *Host) End() { h.active.Add(-1) }

// HTTP10 reports whether the host answered in HTTP/1.0 last and so may not understand chunked requests.
func (h *Host) HTTP10() bool { return h.http10.Load() }

// takeIdle returns the idle connection used last, nil if there is none.
func (h *Host) takeIdle(worker int, class loop.Class) *Conn {
	idle := &h.pools[worker].idle[class]
	n := len(*idle)
	if n == 0 {
		return nil
	}
	c := (*idle)[n-1]
	(*idle)[n-1] = nil
	*idle = (*idle)[:n-1]
	c.w.Disarm(&c.idle)
	return c
}

// CloseIdle closes the idle production connection of w used last, if there is one.
func (h *Host) CloseIdle(w *loop.Worker) {
	if c := h.takeIdle(w.Index, loop.Production); c != nil {
		c.close()
	}
}

// keepIdle puts a connection back, false if the host has left or the pool is full.
func (h *Host) keepIdle(c *Conn) bool {
	idle := &h.pools[c.w.Index].idle[c.class]
	if h.gone.Load() || len(*idle) >= maxIdle {
		return false
	}
	*idle = append(*idle, c)
	if c.keep > 0 {
		c.w.Arm(&c.idle, c.keep)
	}
	if c.class == loop.Production {
		h.Freed(c.w)
	}
	return true
}

// dropIdle takes a connection that ended out of its pool.
func (h *Host) dropIdle(c *Conn) {
	idle := h.pools[c.w.Index].idle[c.class]
	for i, x := range idle {
		if x == c {
			h.pools[c.w.Index].idle[c.class] = append(idle[:i], idle[i+1:]...)
			c.w.Disarm(&c.idle)
			return
		}
	}
}

// hasIdle reports whether a worker keeps a connection of either class.
func (h *Host) hasIdle(worker int) bool {
	p := &h.pools[worker]
	return len(p.idle[loop.Production])+len(p.idle[loop.Copy]) > 0
}

// closeIdle closes a worker's idle connections.
func (h *Host) closeIdle(worker int) {
	for class := range h.pools[worker].idle {
		for _, c := range h.pools[worker].idle[class] {
			c.close()
		}
		h.pools[worker].idle[class] = nil
	}
}
