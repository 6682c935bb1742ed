// SPDX-License-Identifier: Apache-2.0

package build

import (
	"cmp"
	"maps"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// Accepted is what is in force, each list by name. The messages must not be changed.
type Accepted struct {
	Version   string // of the set applied last
	Listeners []Resource[*listenerv3.Listener]
	Routes    []Resource[*routev3.RouteConfiguration]
	Clusters  []Resource[*clusterv3.Cluster]
	Endpoints []Resource[*endpointv3.ClusterLoadAssignment]
}

// Resource is one message in force, and since when: the version and time of the set that brought it as it is.
type Resource[M proto.Message] struct {
	Message     M
	Version     string
	LastUpdated time.Time
}

// Accepted returns what is in force.
func (b *Builder) Accepted() Accepted {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Accepted{
		Version:   b.version,
		Listeners: b.listeners.list(), Routes: b.routes.list(), Clusters: b.clusters.list(), Endpoints: b.endpoints.list(),
	}
}

// Mirror is one mirror policy in force and its counters, which may be read for as long as one likes.
type Mirror struct {
	MirrorInfo
	Stats *mirror.Stats
}

// Mirrors returns the mirror policies in force, by ID. Routes that share ID, target and share are one.
func (b *Builder) Mirrors() []Mirror {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := map[Mirror]bool{}
	for _, e := range b.routes {
		e.linked.mirrors(seen)
	}
	for _, e := range b.listeners {
		e.linked.mirrors(seen)
	}
	for _, e := range b.clusters {
		e.counted.addTo(seen)
	}
	return slices.SortedFunc(maps.Keys(seen), func(x, y Mirror) int {
		return cmp.Or(cmp.Compare(x.ID, y.ID), cmp.Compare(x.To, y.To), cmp.Compare(x.From, y.From),
			cmp.Compare(x.Denominator, y.Denominator), cmp.Compare(x.Numerator, y.Numerator))
	})
}

func (c *counted) addTo(mirrors map[Mirror]bool) {
	for i, m := range c.mirrors {
		mirrors[Mirror{m, c.copies[i]}] = true
	}
}

// shelf holds the accepted resources of one kind by name.
type shelf[M resource] map[string]*entry[M]

// entry is one accepted resource.
type entry[M resource] struct {
	message M
	version string
	at      time.Time
	update  uint64 // the last one that gave it, whether what was given was accepted or not

	linked   *linkedRoutes        // of a route configuration, or of a listener that has one inline
	counted                       // of a cluster with mirror policies
	rds      string               // a listener's route_config_name
	listener proxy.ListenerConfig // a listener's own
}

type resource interface {
	comparable
	validated
}

// update is what is common to the resources of one Apply.
type update struct {
	number  uint64
	version string
	at      time.Time
	nacks   []xds.Nack
}

// refused reports whether a resource of that type was refused.
func (u *update) refused(kind string) bool {
	return slices.ContainsFunc(u.nacks, func(n xds.Nack) bool { return n.Type == kind })
}

// apply puts the given resources that differ from the accepted ones in force, each by put, and keeps what it refused as
// it was. put gets the accepted entry, nil if there is none, and fills the new one; it returns the accepted one if
// nothing changed.
func apply[M resource](u *update, accepted shelf[M], given []M, put func(old, e *entry[M]) (*entry[M], *fault)) {
	var none M
	refused := map[string]bool{} // names of this set that are not accepted
	for _, m := range given {
		name := ""
		if m != none {
			name = nameOf(m)
		}
		old := accepted[name]
		var bad *fault
		switch {
		case name == "":
			bad = faultf("name", "missing")
		case refused[name] || old != nil && old.update == u.number:
			bad = faultf("name", "a second resource of that name")
		case old != nil && old.message == m:
			old.update = u.number
			continue
		default:
			var e *entry[M]
			e, bad = put(old, &entry[M]{message: m, version: u.version, at: u.at})
			if bad == nil {
				e.update = u.number
				accepted[name] = e
				continue
			}
			if old != nil {
				old.update = u.number
			}
			refused[name] = true
		}
		kind := string(m.ProtoReflect().Descriptor().Name())
		u.nacks = append(u.nacks, xds.Nack{Type: kind, Name: name, Path: bad.path, Reason: bad.reason})
	}
}

// whole is a put for resources that are checked and linked as one.
func whole[M resource](set func(M, *entry[M]) *fault) func(old, e *entry[M]) (*entry[M], *fault) {
	return func(old, e *entry[M]) (*entry[M], *fault) {
		if old != nil && proto.Equal(old.message, e.message) {
			old.message = e.message // the same to everybody, and found by its pointer the next time
			return old, nil
		}
		return e, admit(e.message, e, set)
	}
}

func admit[M resource](m M, e *entry[M], set func(M, *entry[M]) *fault) *fault {
	if bad := checkFields(m); bad != nil {
		return bad
	}
	if bad := validate(m); bad != nil {
		return bad
	}
	return set(m, e)
}

// absent are the names of what the update did not give, in order.
func absent[M resource](u *update, accepted shelf[M]) []string {
	var gone []string
	for name, e := range accepted {
		if e.update != u.number {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	return gone
}

// removeAbsent takes away what the update did not give, in order of names.
func removeAbsent[M resource](u *update, accepted shelf[M], remove func(name string, e *entry[M])) {
	for _, name := range absent(u, accepted) {
		remove(name, accepted[name])
		delete(accepted, name)
	}
}

func (s shelf[M]) list() []Resource[M] {
	list := make([]Resource[M], 0, len(s))
	for _, name := range slices.Sorted(maps.Keys(s)) {
		e := s[name]
		list = append(list, Resource[M]{Message: e.message, Version: e.version, LastUpdated: e.at})
	}
	return list
}

func nameOf(m proto.Message) string {
	switch m := m.(type) {
	case interface{ GetName() string }:
		return m.GetName()
	case *endpointv3.ClusterLoadAssignment:
		return m.GetClusterName()
	}
	return ""
}
