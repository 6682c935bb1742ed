// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// Istio's defaults for every cluster, and for those whose endpoints are names.
const (
	connectTimeout = 10 * time.Second
	dnsRefresh     = 60 * time.Second
)

// usualParts are what most clusters have alike: one message each, which nobody writes to.
type usualParts struct {
	connectTimeout *durationpb.Duration
	breakers       *clusterv3.CircuitBreakers
	eds            *corev3.ConfigSource
	lb             *clusterv3.Cluster_CommonLbConfig
}

func newUsualParts() usualParts {
	return usualParts{
		connectTimeout: durationpb.New(connectTimeout),
		breakers: &clusterv3.CircuitBreakers{
			Thresholds: []*clusterv3.CircuitBreakers_Thresholds{noBreakers()},
		},
		eds: ads(),
		lb:  &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{}},
	}
}

// hostClusters are the clusters of one service, all ports and subsets, and what they were made of.
type hostClusters struct {
	service     *mesh.Service
	endpoints   []mesh.Endpoint
	clusters    []*clusterv3.Cluster
	assignments []*endpointv3.ClusterLoadAssignment
	used        uint64 // the generation that asked for it last
}

// serviceClusters adds the clusters of every service, with their endpoints. What is as it was is the same message: an
// endpoint that comes or goes changes the assignments that it is in, and nothing else.
func (k *compiler) serviceClusters(r *xds.Resources) {
	for _, s := range k.sorted {
		h := k.clusters[s.Host]
		if h == nil || h.service != s || !sameEndpoints(h.endpoints, k.endpoints[s.Host]) {
			h = k.compileClusters(s, h)
			k.clusters[s.Host] = h
		}
		h.used = k.generation
		r.Clusters = append(r.Clusters, h.clusters...)
		r.Endpoints = append(r.Endpoints, h.assignments...)
	}
}

func (k *compiler) compileClusters(s *mesh.Service, last *hostClusters) *hostClusters {
	h := &hostClusters{service: s, endpoints: k.endpoints[s.Host]}
	for _, p := range httpPorts(s) {
		k.cluster(h, p, nil)
		for i := range s.Subsets {
			k.cluster(h, p, &s.Subsets[i])
		}
	}
	if last != nil {
		keep(h.clusters, last.clusters)
		keep(h.assignments, last.assignments)
	}
	return h
}

// named is a message with a name: cluster or assignment.
type named interface {
	proto.Message
	comparable
}

// keep puts the message of last in the place of each one that is equal to it. Both lists are in the order of ports and
// subsets, so that what belongs together is mostly at the same index.
func keep[M named](list, last []M) {
	name := func(m M) string {
		switch m := any(m).(type) {
		case *clusterv3.Cluster:
			return m.GetName()
		case *endpointv3.ClusterLoadAssignment:
			return m.GetClusterName()
		}
		return ""
	}
	var byName map[string]M
	for i, m := range list {
		if i < len(last) && name(last[i]) == name(m) {
			if proto.Equal(last[i], m) {
				list[i] = last[i]
			}
			continue
		}
		if byName == nil {
			byName = make(map[string]M, len(last))
			for _, l := range last {
				byName[name(l)] = l
			}
		}
		if l, ok := byName[name(m)]; ok && proto.Equal(l, m) {
			list[i] = l
		}
	}
}

// cluster adds the cluster of one port and subset (nil: all endpoints) with its endpoints.
func (k *compiler) cluster(h *hostClusters, p mesh.Port, subset *mesh.Subset) {
	s := h.service
	name := clusterName(p.Number, "", s.Host)
	if subset != nil {
		name = clusterName(p.Number, subset.Name, s.Host)
	}
	policy := s.PolicyFor(p.Number, subset)
	if policy == nil {
		policy = &mesh.TrafficPolicy{}
	}
	c := &clusterv3.Cluster{
		Name: name, ConnectTimeout: k.usual.connectTimeout, CircuitBreakers: k.usual.breakers,
		PerConnectionBufferLimitBytes: k.opts.Clients.buffer(),
	}
	applyPool(c, policy.ConnectionPool, policy.RetryBudget)
	applyOutlierDetection(c, policy.OutlierDetection)
	applyBalancer(c, policy.LoadBalancer)
	if policy.LoadBalancer != nil && policy.LoadBalancer.Simple == mesh.Passthrough && policy.LoadBalancer.Hash == nil {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}
		h.clusters = append(h.clusters, c)
		return
	}
	places := k.localities(h.endpoints, s, p.Number, subset, withUnready(policy))
	if s.Resolution == mesh.DNSRoundRobin {
		places = places.first()
	}
	places = k.placeByPolicy(c, places, policy)
	if c.CommonLbConfig == nil {
		c.CommonLbConfig = k.usual.lb
	} else if c.CommonLbConfig.HealthyPanicThreshold == nil {
		c.CommonLbConfig.HealthyPanicThreshold = k.usual.lb.HealthyPanicThreshold
	}
	assignment := &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: places.messages()}
	if s.Resolution == mesh.Static {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
		c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: k.usual.eds, ServiceName: name}
		h.clusters = append(h.clusters, c)
		h.assignments = append(h.assignments, assignment)
		return
	}
	if len(assignment.GetEndpoints()) == 0 {
		return // nothing to look up: Envoy has no cluster of no names
	}
	discovery := clusterv3.Cluster_STRICT_DNS
	if s.Resolution == mesh.DNSRoundRobin {
		discovery = clusterv3.Cluster_LOGICAL_DNS
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: discovery}
	c.LoadAssignment = assignment
	c.DnsRefreshRate = durationpb.New(dnsRefresh)
	c.DnsLookupFamily = clusterv3.Cluster_V4_ONLY
	h.clusters = append(h.clusters, c)
}

// clusterName is Istio's name for one port and subset ("": all endpoints) of a host.
func clusterName(port uint32, subset, host string) string {
	return "outbound|" + strconv.FormatUint(uint64(port), 10) + "|" + subset + "|" + host
}

// ads says that a resource comes over the same stream as the one that names it.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
}
