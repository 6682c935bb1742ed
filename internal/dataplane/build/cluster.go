// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// What Envoy takes for settings that a cluster leaves out.
const (
	defaultConnectTimeout = 5 * time.Second
	defaultBreaker        = 1024 // connections, pending requests, requests
	defaultMaxRetries     = 3
)

var policies = map[clusterv3.Cluster_LbPolicy]upstream.Policy{
	clusterv3.Cluster_ROUND_ROBIN:   upstream.RoundRobin,
	clusterv3.Cluster_LEAST_REQUEST: upstream.LeastRequest,
	clusterv3.Cluster_RANDOM:        upstream.Random,
}

func linkCluster(c *clusterv3.Cluster) (upstream.Config, *fault) {
	cfg := upstream.Config{Name: c.GetName(), Policy: policies[c.GetLbPolicy()]}
	var bad *fault
	if cfg.ConnectTimeout, bad = duration(c.GetConnectTimeout(), defaultConnectTimeout, "connect_timeout"); bad != nil {
		return cfg, bad
	}
	if bad = linkBreakers(&cfg, c.GetCircuitBreakers()); bad != nil {
		return cfg, bad
	}
	switch eds := c.GetEdsClusterConfig(); c.GetType() {
	case clusterv3.Cluster_EDS:
		if eds.GetEdsConfig().GetAds() == nil {
			return cfg, faultf("eds_cluster_config.eds_config.ads", "missing: the one source of endpoints there is")
		}
		if c.GetLoadAssignment() != nil {
			return cfg, faultf("load_assignment", "not for a cluster of type EDS")
		}
		cfg.EDS, cfg.ServiceName = true, eds.GetServiceName()
		if cfg.ServiceName == "" {
			cfg.ServiceName = c.GetName()
		}
	default:
		if eds != nil {
			return cfg, faultf("eds_cluster_config", "only for a cluster of type EDS")
		}
		cfg.Static, bad = linkEndpoints(c.GetLoadAssignment())
		bad = bad.under("load_assignment")
	}
	return cfg, bad
}

func linkBreakers(cfg *upstream.Config, b *clusterv3.CircuitBreakers) *fault {
	if len(b.GetThresholds()) > 1 {
		return faultf("circuit_breakers.thresholds[1]", "a second one for priority DEFAULT")
	}
	var t *clusterv3.CircuitBreakers_Thresholds
	if len(b.GetThresholds()) == 1 {
		t = b.GetThresholds()[0]
	}
	cfg.MaxConnections = orDefault(t.GetMaxConnections(), defaultBreaker)
	cfg.MaxPending = orDefault(t.GetMaxPendingRequests(), defaultBreaker)
	cfg.MaxRequests = orDefault(t.GetMaxRequests(), defaultBreaker)
	cfg.MaxRetries = orDefault(t.GetMaxRetries(), defaultMaxRetries)
	return nil
}

func orDefault(v *wrapperspb.UInt32Value, def uint32) uint32 {
	if v == nil {
		return def
	}
	return v.GetValue()
}

func linkEndpoints(a *endpointv3.ClusterLoadAssignment) ([]upstream.Endpoint, *fault) {
	var hosts []upstream.Endpoint
	for i, locality := range a.GetEndpoints() {
		for k, h := range locality.GetLbEndpoints() {
			path := fmt.Sprintf("endpoints[%d].lb_endpoints[%d].endpoint.address", i, k)
			addr, bad := linkAddress(h.GetEndpoint().GetAddress(), path)
			if bad == nil && addr.Port() == 0 {
				bad = faultf(path+".socket_address.port_value", "missing")
			}
			if bad != nil {
				return nil, bad
			}
			hosts = append(hosts, upstream.Endpoint{Addr: addr, Weight: h.GetLoadBalancingWeight().GetValue()})
		}
	}
	return hosts, nil
}

func linkAddress(a *corev3.Address, path string) (netip.AddrPort, *fault) {
	s := a.GetSocketAddress()
	if s == nil {
		return netip.AddrPort{}, faultf(path+".socket_address", "missing")
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		return netip.AddrPort{}, faultf(path+".socket_address.address", "%q is not an IP address", s.GetAddress())
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(s.GetPortValue())), nil // validated: at most 65535
}
