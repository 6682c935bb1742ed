// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

// Cluster is the live state of one cluster: settings and hosts in force, and what is counted. It lives as long as its
// name is configured; a request that holds it may outlive that.
type Cluster struct {
	Name string

	dir   *Directory
	cfg   atomic.Pointer[Config]
	sets  [2]atomic.Pointer[hostSet] // by loop.Class; the same one as long as ejections do not tell them apart
	stats *stats.Set
	cells []cell

	suspects atomic.Pointer[monitor] // a stack: pushed by the loops, taken by attend
	alarm    atomic.Bool             // attend is on its way

	// Process-wide: what circuit_breakers limit.
	requests    atomic.Int64
	pending     atomic.Int64
	connections atomic.Int64 // production's
	retries     atomic.Int64

	// Guarded by dir.mu.
	endpoints []Endpoint // as configured
	members   []member   // the same with names resolved, in force
	names     map[dnsKey]*dnsName
	awaits    bool        // it had hosts when its settings changed, and keeps them until all names have an answer
	ejected   [2]int      // members, by loop.Class
	timer     *time.Timer // sweeps and warm-ups; nil before the first
	born      time.Time
	sweep     time.Time // the next one; zero if there is nothing to sweep
	shown     counted
}

// cell is one worker's part of a cluster.
type cell struct {
	stats *stats.Block
	next  [2][maxCursors]uint32 // round robin, by class and priority
	dsts  destinations
	_     [64]byte
}

// maxCursors is how many priorities have a round robin of their own; those beyond share the last one's.
const maxCursors = 4

func newCluster(name string, d *Directory, set *stats.Set, now time.Time) *Cluster {
	c := &Cluster{Name: name, dir: d, stats: set, cells: make([]cell, len(d.workers)), born: now}
	empty := &hostSet{}
	for class := range c.sets {
		c.sets[class].Store(empty)
	}
	for i := range c.cells {
		cell := &c.cells[i]
		cell.stats = set.Block(i)
		for class := range cell.next {
			for k := range cell.next[class] {
				cell.next[class][k] = rand.Uint32() // workers and classes start at different hosts
			}
		}
	}
	return c
}

// Config is the settings in force.
func (c *Cluster) Config() *Config { return c.cfg.Load() }

// Stats is what worker w counts for this cluster.
func (c *Cluster) Stats(w *loop.Worker) *stats.Block { return c.cells[w.Index].stats }

// Hosts are the hosts in force, shared: do not change. Those of an OriginalDst cluster belong to the workers and are
// not among them.
func (c *Cluster) Hosts() []*Host { return c.sets[loop.Production].Load().hosts }

// AcquireRequest counts a request against circuit_breakers.max_requests; false is overflow. Pair with ReleaseRequest.
func (c *Cluster) AcquireRequest() bool { return acquire(&c.requests, c.cfg.Load().MaxRequests) }

// ReleaseRequest ends what AcquireRequest began.
func (c *Cluster) ReleaseRequest() { c.requests.Add(-1) }

// AcquirePending counts a request that waits for a connection against circuit_breakers.max_pending_requests; false is
// overflow. Pair with ReleasePending.
func (c *Cluster) AcquirePending() bool { return acquire(&c.pending, c.cfg.Load().MaxPending) }

// ReleasePending ends what AcquirePending began.
func (c *Cluster) ReleasePending() { c.pending.Add(-1) }

// AcquireRetry counts a retry against circuit_breakers.max_retries, or retry_budget where there is one; false is
// overflow. Pair with ReleaseRetry.
func (c *Cluster) AcquireRetry() bool {
	cfg := c.cfg.Load()
	limit := cfg.MaxRetries
	if b := cfg.RetryBudget; b != nil {
		limit = b.limit(c.requests.Load())
	}
	return acquire(&c.retries, limit)
}

// limit is how many retries may be in flight beside so many requests.
func (b *RetryBudget) limit(requests int64) uint32 {
	share := b.Percent / 100 * float64(requests)
	if !(share < Unlimited-1) {
		share = Unlimited - 1
	}
	return max(uint32(max(share, 0)), b.MinConcurrency)
}

// ReleaseRetry ends what AcquireRetry began.
func (c *Cluster) ReleaseRetry() { c.retries.Add(-1) }

func acquire(n *atomic.Int64, limit uint32) bool {
	if n.Add(1) > int64(limit) && limit != Unlimited {
		n.Add(-1)
		return false
	}
	return true
}
