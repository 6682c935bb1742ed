// SPDX-License-Identifier: Apache-2.0

// Package build turns xDS resources into the linked runtime that requests run on: clusters with hosts, route tables
// whose actions point to clusters and mirrors, listeners. A resource that has a field the data plane does not execute
// is refused as a whole and its last accepted version stays. It fetches no resource, opens no socket and serves no
// request.
package build

import (
	"maps"
	"slices"
	"sync"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/listener"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// Clusters is where requests go. SetEndpoints may come before the cluster that has that service name: the hosts are
// kept for it. Slot returns the same slot for the same name, whether there is such a cluster or not.
type Clusters interface {
	Set(upstream.Config)
	Remove(name string)
	SetEndpoints(serviceName string, hosts []upstream.Endpoint)
	Slot(name string) *upstream.Slot
	Await(limit time.Duration) bool
}

// firstAnswer bounds how long a set waits for names that were never looked up before, its own and those of the set
// before it together.
const firstAnswer = 3 * time.Second

// leastPatience is what a set has for its names in any case, however late it is: most are answered in milliseconds.
const leastPatience = 250 * time.Millisecond

// Mirrors is where copies go: the same target for the same slot, the same counters for the same names until Retire says
// that nothing in force uses them any more.
type Mirrors interface {
	Target(slot *upstream.Slot) *mirror.Target
	Stats(id, cluster string) *mirror.Stats
	Retire(*mirror.Stats)
}

// Listeners is where requests come from. Set adds a listener or changes its settings; if it fails, what was there under
// that name stays. Replace is Set for one whose address others are in the way of: they go when it is there, and stay if
// it fails. What was replaced, by Set at another address too, serves until Settle.
type Listeners interface {
	Set(proxy.ListenerConfig) error
	Replace(c proxy.ListenerConfig, others []string) error
	Settle()
	Remove(name string)
}

// Deps are the parts that a Builder puts together.
type Deps struct {
	Clusters  Clusters
	Mirrors   Mirrors
	Listeners Listeners
	// RouteStats returns the counters of a stat_prefix in a virtual host; each call is paired with a Release.
	RouteStats func(virtualHost, prefix string) *proxy.RouteStats
	// Settle returns when no request is between its route and its cluster any more, of those that were when it was
	// called: what routes no longer lead to can go then. nil: there are no requests.
	Settle func()
	Now    func() time.Time // for last_updated; nil: time.Now
}

// Builder applies sets of resources, one after the other, and knows what is in force. Any goroutine may use it.
type Builder struct {
	deps     Deps
	applying sync.Mutex    // held by Apply all the time: one set after the other
	hurry    chan struct{} // closed when Apply is not to wait any more
	hurried  sync.Once

	// Guarded by mu, which Apply does not hold while it waits.
	mu        sync.Mutex
	version   string
	updates   uint64 // how many sets were applied
	looked    bool   // this update has clusters with names
	clusters  shelf[*clusterv3.Cluster]
	endpoints shelf[*endpointv3.ClusterLoadAssignment]
	routes    shelf[*routev3.RouteConfiguration]
	listeners shelf[*listenerv3.Listener]
	slots     map[string]*proxy.RouteSlot // by route configuration; those that are accepted or that a listener names
	copies    map[*mirror.Stats]int       // by how many policies in force
	names     *names
}

// New returns a Builder with nothing applied.
func New(d Deps) *Builder {
	if d.Now == nil {
		d.Now = time.Now
	}
	return &Builder{
		deps:      d,
		hurry:     make(chan struct{}),
		clusters:  shelf[*clusterv3.Cluster]{},
		endpoints: shelf[*endpointv3.ClusterLoadAssignment]{},
		routes:    shelf[*routev3.RouteConfiguration]{},
		listeners: shelf[*listenerv3.Listener]{},
		slots:     map[string]*proxy.RouteSlot{},
		copies:    map[*mirror.Stats]int{},
		names:     &names{},
	}
}

// Apply puts a set in force: what changed, then what is new, and last it takes away what is not in it, and changes what
// none of its routes lead to, so that nothing in use points to nothing. Unchanged resources cost a comparison. Every
// refused resource is told; the rest of the set is in force all the same. While a listener is refused (its port may be
// taken) nothing is taken away: what serves goes on serving until what replaces it can; while routes are, no cluster
// that the former ones may lead to. r's messages must not be changed any more.
//
// Names that are new to a set are looked up before routes lead there, which takes 3 s at most. Readers see what is in
// force meanwhile, and the next set has that much less time of its own.
func (b *Builder) Apply(r *xds.Resources) []xds.Nack { return b.ApplyLate(r, 0) }

// ApplyLate is Apply of a set that has waited for the one before it already.
func (b *Builder) ApplyLate(r *xds.Resources, late time.Duration) []xds.Nack {
	asked := time.Now().Add(-late)
	b.applying.Lock()
	defer b.applying.Unlock()
	patience := max(firstAnswer-time.Since(asked), leastPatience)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.updates++
	u := update{number: b.updates, version: r.Version, at: b.deps.Now()}

	clusters, endpoints, last := b.inOrder(r)
	b.setDestinations(&u, clusters, endpoints)
	// Names that are new are looked up before a route leads to them. One that takes too long gets its hosts when they come.
	b.await(patience)
	b.fillNames() // routes in force may be asked for the new ones
	apply(&u, b.routes, r.Routes, b.setRoutes)
	apply(&u, b.listeners, r.Listeners, func(old, e *entry[*listenerv3.Listener]) (*entry[*listenerv3.Listener], *fault) {
		return whole(func(l *listenerv3.Listener, e *entry[*listenerv3.Listener]) *fault {
			return b.setListener(l, old, e, r.Listeners)
		})(old, e)
	})

	b.deps.Listeners.Settle()

	if u.refused("Listener") {
		b.follow(&u, last)
	} else {
		b.removeAbsent(&u, last)
	}
	b.fillNames()
	b.version = r.Version
	return u.nacks
}

// setDestinations puts clusters and their endpoints in force. Endpoints first: a cluster that is new or turns to another
// service has its hosts from its first request on.
func (b *Builder) setDestinations(
	u *update, clusters []*clusterv3.Cluster, endpoints []*endpointv3.ClusterLoadAssignment,
) {
	apply(u, b.endpoints, endpoints, whole(b.setEndpoints))
	apply(u, b.clusters, clusters, func(old, e *entry[*clusterv3.Cluster]) (*entry[*clusterv3.Cluster], *fault) {
		next, bad := whole(b.setCluster)(old, e)
		switch {
		case old == nil:
			b.names.stale = true
		case next != old && bad == nil:
			b.discount(&old.counted)
		}
		return next, bad
	})
}

// await waits for the first answers to the names of this update's clusters, and lets readers go on meanwhile.
func (b *Builder) await(limit time.Duration) {
	if !b.looked || limit <= 0 {
		return
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		b.deps.Clusters.Await(limit)
	}()
	b.looked = false // what changes last is looked up after this, and awaited by the next set
	b.mu.Unlock()
	defer b.mu.Lock()
	select {
	case <-over:
	case <-b.hurry:
	}
}

// settle waits until no request goes by routes that this update replaced, and lets readers go on meanwhile. There is no
// hurry: a process that is to end answers as well.
func (b *Builder) settle() {
	if b.deps.Settle == nil {
		return
	}
	b.mu.Unlock()
	defer b.mu.Lock()
	b.deps.Settle()
}

// Hurry has Apply wait for no names from now on, the one under way among them.
func (b *Builder) Hurry() { b.hurried.Do(func() { close(b.hurry) }) }

// removeAbsent takes away what the update did not give, and puts in force what it changes last.
func (b *Builder) removeAbsent(u *update, last deferred) {
	removeAbsent(u, b.listeners, func(name string, e *entry[*listenerv3.Listener]) {
		b.deps.Listeners.Remove(name)
		b.release(e.linked, nil)
	})
	named := b.namedRoutes()
	removeAbsent(u, b.routes, func(name string, e *entry[*routev3.RouteConfiguration]) {
		if named[name] { // else those that are left of listeners that are gone go by it to their end
			b.slots[name].Store(nil)
		}
		b.release(e.linked, nil)
	})
	defer b.dropSlots()
	if u.refused("RouteConfiguration") {
		b.follow(u, last)
		return
	}
	if len(absent(u, b.clusters))+len(last.endpoints) > 0 {
		b.settle() // a request that found its route in the former table finds the cluster too, as it was
	}
	b.setDestinations(u, last.clusters, last.endpoints)
	removeAbsent(u, b.clusters, func(name string, e *entry[*clusterv3.Cluster]) {
		b.deps.Clusters.Remove(name)
		b.discount(&e.counted)
		b.names.stale = true
	})
	if u.refused("Cluster") {
		return // its last version may have endpoints that the refused one has not
	}
	removeAbsent(u, b.endpoints, func(name string, _ *entry[*endpointv3.ClusterLoadAssignment]) {
		b.deps.Clusters.SetEndpoints(name, nil)
	})
}

func (b *Builder) setEndpoints(
	a *endpointv3.ClusterLoadAssignment, _ *entry[*endpointv3.ClusterLoadAssignment],
) *fault {
	if a.GetPolicy().GetOverprovisioningFactor() != nil {
		return faultf("policy.overprovisioning_factor", "implemented in a cluster's load_assignment only")
	}
	hosts, bad := linkEndpoints(a, false)
	if bad == nil {
		b.deps.Clusters.SetEndpoints(a.GetClusterName(), hosts)
	}
	return bad
}

func (b *Builder) setCluster(c *clusterv3.Cluster, e *entry[*clusterv3.Cluster]) *fault {
	cfg, bad := linkCluster(c)
	if bad == nil {
		bad = b.linkProtocolOptions(&cfg, c, e)
	}
	b.count(&e.counted)
	if bad != nil {
		b.discount(&e.counted)
		return bad
	}
	b.deps.Clusters.Set(cfg)
	b.looked = b.looked || cfg.Discovery == upstream.StrictDNS || cfg.Discovery == upstream.LogicalDNS
	return nil
}

// setRoutes links a route configuration, taking over what did not change.
func (b *Builder) setRoutes(old, e *entry[*routev3.RouteConfiguration]) (*entry[*routev3.RouteConfiguration], *fault) {
	var former *linkedRoutes
	if old != nil {
		former = old.linked
	}
	var bad *fault
	if e.linked, bad = b.linkRoutes(e.message, former, false); bad != nil {
		return nil, bad
	}
	if e.linked.same(former) {
		old.message = e.message
		return old, nil
	}
	b.fillNames()
	b.slot(e.message.GetName()).Store(e.linked.table)
	b.release(former, e.linked)
	return e, nil
}

func (b *Builder) setListener(
	l *listenerv3.Listener, old, e *entry[*listenerv3.Listener], given []*listenerv3.Listener,
) *fault {
	cfg, rds, inline, bad := linkListener(l)
	if bad != nil {
		return bad
	}
	if inline != nil {
		// Envoy's default of validate_clusters is true here, and false for routes of their own.
		if e.linked, bad = b.linkRoutes(inline, nil, true); bad != nil {
			return bad.under(hcmPath + ".route_config")
		}
		b.fillNames()
		cfg.Routes = &proxy.RouteSlot{Name: inline.GetName()}
		cfg.Routes.Store(e.linked.table)
	} else {
		cfg.Routes = b.slot(rds)
		e.rds = rds
	}
	e.listener = cfg
	if bad = b.listen(cfg, given); bad != nil {
		b.release(e.linked, nil)
		return bad
	}
	if old != nil {
		b.release(old.linked, e.linked)
	}
	return nil
}

// listen opens a listener. Those that are to go, being not among the given, and whose address is in its way, make room
// for it; if it cannot be opened all the same, they stay.
func (b *Builder) listen(cfg proxy.ListenerConfig, given []*listenerv3.Listener) *fault {
	var inTheWay []string
	for _, name := range slices.Sorted(maps.Keys(b.listeners)) {
		stays := slices.ContainsFunc(given, func(l *listenerv3.Listener) bool { return l.GetName() == name })
		if !stays && listener.Overlap(b.listeners[name].listener.Addr, cfg.Addr) {
			inTheWay = append(inTheWay, name)
		}
	}
	set := b.deps.Listeners.Set
	if len(inTheWay) > 0 {
		set = func(cfg proxy.ListenerConfig) error { return b.deps.Listeners.Replace(cfg, inTheWay) }
	}
	if err := set(cfg); err != nil {
		return faultf("address", "%v", err)
	}
	for _, name := range inTheWay {
		b.release(b.listeners[name].linked, nil)
		delete(b.listeners, name)
	}
	return nil
}

func (b *Builder) slot(name string) *proxy.RouteSlot {
	s := b.slots[name]
	if s == nil {
		s = &proxy.RouteSlot{Name: name}
		b.slots[name] = s
	}
	return s
}

// namedRoutes are the route configurations that listeners in force name.
func (b *Builder) namedRoutes() map[string]bool {
	named := map[string]bool{}
	for _, e := range b.listeners {
		named[e.rds] = true
	}
	return named
}

// dropSlots forgets the slots that neither a route configuration nor a listener uses.
func (b *Builder) dropSlots() {
	named := b.namedRoutes()
	for name := range b.slots {
		if b.routes[name] == nil && !named[name] {
			delete(b.slots, name)
		}
	}
}
