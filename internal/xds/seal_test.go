// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

func clusters(names ...string) []*clusterv3.Cluster {
	var list []*clusterv3.Cluster
	for _, name := range names {
		list = append(list, &clusterv3.Cluster{Name: name})
	}
	return list
}

func version(r Resources) string {
	r.Seal()
	return r.Version
}

func TestSealSortsByName(t *testing.T) {
	r := Resources{
		Clusters:  clusters("b", "a|", "a"),
		Endpoints: []*endpointv3.ClusterLoadAssignment{{ClusterName: "y"}, {ClusterName: "x"}},
	}
	r.Seal()
	for i, want := range []string{"a", "a|", "b"} {
		if got := r.Clusters[i].GetName(); got != want {
			t.Errorf("cluster %d: got %q, want %q", i, got, want)
		}
	}
	if got := r.Endpoints[0].GetClusterName(); got != "x" {
		t.Errorf("first endpoints: got %q, want x", got)
	}
}

func TestVersionIsOfTheContentNotOfItsOrder(t *testing.T) {
	want := version(Resources{Clusters: clusters("a", "b")})
	if got := version(Resources{Clusters: clusters("b", "a")}); got != want || got == "" {
		t.Errorf("got version %q for the same clusters in another order, want %q", got, want)
	}
	for _, other := range []Resources{
		{},
		{Clusters: clusters("a")},
		{Clusters: clusters("a", "c")},
		{Clusters: clusters("ab", "")},
		{Endpoints: []*endpointv3.ClusterLoadAssignment{{ClusterName: "a"}, {ClusterName: "b"}}},
	} {
		if got := version(other); got == want {
			t.Errorf("%v: got the version of other content", other)
		}
	}
}
