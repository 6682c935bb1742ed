// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math/bits"
	"net/netip"
	"sync/atomic"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

// Cluster is the live state of one cluster: settings and hosts in force, and what is counted. It lives as long as its
// name is configured; a request that holds it may outlive that.
type Cluster struct {
	Name string

	cfg   atomic.Pointer[Config]
	hosts atomic.Pointer[hostSet]
	stats *stats.Set
	cells []cell

	// Process-wide: what circuit_breakers limit.
	requests    atomic.Int64
	pending     atomic.Int64
	connections atomic.Int64 // production's
	retries     atomic.Int64
}

// cell is one worker's part of a cluster.
type cell struct {
	stats *stats.Block
	next  uint32 // round robin
	_     [48]byte
}

func newCluster(name string, set *stats.Set, workers int) *Cluster {
	c := &Cluster{Name: name, stats: set, cells: make([]cell, workers)}
	c.hosts.Store(&hostSet{})
	for i := range c.cells {
		c.cells[i].stats = set.Block(i)
		c.cells[i].next = uint32(i) * 7919 // workers start at different hosts
	}
	return c
}

// Config is the settings in force.
func (c *Cluster) Config() *Config { return c.cfg.Load() }

// Stats is what worker w counts for this cluster.
func (c *Cluster) Stats(w *loop.Worker) *stats.Block { return c.cells[w.Index].stats }

// Hosts are the hosts in force, shared: do not change.
func (c *Cluster) Hosts() []*Host { return c.hosts.Load().hosts }

// AcquireRequest counts a request against circuit_breakers.max_requests; false is overflow. Pair with ReleaseRequest.
func (c *Cluster) AcquireRequest() bool { return acquire(&c.requests, c.cfg.Load().MaxRequests) }

// ReleaseRequest ends what AcquireRequest began.
func (c *Cluster) ReleaseRequest() { c.requests.Add(-1) }

// AcquirePending counts a request that waits for a connection against circuit_breakers.max_pending_requests; false is
// overflow. Pair with ReleasePending.
func (c *Cluster) AcquirePending() bool { return acquire(&c.pending, c.cfg.Load().MaxPending) }

// ReleasePending ends what AcquirePending began.
func (c *Cluster) ReleasePending() { c.pending.Add(-1) }

// AcquireRetry counts a retry against circuit_breakers.max_retries; false is overflow. Pair with ReleaseRetry.
func (c *Cluster) AcquireRetry() bool { return acquire(&c.retries, c.cfg.Load().MaxRetries) }

// ReleaseRetry ends what AcquireRetry began.
func (c *Cluster) ReleaseRetry() { c.retries.Add(-1) }

func acquire(n *atomic.Int64, limit uint32) bool {
	if n.Add(1) > int64(limit) && limit != Unlimited {
		n.Add(-1)
		return false
	}
	return true
}

// Pick chooses a host by the cluster's policy, nil if it has none.
func (c *Cluster) Pick(w *loop.Worker) *Host {
	s := c.hosts.Load()
	switch len(s.hosts) {
	case 0:
		return nil
	case 1:
		return s.hosts[0]
	}
	switch c.cfg.Load().Policy {
	case RoundRobin:
		cell := &c.cells[w.Index]
		cell.next++
		return s.slots[cell.next%uint32(len(s.slots))]
	case Random:
		return s.random(w.Rand())
	default:
		r := w.Rand()
		a, b := s.random(r), s.random(bits.RotateLeft64(r, 32))
		if b.active.Load() < a.active.Load() {
			return b
		}
		return a
	}
}

// hostSet is the hosts of a cluster at one time. Immutable.
type hostSet struct {
	hosts []*Host
	slots []*Host // hosts repeated by weight, at most maxSlots entries
}

const maxSlots = 4096

func (s *hostSet) random(r uint64) *Host {
	i, _ := bits.Mul64(r, uint64(len(s.slots)))
	return s.slots[i]
}

func newHostSet(old *hostSet, endpoints []Endpoint, workers int) *hostSet {
	known := make(map[netip.AddrPort]*Host, len(old.hosts))
	for _, h := range old.hosts {
		known[h.Addr] = h
	}
	s := &hostSet{}
	seen := map[*Host]bool{}
	var total uint64
	weights := []uint64{}
	for _, e := range endpoints {
		h := known[e.Addr]
		if h == nil {
			h = newHost(e.Addr, workers)
			known[e.Addr] = h
		}
		if seen[h] {
			continue // the same address twice is one host
		}
		seen[h] = true
		weight := uint64(max(e.Weight, 1))
		s.hosts = append(s.hosts, h)
		weights = append(weights, weight)
		total += weight
	}
	// Interleaved by weight, so that round robin does not send a run to one host.
	scale := max((total+maxSlots-1)/maxSlots, 1)
	for i := range weights {
		weights[i] = max(weights[i]/scale, 1)
	}
	for left := true; left; {
		left = false
		for i, h := range s.hosts {
			if weights[i] > 0 {
				weights[i]--
				s.slots = append(s.slots, h)
				left = left || weights[i] > 0
			}
		}
	}
	return s
}

// without returns the hosts of s that are not in other.
func (s *hostSet) without(other *hostSet) []*Host {
	var gone []*Host
	in := make(map[*Host]bool, len(other.hosts))
	for _, h := range other.hosts {
		in[h] = true
	}
	for _, h := range s.hosts {
		if !in[h] {
			gone = append(gone, h)
		}
	}
	return gone
}
