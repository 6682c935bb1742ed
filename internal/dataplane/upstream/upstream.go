// SPDX-License-Identifier: Apache-2.0

// Package upstream knows where requests can go: clusters, their hosts, which host is next, and the pooled connections
// to them, one exchange at a time. It serves production and mirrors alike, from separate pools, and knows neither: it
// does not route, retry or copy.
package upstream

import (
	"log/slog"
	"sync"
	"time"
	"weak"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/resolve"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

// Directory holds the clusters by name. Its methods are for the configuration side (any goroutine); requests use the
// slots they were linked to. What it does by itself, looking names up, ending ejections and warming hosts up, it does on
// goroutines of its own; Close ends that.
type Directory struct {
	// Logger is told of ejections and of names that are not found, at debug level; it must not block. Set before use; by default it
	// tells nobody.
	Logger *slog.Logger

	// Immutable.
	workers  []*loop.Worker
	registry *stats.Registry
	resolver *resolve.Resolver

	// Guarded by mu.
	mu       sync.Mutex
	closed   bool
	slots    map[string]weak.Pointer[Slot] // those that somebody holds
	inForce  map[string]*Slot              // those that have a cluster
	services map[string]*service           // by EDS service name; those that have endpoints or clusters
}

// service is the endpoints of one EDS service name and the clusters that have them.
type service struct {
	endpoints []Endpoint
	clusters  map[*Cluster]struct{}
}

// NewDirectory returns an empty directory for these workers. Names are looked up as the machine is set up to do it.
func NewDirectory(workers []*loop.Worker, registry *stats.Registry) *Directory {
	return NewDirectoryWith(workers, registry, resolve.System())
}

// NewDirectoryWith is NewDirectory with a Lookup of one's own.
func NewDirectoryWith(workers []*loop.Worker, registry *stats.Registry, lookup resolve.Lookup) *Directory {
	return &Directory{
		Logger: slog.New(slog.DiscardHandler), workers: workers, registry: registry, resolver: resolve.New(lookup),
		slots: map[string]weak.Pointer[Slot]{}, inForce: map[string]*Slot{}, services: map[string]*service{},
	}
}

// Await waits until every name that was to be looked up has an answer, good or bad, for at most limit. So a cluster that is
// new has its hosts before a route leads to it, as far as that depends on us.
func (d *Directory) Await(limit time.Duration) bool { return d.resolver.Await(limit) }

// Close ends the work in the background: look-ups, ejections' ends, warm-ups. Requests go on with what there is.
func (d *Directory) Close() {
	d.mu.Lock()
	d.closed = true
	for _, s := range d.inForce {
		if c := s.Cluster(); c.timer != nil {
			c.timer.Stop()
		}
	}
	d.mu.Unlock()
	d.resolver.Close() // those it tells want the lock
}

// Set adds a cluster or changes its settings. Hosts that stay keep their connections, counts and ejections.
func (d *Directory) Set(cfg Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	s := d.slot(cfg.Name)
	c := s.cluster.Load()
	fresh := c == nil
	if fresh {
		c = newCluster(cfg.Name, d, d.registry.Set(clusterStats, cfg.Name), now)
	}
	old := c.cfg.Swap(&cfg)
	if old != nil {
		d.leave(c, old)
	}
	c.endpoints = cfg.Static
	if cfg.Discovery == EDS {
		svc := d.service(cfg.ServiceName)
		svc.clusters[c] = struct{}{}
		c.endpoints = svc.endpoints
	}
	d.watchNames(c, &cfg)
	c.awaits = len(c.members) > 0 || c.Redirects()
	c.sweep = time.Time{}
	if cfg.Outlier == nil {
		d.pardon(c)
	}
	d.update(c, now)
	if fresh {
		s.cluster.Store(c)
		d.inForce[cfg.Name] = s
	}
}

// SetEndpoints replaces the hosts of every EDS cluster with that service name.
func (d *Directory) SetEndpoints(serviceName string, endpoints []Endpoint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.service(serviceName)
	s.endpoints = endpoints
	now := time.Now()
	for c := range s.clusters {
		c.endpoints = endpoints
		d.update(c, now)
	}
	d.dropService(serviceName)
}

// service is what is known of a service name. The caller holds mu.
func (d *Directory) service(name string) *service {
	s := d.services[name]
	if s == nil {
		s = &service{clusters: map[*Cluster]struct{}{}}
		d.services[name] = s
	}
	return s
}

// dropService forgets a service name of which nothing is left. The caller holds mu.
func (d *Directory) dropService(name string) {
	if s := d.services[name]; s != nil && len(s.clusters) == 0 && s.endpoints == nil {
		delete(d.services, name)
	}
}

// leave takes a cluster off its service. The caller holds mu.
func (d *Directory) leave(c *Cluster, cfg *Config) {
	if cfg.Discovery == EDS {
		delete(d.service(cfg.ServiceName).clusters, c)
		d.dropService(cfg.ServiceName)
	}
}

// Remove takes a cluster away. Requests that hold it finish on it; its idle connections are closed.
func (d *Directory) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.inForce[name]
	if s == nil {
		return
	}
	delete(d.inForce, name)
	c := s.cluster.Swap(nil)
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, n := range c.names {
		n.stop()
	}
	c.names = nil
	d.retire(c.Hosts())
	cfg := c.cfg.Load()
	d.leave(c, cfg)
	if c.Redirects() {
		d.forget(c)
	}
	c.stats.Release()
}

