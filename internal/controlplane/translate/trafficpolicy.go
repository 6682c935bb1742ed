// SPDX-License-Identifier: Apache-2.0

package translate

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// trafficPolicy reads a policy of a rule or of a subset. It is nil if none is given.
func (d *destinationRule) trafficPolicy(path string, in *networking.TrafficPolicy) *mesh.TrafficPolicy {
	if in == nil {
		return nil
	}
	ports := in.GetPortLevelSettings()
	switch {
	case noBlock(in.GetLoadBalancer(), in.GetConnectionPool(), in.GetOutlierDetection(), in.GetTls()) && len(ports) == 0 &&
		in.GetTunnel() == nil && in.GetProxyProtocol() == nil && in.GetRetryBudget() == nil:
		d.error(path, "add a setting, or remove it", "traffic policy must have at least one field")
	case in.GetTunnel() != nil && in.GetProxyProtocol() != nil:
		d.error(path+".proxyProtocol", "keep one of them", "tunnel and proxyProtocol must not be set together")
	}
	out := d.blocks(path, in.GetLoadBalancer(), in.GetConnectionPool(), in.GetOutlierDetection())
	if b := in.GetRetryBudget(); b != nil {
		out.RetryBudget = &mesh.RetryBudget{MinConcurrency: b.GetMinRetryConcurrency()}
		if b.GetPercent() != nil {
			percent := b.GetPercent().GetValue()
			if percent < 0 || percent > 100 {
				d.error(path+".retryBudget.percent", "write 0 to 100", "percentage %v is not in range 0..100", percent)
			}
			out.RetryBudget.Percent = &percent
		}
	}
	for i, p := range ports {
		at := index(path+".portLevelSettings", i)
		number := p.GetPort().GetNumber()
		if p.GetPort() == nil {
			d.error(at+".port", "write {number: ...}", "portTrafficPolicy must have valid port")
		}
		if noBlock(p.GetLoadBalancer(), p.GetConnectionPool(), p.GetOutlierDetection(), p.GetTls()) {
			d.error(at, "add a setting, or remove it", "port traffic policy must have at least one field")
		}
		own := d.blocks(at, p.GetLoadBalancer(), p.GetConnectionPool(), p.GetOutlierDetection())
		if out.Ports == nil {
			out.Ports = map[uint32]*mesh.TrafficPolicy{}
		}
		if out.Ports[number] != nil {
			d.warn(at+".port", "remove one of them", "port %d has settings already: the first are used", number)
			continue
		}
		out.Ports[number] = own
	}
	return out
}

func noBlock(lb *networking.LoadBalancerSettings, pool *networking.ConnectionPoolSettings,
	outlier *networking.OutlierDetection, tls *networking.ClientTLSSettings,
) bool {
	return lb == nil && pool == nil && outlier == nil && tls == nil
}

// blocks reads what a policy and the settings of a port have in common.
func (d *destinationRule) blocks(path string, lb *networking.LoadBalancerSettings,
	pool *networking.ConnectionPoolSettings, outlier *networking.OutlierDetection,
) *mesh.TrafficPolicy {
	return &mesh.TrafficPolicy{
		Origin: d.resource.Ref(), Place: d.at(path),
		LoadBalancer:     d.loadBalancer(path+".loadBalancer", lb, outlier),
		ConnectionPool:   d.connectionPool(path+".connectionPool", pool),
		OutlierDetection: d.outlierDetection(path+".outlierDetection", outlier),
	}
}

