// SPDX-License-Identifier: Apache-2.0

package upstream

import "github.com/umbra-mesh/umbra/internal/dataplane/stats"

// What is counted for a cluster, by Envoy's names (cluster.<name>.*), with Istio's tag cluster_name.
const (
	CxTotal = iota
	CxActive
	CxDestroy
	CxConnectFail
	CxConnectTimeout
	CxNoneHealthy
	CxOverflow
	RqTotal
	RqActive
	RqCompleted
	RqTimeout
	RqPerTryTimeout
	RqRetry
	RqRetrySuccess
	RqRetryLimitExceeded
	RqRetryOverflow
	RqPendingTotal
	RqPendingActive
	RqPendingOverflow
	RqRxReset
	RqTxReset
	RetryOrShadowAbandoned
	CxIdleTimeout
	CxMaxRequests
	CxMaxDuration
	LbHealthyPanic
	MembershipTotal
	MembershipHealthy
	MembershipChange
	UpdateAttempt
	UpdateSuccess
	UpdateFailure
	EjectionsActive
	EjectionsEnforcedTotal
	EjectionsOverflow
	EjectionsDetected5xx
	EjectionsEnforced5xx
	EjectionsDetectedGateway
	EjectionsEnforcedGateway
	EjectionsDetectedLocal
	EjectionsEnforcedLocal
)

// RqTime is the histogram of a request's time until its answer was complete, in milliseconds.
const RqTime = 0

const outlier = "outlier_detection_ejections_"

var clusterStats = &stats.Kind{
	Labels: []string{"cluster_name"},
	Metrics: []stats.Metric{
		CxTotal:              counter("upstream_cx_total", "Connections opened."),
		CxActive:             gauge("upstream_cx_active", "Connections open."),
		CxDestroy:            counter("upstream_cx_destroy", "Connections ended."),
		CxConnectFail:        counter("upstream_cx_connect_fail", "Connections that did not come about."),
		CxConnectTimeout:     counter("upstream_cx_connect_timeout", "Connections that did not come about in connect_timeout."),
		CxNoneHealthy:        counter("upstream_cx_none_healthy", "Requests for which the cluster had no host."),
		CxOverflow:           counter("upstream_cx_overflow", "Times that circuit_breakers.max_connections forbade another connection: the request waits."),
		RqTotal:              counter("upstream_rq_total", "Requests begun, retries and copies included."),
		RqActive:             gauge("upstream_rq_active", "Requests in flight."),
		RqCompleted:          counter("upstream_rq_completed", "Requests that got a final answer."),
		RqTimeout:            counter("upstream_rq_timeout", "Requests that ran into their route's timeout."),
		RqPerTryTimeout:      counter("upstream_rq_per_try_timeout", "Attempts that ran into per_try_timeout."),
		RqRetry:              counter("upstream_rq_retry", "Retries."),
		RqRetrySuccess:       counter("upstream_rq_retry_success", "Retries whose answer was passed on as a success."),
		RqRetryLimitExceeded: counter("upstream_rq_retry_limit_exceeded", "Requests that failed with all retries used."),
		RqRetryOverflow:      counter("upstream_rq_retry_overflow", "Retries refused by circuit_breakers.max_retries."),
		RqPendingTotal:       counter("upstream_rq_pending_total", "Requests that had to wait for a connection."),
		RqPendingActive:      gauge("upstream_rq_pending_active", "Requests that wait for a connection."),
		RqPendingOverflow: counter("upstream_rq_pending_overflow",
			"Requests refused by circuit_breakers.max_requests or max_pending_requests."),
		RqRxReset: counter("upstream_rq_rx_reset", "Requests the host reset."),
		RqTxReset: counter("upstream_rq_tx_reset", "Requests reset towards the host."),
		RetryOrShadowAbandoned: counter("retry_or_shadow_abandoned",
			"Requests whose body was too long to be kept for a retry. (Their copies were not affected.)"),
		CxIdleTimeout:     counter("upstream_cx_idle_timeout", "Connections closed because they were idle for their time."),
		CxMaxRequests:     counter("upstream_cx_max_requests", "Connections not used again by max_requests_per_connection."),
		CxMaxDuration:     counter("upstream_cx_max_duration_reached", "Connections not used again by max_connection_duration."),
		LbHealthyPanic:    counter("lb_healthy_panic", "Choices of a host among all, because too few are healthy."),
		MembershipTotal:   gauge("membership_total", "Hosts."),
		MembershipHealthy: gauge("membership_healthy", "Hosts that are healthy and not ejected."),
		MembershipChange:  counter("membership_change", "Changes of the hosts."),
		UpdateAttempt:     counter("update_attempt", "Look-ups of the cluster's names."),
		UpdateSuccess:     counter("update_success", "Look-ups that gave addresses."),
		UpdateFailure:     counter("update_failure", "Look-ups that failed: the last addresses stay."),

		EjectionsActive:        gauge(outlier+"active", "Hosts that are ejected, for production or for copies."),
		EjectionsEnforcedTotal: counter(outlier+"enforced_total", "Ejections."),
		EjectionsOverflow:      counter(outlier+"overflow", "Ejections that max_ejection_percent forbade."),
		EjectionsDetected5xx: counter(outlier+"detected_consecutive_5xx",
			"Hosts found to fail with 5xx, ejected or not."),
		EjectionsEnforced5xx: counter(outlier+"enforced_consecutive_5xx", "Ejections for 5xx."),
		EjectionsDetectedGateway: counter(outlier+"detected_consecutive_gateway_failure",
			"Hosts found to fail with 502, 503 or 504, ejected or not."),
		EjectionsEnforcedGateway: counter(outlier+"enforced_consecutive_gateway_failure", "Ejections for 502, 503 or 504."),
		EjectionsDetectedLocal: counter(outlier+"detected_consecutive_local_origin_failure",
			"Hosts found to fail before an answer, ejected or not."),
		EjectionsEnforcedLocal: counter(outlier+"enforced_consecutive_local_origin_failure",
			"Ejections for failures before an answer."),
	},
	Histograms: []stats.Histogram{{
		Name: "envoy_cluster_upstream_rq_time", Help: "Milliseconds until the answer was complete.",
		Buckets: []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000},
	}},
	Codes: "envoy_cluster_upstream_rq",
}

func counter(name, help string) stats.Metric {
	return stats.Metric{Name: "envoy_cluster_" + name, Help: help, Type: stats.Counter}
}

func gauge(name, help string) stats.Metric {
	return stats.Metric{Name: "envoy_cluster_" + name, Help: help, Type: stats.Gauge}
}
