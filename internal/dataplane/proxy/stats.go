// SPDX-License-Identifier: Apache-2.0

package proxy

import "github.com/umbra-mesh/umbra/internal/dataplane/stats"

// What is counted for a connection manager, by Envoy's names (http.<stat_prefix>.*).
const (
	cxTotal = iota
	cxActive
	cxDestroy
	cxProtocolError
	cxIdleTimeout
	cxUpgrades
	cxUpgradesActive
	rqTotal
	rqActive
	rqTimeout // heads that did not come in time
	rqIdleTimeout
	rqRxReset
	rqOverload
	rqBadPath
	rqPathMoved
	pausedReading
	resumedReading
	rqNoRoute
	rqNoCluster
	rqDirect
	faultDelays
	faultAborts
	faultsActive
	corsValid
	corsInvalid
	histTime = 0
)

var httpStats = &stats.Kind{
	Labels: []string{"http_conn_manager_prefix"},
	Metrics: []stats.Metric{
		cxTotal:          counter("downstream_cx_total", "Client connections accepted."),
		cxActive:         gauge("downstream_cx_active", "Client connections open."),
		cxDestroy:        counter("downstream_cx_destroy", "Client connections ended."),
		cxProtocolError:  counter("downstream_cx_protocol_error", "Client connections ended for a malformed request."),
		cxIdleTimeout:    counter("downstream_cx_idle_timeout", "Client connections ended for idle_timeout."),
		cxUpgrades:       counter("downstream_cx_upgrades_total", "Client connections upgraded to another protocol."),
		cxUpgradesActive: gauge("downstream_cx_upgrades_active", "Upgraded client connections open."),
		rqTotal:          counter("downstream_rq_total", "Requests whose head was read or refused."),
		rqActive:         gauge("downstream_rq_active", "Requests in flight."),
		rqTimeout:        counter("downstream_rq_header_timeout", "Requests whose head did not come in request_headers_timeout."),
		rqIdleTimeout:    counter("downstream_rq_idle_timeout", "Requests ended for stream_idle_timeout."),
		rqRxReset:        counter("downstream_rq_rx_reset", "Requests the client gave up."),
		rqOverload:       counter("downstream_rq_overload_close", "Requests answered 503 because the process is overloaded."),
		rqBadPath:        counter("downstream_rq_failed_path_normalization", "Requests refused for their path."),
		rqPathMoved: counter("downstream_rq_redirected_with_normalized_path",
			"Requests sent to their path without escaped slashes."),
		pausedReading: counter("downstream_flow_control_paused_reading_total",
			"Times reading from a client waited for its upstream."),
		resumedReading: counter("downstream_flow_control_resumed_reading_total", "Times it went on."),
		rqNoRoute:      counter("no_route", "Requests that no route matched."),
		rqNoCluster:    counter("no_cluster", "Requests whose route names a cluster that is not there."),
		rqDirect:       counter("rq_direct_response", "Requests that their route answered, redirects among them."),
		faultDelays:    counter("fault_delays_injected", "Requests that were held back."),
		faultAborts:    counter("fault_aborts_injected", "Requests that a fault ended."),
		faultsActive:   gauge("fault_active_faults", "Requests in flight that were held back or ended."),
		corsValid:      counter("cors_origin_valid", "Requests of an origin that CORS allows."),
		corsInvalid:    counter("cors_origin_invalid", "Requests of an origin that it does not."),
	},
	Histograms: []stats.Histogram{{
		Name: "envoy_http_downstream_rq_time", Help: "Milliseconds from a request's head to the end of its answer.",
		Buckets: []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000},
	}},
	Codes: "envoy_http_downstream_rq",
}

func counter(name, help string) stats.Metric {
	return stats.Metric{Name: "envoy_http_" + name, Help: help, Type: stats.Counter}
}

func gauge(name, help string) stats.Metric {
	return stats.Metric{Name: "envoy_http_" + name, Help: help, Type: stats.Gauge}
}
