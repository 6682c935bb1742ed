// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// connectTimeout is Istio's default for every cluster.
const connectTimeout = 10 * time.Second

// cluster adds the cluster of one port and subset (nil: all endpoints) with its endpoints.
func (k *compiler) cluster(r *xds.Resources, s *mesh.Service, p mesh.Port, subset *mesh.Subset) {
	name := clusterName(p.Number, "", s.Host)
	if subset != nil {
		name = clusterName(p.Number, subset.Name, s.Host)
	}
	unlimited := func() *wrapperspb.UInt32Value { return wrapperspb.UInt32(math.MaxUint32) }
	r.Clusters = append(r.Clusters, &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads(), ServiceName: name},
		ConnectTimeout:       durationpb.New(connectTimeout),
		LbPolicy:             clusterv3.Cluster_LEAST_REQUEST,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections:     unlimited(),
			MaxPendingRequests: unlimited(),
			MaxRequests:        unlimited(),
			MaxRetries:         unlimited(),
		}}},
	})
	r.Endpoints = append(r.Endpoints, k.assignment(name, s.Host, p.Number, subset))
}

// assignment lists the endpoints of a cluster in source order. One that does not serve the port is not of the cluster.
func (k *compiler) assignment(name, host string, port uint32, subset *mesh.Subset) *endpointv3.ClusterLoadAssignment {
	var list []*endpointv3.LbEndpoint
	for _, e := range k.endpoints[host] {
		number := e.Ports[port]
		if number == 0 || !inSubset(e, subset) {
			continue
		}
		lb := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: address(e.Address, number)},
		}}
		if e.Weight != 0 {
			lb.LoadBalancingWeight = wrapperspb.UInt32(e.Weight)
		}
		list = append(list, lb)
	}
	cla := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	if len(list) > 0 {
		cla.Endpoints = []*endpointv3.LocalityLbEndpoints{{LbEndpoints: list}}
	}
	return cla
}

// inSubset reports whether e carries all labels of the subset; a subset without labels has all endpoints.
func inSubset(e mesh.Endpoint, subset *mesh.Subset) bool {
	if subset == nil {
		return true
	}
	for name, value := range subset.Labels {
		if have, ok := e.Labels[name]; !ok || have != value {
			return false
		}
	}
	return true
}

// ads says that a resource comes over the same stream as the one that names it.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
}

func address(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       ip,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}
