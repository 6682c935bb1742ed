// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// httpOptions is the key of envoy.extensions.upstreams.http.v3.HttpProtocolOptions in a cluster.
const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// What a budget of retries is where the resource does not say.
const (
	budgetPercent     = 20
	budgetConcurrency = 3
)

// noBreakers are circuit breakers that never open.
func noBreakers() *clusterv3.CircuitBreakers_Thresholds {
	return &clusterv3.CircuitBreakers_Thresholds{
		MaxConnections:     u32(math.MaxUint32),
		MaxPendingRequests: u32(math.MaxUint32),
		MaxRequests:        u32(math.MaxUint32),
		MaxRetries:         u32(math.MaxUint32),
	}
}

// applyPool sets what bounds connections and requests. Without a word on that the cluster keeps what it has.
func applyPool(c *clusterv3.Cluster, pool *mesh.ConnectionPool, budget *mesh.RetryBudget) {
	if pool == nil && budget == nil {
		return
	}
	t := noBreakers()
	c.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{t}}
	if budget != nil {
		t.RetryBudget = &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
			BudgetPercent:       &typev3.Percent{Value: budgetPercent},
			MinRetryConcurrency: u32(budgetConcurrency),
		}
		if budget.Percent != nil {
			t.RetryBudget.BudgetPercent = &typev3.Percent{Value: *budget.Percent}
		}
		if budget.MinConcurrency != 0 {
			t.RetryBudget.MinRetryConcurrency = u32(budget.MinConcurrency)
		}
	}
	if pool == nil {
		return
	}
	limit(&t.MaxConnections, pool.MaxConnections)
	limit(&t.MaxPendingRequests, pool.MaxPending)
	limit(&t.MaxRequests, pool.MaxRequests)
	limit(&t.MaxRetries, pool.MaxRetries)
	if pool.ConnectTimeout != 0 {
		c.ConnectTimeout = durationpb.New(pool.ConnectTimeout)
	}
	if pool.Keepalive != nil {
		c.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: keepalive(pool.Keepalive)}
	}
	options := &corev3.HttpProtocolOptions{}
	idle := pool.IdleTimeout
	if idle == 0 {
		idle = pool.TCPIdleTimeout
	}
	if idle != 0 {
		options.IdleTimeout = durationpb.New(max(idle, 0))
	}
	if pool.MaxConnectionDuration != 0 {
		options.MaxConnectionDuration = durationpb.New(pool.MaxConnectionDuration)
	}
	if pool.MaxRequestsPerConnection != 0 {
		options.MaxRequestsPerConnection = u32(pool.MaxRequestsPerConnection)
	}
	if idle != 0 || pool.MaxConnectionDuration != 0 || pool.MaxRequestsPerConnection != 0 {
		c.TypedExtensionProtocolOptions = explicitHTTP1(options)
	}
}

// limit sets a circuit breaker that the resource gives.
func limit(breaker **wrapperspb.UInt32Value, n uint32) {
	if n != 0 {
		*breaker = u32(n)
	}
}

// explicitHTTP1 are a cluster's options for HTTP, which name a version because Envoy wants one named.
func explicitHTTP1(common *corev3.HttpProtocolOptions) map[string]*anypb.Any {
	return map[string]*anypb.Any{httpOptions: pack(&httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: common,
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
					HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
				},
			},
		},
	})}
}

func keepalive(k *mesh.Keepalive) *corev3.TcpKeepalive {
	out := &corev3.TcpKeepalive{}
	if k.Probes != 0 {
		out.KeepaliveProbes = u32(k.Probes)
	}
	if s := seconds(k.Time); s != 0 {
		out.KeepaliveTime = u32(s)
	}
	if s := seconds(k.Interval); s != 0 {
		out.KeepaliveInterval = u32(s)
	}
	return out
}

// seconds cuts to whole seconds, as far as 32 bits go.
func seconds(d time.Duration) uint32 { return uint32(min(max(d/time.Second, 0), math.MaxUint32)) }

func applyOutlierDetection(c *clusterv3.Cluster, o *mesh.OutlierDetection) {
	if o == nil {
		return
	}
	out := &clusterv3.OutlierDetection{EnforcingSuccessRate: u32(0)}
	out.Consecutive_5Xx, out.EnforcingConsecutive_5Xx = enforced(o.Consecutive5xx)
	out.ConsecutiveGatewayFailure, out.EnforcingConsecutiveGatewayFailure = enforced(o.ConsecutiveGatewayErrors)
	if o.Interval != 0 {
		out.Interval = durationpb.New(o.Interval)
	}
	if o.BaseEjectionTime != 0 {
		out.BaseEjectionTime = durationpb.New(o.BaseEjectionTime)
	}
	if o.MaxEjectionPercent > 0 {
		out.MaxEjectionPercent = u32(uint32(o.MaxEjectionPercent))
	}
	if o.SplitLocal {
		out.SplitExternalLocalOriginErrors = true
		out.EnforcingLocalOriginSuccessRate = u32(0)
		if o.ConsecutiveLocal != nil && *o.ConsecutiveLocal != 0 {
			out.ConsecutiveLocalOriginFailure, out.EnforcingConsecutiveLocalOriginFailure = enforced(o.ConsecutiveLocal)
		}
	}
	c.OutlierDetection = out
	// Without this Envoy would use all endpoints again when half of them are ejected.
	lbConfig(c).HealthyPanicThreshold = &typev3.Percent{Value: float64(max(o.MinHealthPercent, 0))}
}

// enforced is a count of errors and the share of ejections for it that are carried out: all, unless the count is 0.
func enforced(count *uint32) (limit, share *wrapperspb.UInt32Value) {
	switch {
	case count == nil:
		return nil, nil
	case *count == 0:
		return u32(0), u32(0)
	}
	return u32(*count), u32(100)
}

func lbConfig(c *clusterv3.Cluster) *clusterv3.Cluster_CommonLbConfig {
	if c.CommonLbConfig == nil {
		c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{}
	}
	return c.CommonLbConfig
}
