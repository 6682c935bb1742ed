// SPDX-License-Identifier: Apache-2.0

// Package xds is the wire between the two halves: a set of Envoy v3 resources, handed over by pointer in standalone
// mode. Published protos are frozen: nobody writes to them after Publish. It knows neither half.
package xds

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// Resources is one consistent set, each list sorted by name. It is complete: what is absent is to be removed.
type Resources struct {
	Version   string
	Listeners []*listenerv3.Listener
	Routes    []*routev3.RouteConfiguration
	Clusters  []*clusterv3.Cluster
	Endpoints []*endpointv3.ClusterLoadAssignment // cluster_name = the EDS cluster's name
}

// Nack is the data plane's refusal of one resource: the last accepted version of it stays.
type Nack struct {
	Type   string // Listener, RouteConfiguration, Cluster, ClusterLoadAssignment
	Name   string
	Path   string // of the field
	Reason string
}

func (n Nack) Error() string {
	s := n.Type + " " + n.Name + ": "
	if n.Path != "" {
		s += n.Path + ": "
	}
	return s + n.Reason
}
