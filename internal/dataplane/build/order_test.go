// SPDX-License-Identifier: Apache-2.0

package build

import (
	"testing"
	"testing/synctest"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// twoClusters is a set with clusters a and b, of which the route leads to a.
func twoClusters(t *testing.T) *xds.Resources {
	t.Helper()
	r := resourcesOf(t, minimal)
	other := clone(r)
	other.Clusters[0].Name, other.Endpoints[0].ClusterName = "b", "b"
	r.Clusters = append(r.Clusters, other.Clusters...)
	r.Endpoints = append(r.Endpoints, other.Endpoints...)
	return r
}

func theRoute(r *xds.Resources) *routev3.RouteAction {
	return r.Routes[0].VirtualHosts[0].Routes[0].GetRoute()
}

func toCluster(r *xds.Resources, name string) {
	theRoute(r).ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: name}
}

// watched are clusters of which somebody is told before one changes.
type watched struct {
	Clusters
	changes func()
}

func (w watched) Set(c upstream.Config) {
	w.changes()
	w.Clusters.Set(c)
}

// TestWhatRoutesLeaveChangesAfterThem: the route moves from a to b, and a changes its settings and loses its hosts.
func TestWhatRoutesLeaveChangesAfterThem(t *testing.T) {
	for _, c := range []struct {
		name  string
		leads func(*xds.Resources)
		first bool // a changes before the routes do
	}{
		{"nothing leads there", func(r *xds.Resources) { toCluster(r, "b") }, false},
		{"the route still does", func(*xds.Resources) {}, true},
		{"a weight does", func(r *xds.Resources) {
			theRoute(r).ClusterSpecifier = &routev3.RouteAction_WeightedClusters{
				WeightedClusters: &routev3.WeightedCluster{Clusters: []*routev3.WeightedCluster_ClusterWeight{
					{Name: "a", Weight: wrapperspb.UInt32(1)}, {Name: "b", Weight: wrapperspb.UInt32(1)},
				}},
			}
		}, true},
		{"a mirror does", func(r *xds.Resources) {
			toCluster(r, "b")
			theRoute(r).RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "a"}}
		}, true},
		{"a mirror of all routes does", func(r *xds.Resources) {
			toCluster(r, "b")
			r.Routes[0].RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "a"}}
		}, true},
		{"requests name their cluster", func(r *xds.Resources) {
			theRoute(r).ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "x-to"}
		}, true},
		{"requests name their mirror", func(r *xds.Resources) {
			toCluster(r, "b")
			theRoute(r).RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{ClusterHeader: "x-to"}}
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, b := newFar()
			old := twoClusters(t)
			mustApply(t, b, old)
			f.takeCalls()
			table := b.slots["r"].Load()
			early := false
			b.deps.Clusters = watched{b.deps.Clusters, func() { early = b.slots["r"].Load() == table }}

			next := clone(old)
			c.leads(next)
			next.Routes[0].VirtualHosts[0].Name = "v2" // they change in any case
			next.Clusters[0].ConnectTimeout = durationpb.New(7e9)
			next.Endpoints[0].Endpoints = nil
			mustApply(t, b, next)
			if early != c.first {
				t.Errorf("changed before the routes: %v, want %v", early, c.first)
			}
			if c.first {
				wantCalls(t, f, "set endpoints a: 0", "set cluster a")
			} else {
				wantCalls(t, f, "settle", "set endpoints a: 0", "set cluster a")
			}
			mustApply(t, b, next)
			wantCalls(t, f)
		})
	}
}

func TestWhatASetOfRefusedRoutesLeavesStays(t *testing.T) {
	f, b := newFar()
	old := twoClusters(t)
	mustApply(t, b, old)
	f.takeCalls()

	bad := clone(old)
	bad.Clusters, bad.Endpoints = bad.Clusters[1:], bad.Endpoints[1:]
	toCluster(bad, "b")
	bad.Routes[0].VirtualHosts[0].Domains = []string{"x", "X"}
	mustApply(t, b, bad, "RouteConfiguration r: virtual_hosts: virtual host v: duplicate domain X, which virtual host v has")
	wantCalls(t, f)
	if got := ask(b, "r", "a", "/"); got != "a" {
		t.Errorf("the last good table leads to %s", got)
	}

	bad.Routes[0].VirtualHosts[0].Domains = []string{"x"}
	mustApply(t, b, clone(bad))
	wantCalls(t, f, "settle", "remove cluster a", "set endpoints a: 0")
}

// TestHurryDoesNotTakeAClusterFromARequest: a process that is to end waits for no names, but for its requests.
func TestHurryDoesNotTakeAClusterFromARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := newFar()
		old := twoClusters(t)
		mustApply(t, b, old)
		b.Hurry()
		b.deps.Settle = func() {
			<-time.After(time.Second)
			if _, ok := f.clusters["a"]; !ok {
				t.Error("the cluster is gone before its last request")
			}
		}
		next := clone(old)
		next.Clusters, next.Endpoints = next.Clusters[1:], next.Endpoints[1:]
		toCluster(next, "b")
		mustApply(t, b, next)
		if _, ok := f.clusters["a"]; ok {
			t.Error("the cluster is still there")
		}
	})
}
