// SPDX-License-Identifier: Apache-2.0

package build

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/umbra-mesh/umbra/internal/xds"
)

// FuzzApply: whatever the messages, there is no panic, and each is either in force or refused.
func FuzzApply(f *testing.F) {
	r := resourcesOf(f, minimal)
	for i, m := range []proto.Message{r.Listeners[0], r.Routes[0], r.Clusters[0], r.Endpoints[0]} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), b)
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		var r xds.Resources
		var m proto.Message
		switch kind % 4 {
		case 0:
			l := &listenerv3.Listener{}
			m, r.Listeners = l, []*listenerv3.Listener{l}
		case 1:
			rc := &routev3.RouteConfiguration{}
			m, r.Routes = rc, []*routev3.RouteConfiguration{rc}
		case 2:
			c := &clusterv3.Cluster{}
			m, r.Clusters = c, []*clusterv3.Cluster{c}
		case 3:
			a := &endpointv3.ClusterLoadAssignment{}
			m, r.Endpoints = a, []*endpointv3.ClusterLoadAssignment{a}
		}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		_, b := newFar()
		nacks := b.Apply(&r)
		a := b.Accepted()
		if n := len(a.Listeners) + len(a.Routes) + len(a.Clusters) + len(a.Endpoints); n+len(nacks) != 1 {
			t.Errorf("%d in force, refused %v", n, nacks)
		}
	})
}
