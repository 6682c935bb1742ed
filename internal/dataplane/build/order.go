// SPDX-License-Identifier: Apache-2.0

package build

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/umbra-mesh/umbra/internal/xds"
)

// deferred is what of a set changes last: clusters that are in force, and their endpoints, to which no route of the set
// leads. Routes that go with this set may, and theirs is what these were: who moves a route off a cluster and takes its
// hosts away in one step has no request answered 503 meanwhile.
type deferred struct {
	clusters  []*clusterv3.Cluster
	endpoints []*endpointv3.ClusterLoadAssignment
}

// follow puts in force what was to change last in a set that is refused in part: routes that stay may lead there, for
// as long as it is refused, and hosts come and go meanwhile. Only what would have no hosts left stays as it was.
func (b *Builder) follow(u *update, last deferred) {
	last.endpoints = slices.DeleteFunc(last.endpoints, func(e *endpointv3.ClusterLoadAssignment) bool {
		return !hasHosts(e)
	})
	last.clusters = slices.DeleteFunc(last.clusters, func(c *clusterv3.Cluster) bool {
		switch c.GetType() {
		case clusterv3.Cluster_EDS, clusterv3.Cluster_ORIGINAL_DST:
			return false
		}
		return !hasHosts(c.GetLoadAssignment())
	})
	b.setDestinations(u, last.clusters, last.endpoints)
}

func hasHosts(a *endpointv3.ClusterLoadAssignment) bool {
	return slices.ContainsFunc(a.GetEndpoints(), func(l *endpointv3.LocalityLbEndpoints) bool {
		return len(l.GetLbEndpoints()) > 0
	})
}

// inOrder divides a set into what changes at once and what changes last. It costs nothing unless something in force
// changes, and then one look at each route of the set.
func (b *Builder) inOrder(r *xds.Resources) (clusters []*clusterv3.Cluster,
	endpoints []*endpointv3.ClusterLoadAssignment, last deferred,
) {
	changed := map[string]bool{} // clusters; false: a route leads there
	for _, c := range r.Clusters {
		if old := b.clusters[c.GetName()]; old != nil && old.message != c {
			changed[c.GetName()] = true
		}
	}
	services := map[string]bool{} // the same of endpoints
	for _, e := range r.Endpoints {
		if old := b.endpoints[e.GetClusterName()]; old != nil && old.message != e {
			services[e.GetClusterName()] = true
		}
	}
	if len(changed) == 0 && len(services) == 0 {
		return r.Clusters, r.Endpoints, last
	}
	for _, c := range r.Clusters {
		if s := serviceOf(c); services[s] {
			changed[c.GetName()] = true
		}
	}
	if slices.ContainsFunc(r.Listeners, b.inline) || !visitClusters(r.Routes, func(name string) {
		if changed[name] {
			changed[name] = false
		}
	}) {
		return r.Clusters, r.Endpoints, last // a request may lead to any
	}
	for _, c := range r.Clusters {
		waits, is := changed[c.GetName()]
		if is && !waits {
			services[serviceOf(c)] = false // several clusters may have one service's endpoints
		}
		if waits && b.clusters[c.GetName()] != nil && b.clusters[c.GetName()].message != c {
			last.clusters = append(last.clusters, c)
		} else {
			clusters = append(clusters, c)
		}
	}
	for _, e := range r.Endpoints {
		if services[e.GetClusterName()] {
			last.endpoints = append(last.endpoints, e)
		} else {
			endpoints = append(endpoints, e)
		}
	}
	return clusters, endpoints, last
}

// serviceOf is the name that a cluster's endpoints have, "" if it has none of their own.
func serviceOf(c *clusterv3.Cluster) string {
	eds := c.GetEdsClusterConfig()
	if eds != nil && eds.GetServiceName() == "" {
		return c.GetName()
	}
	return eds.GetServiceName()
}

// inline tells whether a listener has its routes with it.
func (b *Builder) inline(l *listenerv3.Listener) bool {
	if e := b.listeners[l.GetName()]; e != nil && e.message == l {
		return e.linked != nil
	}
	_, _, routes, _ := linkListener(l)
	return routes != nil
}

// visitClusters tells each cluster that routes name, for requests or for copies; false if a request may name any.
func visitClusters(routes []*routev3.RouteConfiguration, named func(string)) bool {
	mirrors := func(list []*routev3.RouteAction_RequestMirrorPolicy) bool {
		for _, m := range list {
			if m.GetClusterHeader() != "" {
				return false
			}
			named(m.GetCluster())
		}
		return true
	}
	for _, rc := range routes {
		if !mirrors(rc.GetRequestMirrorPolicies()) {
			return false
		}
		for _, v := range rc.GetVirtualHosts() {
			if !mirrors(v.GetRequestMirrorPolicies()) {
				return false
			}
			for _, r := range v.GetRoutes() {
				a := r.GetRoute()
				if a.GetClusterHeader() != "" || !mirrors(a.GetRequestMirrorPolicies()) {
					return false
				}
				named(a.GetCluster())
				for _, c := range a.GetWeightedClusters().GetClusters() {
					named(c.GetName())
				}
			}
		}
	}
	return true
}
