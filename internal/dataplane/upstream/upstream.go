// SPDX-License-Identifier: Apache-2.0

// Package upstream knows where requests can go: clusters, their hosts, which host is next, and the pooled connections
// to them, one exchange at a time. It serves production and mirrors alike, from separate pools, and knows neither: it
// does not route, retry or copy.
package upstream

import (
	"sync"
	"sync/atomic"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

// Directory holds the clusters by name. Its methods are for the configuration side (any goroutine); requests use the
// slots they were linked to.
type Directory struct {
	// Immutable.
	workers  []*loop.Worker
	registry *stats.Registry

	// Guarded by mu.
	mu        sync.Mutex
	slots     map[string]*Slot
	endpoints map[string][]Endpoint // by EDS service name
}

// NewDirectory returns an empty directory for these workers.
func NewDirectory(workers []*loop.Worker, registry *stats.Registry) *Directory {
	return &Directory{
		workers: workers, registry: registry,
		slots: map[string]*Slot{}, endpoints: map[string][]Endpoint{},
	}
}

// Slot is the place of one cluster name. Routes and mirrors are linked to slots, so that a cluster may come, change and
// go without a route being rebuilt.
type Slot struct {
	Name    string
	cluster atomic.Pointer[Cluster]
}

// Cluster is the cluster of that name, nil while there is none.
func (s *Slot) Cluster() *Cluster { return s.cluster.Load() }

// Slot returns the slot of that name, made on first mention.
func (d *Directory) Slot(name string) *Slot {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.slot(name)
}

func (d *Directory) slot(name string) *Slot {
	s := d.slots[name]
	if s == nil {
		s = &Slot{Name: name}
		d.slots[name] = s
	}
	return s
}

// Set adds a cluster or changes its settings. Hosts that stay keep their connections and counts.
func (d *Directory) Set(cfg Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.slot(cfg.Name)
	c := s.cluster.Load()
	if c == nil {
		c = newCluster(cfg.Name, d.registry.Set(clusterStats, cfg.Name), len(d.workers))
	}
	c.cfg.Store(&cfg)
	if cfg.EDS {
		d.update(c, d.endpoints[cfg.ServiceName])
	} else {
		d.update(c, cfg.Static)
	}
	s.cluster.Store(c)
}

// SetEndpoints replaces the hosts of every EDS cluster with that service name.
func (d *Directory) SetEndpoints(serviceName string, endpoints []Endpoint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endpoints[serviceName] = endpoints
	for _, s := range d.slots {
		if c := s.cluster.Load(); c != nil {
			if cfg := c.cfg.Load(); cfg.EDS && cfg.ServiceName == serviceName {
				d.update(c, endpoints)
			}
		}
	}
}

// Remove takes a cluster away. Requests that hold it finish on it; its idle connections are closed.
func (d *Directory) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.slots[name]
	if s == nil {
		return
	}
	if c := s.cluster.Swap(nil); c != nil {
		d.retire(c.hosts.Load().hosts)
		c.stats.Release()
	}
}

// Clusters returns the clusters there are, in no order.
func (d *Directory) Clusters() []*Cluster {
	d.mu.Lock()
	defer d.mu.Unlock()
	var cs []*Cluster
	for _, s := range d.slots {
		if c := s.cluster.Load(); c != nil {
			cs = append(cs, c)
		}
	}
	return cs
}

// update puts the hosts for endpoints in force: those with an address seen before are kept, those gone are retired.
func (d *Directory) update(c *Cluster, endpoints []Endpoint) {
	old := c.hosts.Load()
	next := newHostSet(old, endpoints, len(d.workers))
	c.hosts.Store(next)
	d.retire(old.without(next))
}

// retire closes the idle connections of hosts that left; busy ones close when their exchange ends.
func (d *Directory) retire(hosts []*Host) {
	if len(hosts) == 0 {
		return
	}
	for _, h := range hosts {
		h.gone.Store(true)
	}
	for _, w := range d.workers {
		w.Post(func() {
			for _, h := range hosts {
				h.closeIdle(w.Index)
			}
		})
	}
}
