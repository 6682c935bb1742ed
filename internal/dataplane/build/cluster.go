// SPDX-License-Identifier: Apache-2.0

package build

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// What Envoy takes for settings that a cluster leaves out.
const (
	defaultConnectTimeout = 5 * time.Second
	defaultBreaker        = 1024 // connections, pending requests, requests
	defaultMaxRetries     = 3
	defaultBudgetPercent  = 20
	defaultBudgetRetries  = 3
	defaultPanicPercent   = 50
)

var policies = map[clusterv3.Cluster_LbPolicy]upstream.Policy{
	clusterv3.Cluster_ROUND_ROBIN:      upstream.RoundRobin,
	clusterv3.Cluster_LEAST_REQUEST:    upstream.LeastRequest,
	clusterv3.Cluster_RANDOM:           upstream.Random,
	clusterv3.Cluster_RING_HASH:        upstream.RingHash,
	clusterv3.Cluster_MAGLEV:           upstream.Maglev,
	clusterv3.Cluster_CLUSTER_PROVIDED: upstream.ClusterProvided,
}

var families = map[clusterv3.Cluster_DnsLookupFamily]upstream.DNSFamily{
	clusterv3.Cluster_AUTO:         upstream.FamilyAuto,
	clusterv3.Cluster_V4_ONLY:      upstream.FamilyV4Only,
	clusterv3.Cluster_V6_ONLY:      upstream.FamilyV6Only,
	clusterv3.Cluster_V4_PREFERRED: upstream.FamilyV4Preferred,
	clusterv3.Cluster_ALL:          upstream.FamilyAll,
}

func linkCluster(c *clusterv3.Cluster) (cfg upstream.Config, bad *fault) {
	cfg = upstream.Config{
		Name: c.GetName(), Policy: policies[c.GetLbPolicy()], DNSFamily: families[c.GetDnsLookupFamily()],
		Keepalive: linkKeepalive(c.GetUpstreamConnectionOptions().GetTcpKeepalive()),
	}
	if cfg.ConnectTimeout, bad = duration(c.GetConnectTimeout(), defaultConnectTimeout, "connect_timeout"); bad != nil {
		return cfg, bad
	}
	if cfg.DNSRefresh, bad = duration(c.GetDnsRefreshRate(), 0, "dns_refresh_rate"); bad != nil {
		return cfg, bad
	}
	if cfg.Buffer, bad = bufferLimit(c.GetPerConnectionBufferLimitBytes()); bad != nil {
		return cfg, bad
	}
	if bad = linkBreakers(&cfg, c.GetCircuitBreakers()); bad != nil {
		return cfg, bad
	}
	if bad = linkBalancer(&cfg, c); bad != nil {
		return cfg, bad
	}
	if cfg.Outlier, bad = linkOutlier(c.GetOutlierDetection()); bad != nil {
		return cfg, bad.under("outlier_detection")
	}
	return cfg, linkDiscovery(&cfg, c)
}

// linkDiscovery reads where the cluster's hosts come from.
func linkDiscovery(cfg *upstream.Config, c *clusterv3.Cluster) (bad *fault) {
	eds := c.GetEdsClusterConfig()
	if eds != nil && c.GetType() != clusterv3.Cluster_EDS {
		return faultf("eds_cluster_config", "only for a cluster of type EDS")
	}
	if (c.GetType() == clusterv3.Cluster_ORIGINAL_DST) != (c.GetLbPolicy() == clusterv3.Cluster_CLUSTER_PROVIDED) {
		return faultf("lb_policy", "LB policy %v is not valid for Cluster type %v", c.GetLbPolicy(), c.GetType())
	}
	var names bool
	switch c.GetType() {
	case clusterv3.Cluster_EDS:
		if eds.GetEdsConfig().GetAds() == nil {
			return faultf("eds_cluster_config.eds_config.ads", "missing: the one source of endpoints there is")
		}
		if c.GetLoadAssignment() != nil {
			return faultf("load_assignment", "not for a cluster of type EDS")
		}
		cfg.Discovery, cfg.ServiceName = upstream.EDS, eds.GetServiceName()
		if cfg.ServiceName == "" {
			cfg.ServiceName = c.GetName()
		}
		return nil
	case clusterv3.Cluster_ORIGINAL_DST:
		if c.GetLoadAssignment() != nil {
			return faultf("load_assignment", "ORIGINAL_DST clusters must have no load assignment configured")
		}
		cfg.Discovery = upstream.OriginalDst
		return nil
	case clusterv3.Cluster_STRICT_DNS:
		cfg.Discovery, names = upstream.StrictDNS, true
	case clusterv3.Cluster_LOGICAL_DNS:
		cfg.Discovery, names = upstream.LogicalDNS, true
		list := c.GetLoadAssignment().GetEndpoints()
		if len(list) != 1 || len(list[0].GetLbEndpoints()) != 1 {
			return faultf("load_assignment",
				"LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint")
		}
	}
	cfg.Overprovisioning = c.GetLoadAssignment().GetPolicy().GetOverprovisioningFactor().GetValue()
	cfg.Static, bad = linkEndpoints(c.GetLoadAssignment(), names)
	return bad.under("load_assignment")
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
	if r := t.GetRetryBudget(); r != nil {
		cfg.RetryBudget = &upstream.RetryBudget{
			Percent: defaultBudgetPercent, MinConcurrency: orDefault(r.GetMinRetryConcurrency(), defaultBudgetRetries),
		}
		if r.GetBudgetPercent() != nil {
			cfg.RetryBudget.Percent = r.GetBudgetPercent().GetValue()
		}
	}
	return nil
}