// Clusters returns the clusters there are, in no order.
func (d *Directory) Clusters() []*Cluster {
	d.mu.Lock()
	defer d.mu.Unlock()
	var cs []*Cluster
	for _, s := range d.inForce {
		cs = append(cs, s.Cluster())
	}
	return cs
}

// update puts the hosts for a cluster's endpoints in force: those seen before are kept, those gone are retired. A cluster
// that had hosts when it turned to other names has them until these are looked up, as production has no others. The
// caller holds mu.
func (d *Directory) update(c *Cluster, now time.Time) {
	if c.awaits = c.awaits && c.unheard(); c.awaits {
		d.rebuild(c, now)
		return
	}
	known := make(map[identity]*Host, len(c.members))
	for _, m := range c.members {
		known[m.identity()] = m.host
	}
	endpoints := c.resolved()
	members := make([]member, 0, len(endpoints))
	came := false
	taken := make(map[identity]bool, len(endpoints))
	for i := range endpoints {
		e := &endpoints[i]
		id := e.identity()
		if taken[id] {
			continue // the same address twice is one host
		}
		taken[id] = true
		h := known[id]
		if h == nil {
			h, came = newHost(id, e, len(d.workers), now), true
		} else {
			h.meta.Store(e)
			delete(known, id)
		}
		if addr, ok := c.logical(e); ok {
			h.now.Store(&addr)
		}
		members = append(members, member{h, e})
	}
	gone := make([]*Host, 0, len(known))
	for _, h := range known {
		gone = append(gone, h)
		c.leaves(h)
	}
	c.members = members
	if came || len(gone) > 0 {
		c.shown.changes++
	}
	d.rebuild(c, now)
	d.retire(gone)
}

// Redirects reports whether picks go by Choice.Original. An OriginalDst cluster that turned to names does so until they
// are known.
func (c *Cluster) Redirects() bool { return c.sets[loop.Production].Load().policy == ClusterProvided }

// rebuild makes what picks go by anew. The caller holds mu.
func (d *Directory) rebuild(c *Cluster, now time.Time) {
	cfg := c.cfg.Load()
	if c.Redirects() && cfg.Discovery != OriginalDst {
		if c.awaits { // its hosts are where clients were going, until names are known
			return
		}
		defer d.forget(c)
	}
	set := newHostSet(cfg, c.members, loop.Production, now)
	c.sets[loop.Production].Store(set)
	if c.ejected != [2]int{} {
		set = newHostSet(cfg, c.members, loop.Copy, now)
	}
	c.sets[loop.Copy].Store(set)
	d.show(c)
	d.arm(c, cfg, now)
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