func (d *destinationRule) connectionPool(path string, in *networking.ConnectionPoolSettings) *mesh.ConnectionPool {
	if in == nil {
		return nil
	}
	if in.GetHttp() == nil && in.GetTcp() == nil {
		d.error(path, "add a setting, or remove it", "connection pool must have at least one field")
	}
	count := func(field, name string, n int32) uint32 {
		if n < 0 {
			d.error(path+field, "write 0 or more", "%s must be non-negative", name)
		}
		return uint32(max(n, 0))
	}
	http, tcp := in.GetHttp(), in.GetTcp()
	out := &mesh.ConnectionPool{
		Place:                 d.at(path),
		MaxConnections:        count(".tcp.maxConnections", "max connections", tcp.GetMaxConnections()),
		ConnectTimeout:        d.duration(path+".tcp.connectTimeout", tcp.GetConnectTimeout()),
		MaxConnectionDuration: d.duration(path+".tcp.maxConnectionDuration", tcp.GetMaxConnectionDuration()),
		MaxPending: count(".http.http1MaxPendingRequests", "http1 max pending requests",
			http.GetHttp1MaxPendingRequests()),
		MaxRequests: count(".http.http2MaxRequests", "http2 max requests", http.GetHttp2MaxRequests()),
		MaxRequestsPerConnection: count(".http.maxRequestsPerConnection", "max requests per connection",
			http.GetMaxRequestsPerConnection()),
		MaxRetries:  count(".http.maxRetries", "max retries", http.GetMaxRetries()),
		IdleTimeout: d.duration(path+".http.idleTimeout", http.GetIdleTimeout()),
	}
	count(".http.maxConcurrentStreams", "max concurrent streams", http.GetMaxConcurrentStreams())
	switch idle := tcp.GetIdleTimeout(); {
	case idle == nil:
	case idle.AsDuration() == 0:
		out.TCPIdleTimeout = -1
	case idle.AsDuration().Milliseconds() == 0: // Istio takes what it takes for nothing
		out.TCPIdleTimeout = max(idle.AsDuration(), -1)
	default:
		out.TCPIdleTimeout = d.duration(path+".tcp.idleTimeout", idle)
	}
	if k := tcp.GetTcpKeepalive(); k != nil {
		out.Keepalive = &mesh.Keepalive{
			Probes:   k.GetProbes(),
			Time:     d.duration(path+".tcp.tcpKeepalive.time", k.GetTime()),
			Interval: d.duration(path+".tcp.tcpKeepalive.interval", k.GetInterval()),
		}
	}
	if http.GetUseClientProtocol() &&
		http.GetH2UpgradePolicy() == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE {
		d.error(path+".http.useClientProtocol", "keep one of them",
			"use client protocol must not be true when H2UpgradePolicy is UPGRADE")
	}
	if k := http.GetHttp2KeepAlive(); k != nil {
		at := path + ".http.http2KeepAlive"
		if k.GetInterval() == nil {
			d.error(at+".interval", "add it", "http2 keepalive interval is required")
		}
		if k.GetTimeout() == nil {
			d.error(at+".timeout", "add it", "http2 keepalive timeout is required")
		}
		d.duration(at+".interval", k.GetInterval())
		d.duration(at+".timeout", k.GetTimeout())
	}
	return out
}

func (d *destinationRule) outlierDetection(path string, in *networking.OutlierDetection) *mesh.OutlierDetection {
	if in == nil {
		return nil
	}
	out := &mesh.OutlierDetection{
		Place: d.at(path), SplitLocal: in.GetSplitExternalLocalOriginErrors(),
		Interval:           d.duration(path+".interval", in.GetInterval()),
		BaseEjectionTime:   d.duration(path+".baseEjectionTime", in.GetBaseEjectionTime()),
		MaxEjectionPercent: d.percent(path+".maxEjectionPercent", in.GetMaxEjectionPercent()),
		MinHealthPercent:   d.percent(path+".minHealthPercent", in.GetMinHealthPercent()),
	}
	if v := in.GetConsecutiveLocalOriginFailures(); v != nil {
		out.ConsecutiveLocal = new(v.GetValue())
	}
	if v := in.GetConsecutiveGatewayErrors(); v != nil {
		out.ConsecutiveGatewayErrors = new(v.GetValue())
	}
	if v := in.GetConsecutive_5XxErrors(); v != nil {
		out.Consecutive5xx = new(v.GetValue())
	}
	if in.GetConsecutiveErrors() != 0 {
		d.warn(path+".consecutiveErrors", "", "outlier detection consecutive errors is deprecated, "+
			"use consecutiveGatewayErrors or consecutive5xxErrors instead; it has no effect")
	}
	if !out.SplitLocal && in.GetConsecutiveLocalOriginFailures().GetValue() > 0 {
		d.error(path+".consecutiveLocalOriginFailures", "set splitExternalLocalOriginErrors",
			"outlier detection consecutive local origin failures is specified, "+
				"but split external local origin errors is set to false")
	}
	return out
}

func (p *report) percent(path string, n int32) int32 {
	if n < 0 || n > 100 {
		p.error(path, "write 0 to 100", "percentage %v is not in range 0..100", n)
	}
	return n
}

// warmup reads the way new endpoints are let in; the older form has a duration only.
func (d *destinationRule) warmup(path string, in *networking.LoadBalancerSettings) *mesh.Warmup {
	w := in.GetWarmup()
	if w == nil {
		old := in.GetWarmupDurationSecs()
		if old.AsDuration() <= 0 {
			return nil
		}
		d.warn(path+".warmupDurationSecs", "", `using deprecated setting "warmupDurationSecs", use "warmup" instead`)
		return &mesh.Warmup{Duration: old.AsDuration()}
	}
	path += ".warmup"
	if w.GetDuration() == nil {
		d.error(path+".duration", "add it", "duration is required")
	}
	out := &mesh.Warmup{
		Duration:       d.duration(path+".duration", w.GetDuration()),
		MinimumPercent: w.GetMinimumPercent().GetValue(), Aggression: w.GetAggression().GetValue(),
	}
	if out.MinimumPercent > 100 || out.MinimumPercent < 0 {
		d.error(path+".minimumPercent", "write 0 to 100", "minimumPercent value should be less than or equal to 100")
	}
	if w.GetAggression() != nil && !(out.Aggression > 0) {
		d.error(path+".aggression", "write 1", "aggression should be greater than 0")
	}
	return out
}
