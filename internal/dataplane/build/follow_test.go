// SPDX-License-Identifier: Apache-2.0

package build

import (
	"net/netip"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/umbra-mesh/umbra/internal/xds"
)

// moveHost gives cluster a another host.
func moveHost(r *xds.Resources, addr string) {
	e := r.Endpoints[0].GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint()
	e.Address = &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: addr, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 80},
	}}}
}

func TestRoutesThatStayFollowTheirHostsWhileASetIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		refuse func(*far, *xds.Resources)
		nack   string
	}{
		{"routes refused", func(_ *far, r *xds.Resources) {
			r.Routes[0].VirtualHosts[0].Domains = []string{"x", "X"}
		}, "RouteConfiguration r: virtual_hosts: virtual host v: duplicate domain X, which virtual host v has"},
		{"port taken, the former routes stay", func(f *far, r *xds.Resources) {
			r.Routes[0].Name = "other"
			l := r.Listeners[0]
			l.Name = "moved"
			l.Address.GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: 9}
			f.taken = netip.MustParseAddrPort(l.Address.GetSocketAddress().GetAddress() + ":9")
		}, "Listener moved: address: bind: address already in use"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, b := newFar()
			old := twoClusters(t)
			mustApply(t, b, old)
			bad := clone(old)
			toCluster(bad, "b")
			c.refuse(f, bad)
			moveHost(bad, "192.0.2.77")
			mustApply(t, b, bad, c.nack)
			if got := f.endpoints["a"]; len(got) != 1 || got[0].Addr.Addr().String() != "192.0.2.77" {
				t.Errorf("the routes in force lead to %v", got)
			}
			none := clone(bad)
			none.Endpoints[0].Endpoints = nil
			mustApply(t, b, none, c.nack)
			if got := f.endpoints["a"]; len(got) != 1 {
				t.Errorf("%d hosts", len(got))
			}
		})
	}
}

func TestARefusedClusterKeepsItsEndpoints(t *testing.T) {
	f, b := newFar()
	old := twoClusters(t)
	mustApply(t, b, old)
	bad := clone(old)
	bad.Clusters[0].ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
	bad.Clusters[0].LoadAssignment = &endpointv3.ClusterLoadAssignment{ClusterName: "a"}
	bad.Endpoints = bad.Endpoints[1:] // eds_cluster_config is still there: refused
	if nacks := b.Apply(bad); len(nacks) != 1 {
		t.Fatal(nacks)
	}
	if n := len(f.endpoints["a"]); n != 1 {
		t.Errorf("%d hosts, want 1", n)
	}
}
