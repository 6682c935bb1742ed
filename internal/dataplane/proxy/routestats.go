// SPDX-License-Identifier: Apache-2.0

package proxy

import "github.com/umbra-mesh/umbra/internal/dataplane/stats"

// RouteStats counts for one stat_prefix (envoy.config.route.v3.Route.stat_prefix: vhost.<name>.route.<prefix>.*). A nil
// RouteStats counts nothing.
type RouteStats struct {
	set *stats.Set
}

const (
	routeTotal = iota
	routeCompleted
	routeTimeout
	routeRetry
	routeRetrySuccess
	routeRetryLimit
	routeRetryOverflow
	routeTime = 0
)

var routeStats = &stats.Kind{
	Labels: []string{"virtual_host", "route"},
	Metrics: []stats.Metric{
		routeTotal:         routeCounter("total", "Attempts that got a connection."),
		routeCompleted:     routeCounter("completed", "Final answers of upstreams."),
		routeTimeout:       routeCounter("timeout", "Requests whose answer did not come in time."),
		routeRetry:         routeCounter("retry", "Retries."),
		routeRetrySuccess:  routeCounter("retry_success", "Retries whose answer was passed on."),
		routeRetryLimit:    routeCounter("retry_limit_exceeded", "Requests not retried once more: num_retries."),
		routeRetryOverflow: routeCounter("retry_overflow", "Requests not retried: the cluster's circuit breaker."),
	},
	Histograms: []stats.Histogram{{
		Name: "envoy_vhost_route_upstream_rq_time", Help: "Milliseconds from a request's head to the end of its answer.",
		Buckets: []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000},
	}},
	Codes: "envoy_vhost_route_upstream_rq",
}

func routeCounter(name, help string) stats.Metric {
	return stats.Metric{Name: "envoy_vhost_route_upstream_rq_" + name, Help: help, Type: stats.Counter}
}

// NewRouteStats returns the counters of a stat_prefix in a virtual host: the same numbers for the same names. Each call
// pairs with a Release.
func (s *Server) NewRouteStats(virtualHost, prefix string) *RouteStats {
	return &RouteStats{set: s.registry.Set(routeStats, virtualHost, prefix)}
}

// Release ends the series once nobody else counts under these names. Requests that still do are not seen any more.
func (r *RouteStats) Release() { r.set.Release() }

func (r *RouteStats) inc(worker, metric int) {
	if r != nil {
		r.set.Block(worker).Inc(metric)
	}
}

// answered counts a final answer's status.
func (r *RouteStats) answered(worker, status int) {
	if r != nil {
		b := r.set.Block(worker)
		b.Inc(routeCompleted)
		b.Code(status)
	}
}

func (r *RouteStats) took(worker int, ms float64) {
	if r != nil {
		r.set.Block(worker).Observe(routeTime, ms)
	}
}
