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

// Mirrors returns the mirror policies in force, by ID. Routes that share ID, target and share are one.
func (b *Builder) Mirrors() []MirrorInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := map[MirrorInfo]bool{}
	for _, e := range b.routes {
		for _, m := range e.mirrors {
			seen[m] = true
		}
	}
	for _, e := range b.listeners {
		for _, m := range e.mirrors {
			seen[m] = true
		}
	}
	return slices.SortedFunc(maps.Keys(seen), func(x, y MirrorInfo) int {
		return cmp.Or(cmp.Compare(x.ID, y.ID), cmp.Compare(x.To, y.To), cmp.Compare(x.From, y.From),
			cmp.Compare(x.Denominator, y.Denominator), cmp.Compare(x.Numerator, y.Numerator))
	})
}

// shelf holds the accepted resources of one kind by name.
type shelf[M resource] map[string]*entry[M]

// entry is one accepted resource.
type entry[M resource] struct {
	message M
	version string
	at      time.Time

	mirrors  []MirrorInfo         // of a route configuration, or a listener that has one inline
	rds      string               // a listener's route_config_name
	listener proxy.ListenerConfig // a listener's own
}

type resource interface {
	comparable
	validated
}

// update is what is common to the resources of one Apply.
type update struct {
	version string
	at      time.Time
	nacks   []xds.Nack
}

// refused reports whether a resource of that type was refused.
func (u *update) refused(kind string) bool {
	return slices.ContainsFunc(u.nacks, func(n xds.Nack) bool { return n.Type == kind })
}

// apply puts the given resources that differ from the accepted ones in force, each by set, and keeps what it refused as
// it was.
func apply[M resource](u *update, accepted shelf[M], given []M, set func(M, *entry[M]) *fault) {
	seen := map[string]bool{}
	for _, m := range given {
		name := nameOf(m)
		bad := refused(seen, name)
		if bad == nil {
			e := accepted[name]
			if e != nil && (e.message == m || proto.Equal(e.message, m)) {
				continue
			}
			e = &entry[M]{message: m, version: u.version, at: u.at}
			if bad = admit(m, e, set); bad == nil {
				accepted[name] = e
				continue
			}
		}
		kind := string(m.ProtoReflect().Descriptor().Name())
		u.nacks = append(u.nacks, xds.Nack{Type: kind, Name: name, Path: bad.path, Reason: bad.reason})
	}
}

func refused(seen map[string]bool, name string) *fault {
	switch {
	case name == "":
		return faultf("name", "missing")
	case seen[name]:
		return faultf("name", "a second resource of that name")
	}
	seen[name] = true
	return nil
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

func removeAbsent[M resource](accepted shelf[M], given []M, remove func(name string)) {
	present := map[string]bool{}
	for _, m := range given {
		present[nameOf(m)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(accepted)) {
		if !present[name] {
			remove(name)
			delete(accepted, name)
		}
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