// linkBalancer reads how a host is chosen. Settings of another policy than the cluster's are refused: they could only
// be a mistake.
func linkBalancer(cfg *upstream.Config, c *clusterv3.Cluster) (bad *fault) {
	of := c.GetLbPolicy()
	switch lb := c.GetLbConfig().(type) {
	case *clusterv3.Cluster_RingHashLbConfig_:
		of = clusterv3.Cluster_RING_HASH
		cfg.Ring.Min = lb.RingHashLbConfig.GetMinimumRingSize().GetValue()
		cfg.Ring.Max = lb.RingHashLbConfig.GetMaximumRingSize().GetValue()
		if least, most := cfg.Ring.Min, cfg.Ring.Max; most != 0 && least > most {
			return faultf("ring_hash_lb_config", "ring hash: minimum_ring_size (%d) > maximum_ring_size (%d)", least, most)
		}
	case *clusterv3.Cluster_MaglevLbConfig_:
		of = clusterv3.Cluster_MAGLEV
		size := lb.MaglevLbConfig.GetTableSize().GetValue() // validated: at most 5000011
		if cfg.TableSize = uint32(size); size != 0 && !prime(size) {
			return faultf("maglev_lb_config.table_size", "The table size of maglev must be prime number")
		}
	case *clusterv3.Cluster_LeastRequestLbConfig_:
		of = clusterv3.Cluster_LEAST_REQUEST
		cfg.Choices = lb.LeastRequestLbConfig.GetChoiceCount().GetValue()
		bad = linkSlowStart(cfg, lb.LeastRequestLbConfig.GetSlowStartConfig())
		bad = bad.under("least_request_lb_config.slow_start_config")
	case *clusterv3.Cluster_RoundRobinLbConfig_:
		of = clusterv3.Cluster_ROUND_ROBIN
		bad = linkSlowStart(cfg, lb.RoundRobinLbConfig.GetSlowStartConfig())
		bad = bad.under("round_robin_lb_config.slow_start_config")
	}
	if bad == nil && of != c.GetLbPolicy() {
		bad = faultf("lb_config", "is of policy %v, the cluster's is %v", of, c.GetLbPolicy())
	}
	common := c.GetCommonLbConfig()
	cfg.PanicPercent = defaultPanicPercent
	if p := common.GetHealthyPanicThreshold(); p != nil {
		cfg.PanicPercent = p.GetValue()
	}
	cfg.LocalityWeighted = common.GetLocalityWeightedLbConfig() != nil
	return bad
}

func linkSlowStart(cfg *upstream.Config, s *clusterv3.Cluster_SlowStartConfig) (bad *fault) {
	if s == nil {
		return nil
	}
	cfg.SlowStart.MinPercent = -1
	if p := s.GetMinWeightPercent(); p != nil {
		cfg.SlowStart.MinPercent = p.GetValue()
	}
	if a := s.GetAggression(); a != nil {
		if cfg.SlowStart.Aggression = a.GetDefaultValue(); cfg.SlowStart.Aggression <= 0 {
			return faultf("aggression.default_value", "must be above 0")
		}
	}
	cfg.SlowStart.Window, bad = duration(s.GetSlowStartWindow(), 0, "slow_start_window")
	return bad
}

func linkKeepalive(k *corev3.TcpKeepalive) upstream.Keepalive {
	seconds := func(v *wrapperspb.UInt32Value) time.Duration { return time.Duration(v.GetValue()) * time.Second }
	return upstream.Keepalive{
		On: k != nil, Probes: k.GetKeepaliveProbes().GetValue(),
		Time: seconds(k.GetKeepaliveTime()), Interval: seconds(k.GetKeepaliveInterval()),
	}
}

func orDefault(v *wrapperspb.UInt32Value, def uint32) uint32 {
	if v == nil {
		return def
	}
	return v.GetValue()
}

func prime(n uint64) bool {
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}

// linkProtocolOptions reads what the cluster's protocol options say: how connections are kept, and the mirror policies of
// all requests that go to the cluster.
func (b *Builder) linkProtocolOptions(cfg *upstream.Config, c *clusterv3.Cluster, e *entry[*clusterv3.Cluster]) *fault {
	options, bad := protocolOptions(c)
	if bad != nil || options == nil {
		return bad
	}
	const path = "typed_extension_protocol_options[" + protocolOptionsKey + "]"
	if bad = linkConnections(cfg, options.GetCommonHttpProtocolOptions()); bad != nil {
		return bad.under(path + ".common_http_protocol_options")
	}
	list := options.GetRequestMirrorPolicies()
	if len(list) == 0 {
		return nil
	}
	if bad = checkMirrorTargets(list); bad != nil {
		return bad.under(path)
	}
	mirrors, bad := linkMirrors(&b.deps, b.names, list, "cluster/"+c.GetName(), "cluster "+c.GetName(), &e.counted)
	cfg.Mirrors = mirrors
	return bad.under(path)
}
