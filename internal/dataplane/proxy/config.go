// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// Action is what happens to a request that a route matched. Immutable and linked: the request path follows pointers.
type Action struct {
	Name         string // of the route, for the access log
	AttemptCount bool   // virtual_hosts.include_request_attempt_count
	Direct       *Direct
	Clusters     []Weighted    // one, or weighted_clusters
	TotalWeight  uint64        // sum of the weights
	Timeout      time.Duration // 0: none
	Retry        *Retry        // nil: none
	Mirrors      []mirror.Policy
}

// Direct answers without an upstream (envoy.config.route.v3.DirectResponseAction): set Status and Body; Details is
// "direct_response".
type Direct = filter.Local

// Weighted is one cluster of an action. The slot is by name: the cluster may be unknown yet (503 NC).
type Weighted struct {
	Slot   *upstream.Slot
	Weight uint64
}

// Retry is a route's retry policy (envoy.config.route.v3.RetryPolicy).
type Retry struct {
	On            RetryOn
	Max           int // num_retries
	PerTryTimeout time.Duration
	BaseInterval  time.Duration // 25 ms unless set; jittered, exponential, at most MaxInterval
	MaxInterval   time.Duration // 10 times the base unless set
	Codes         []int         // retriable_status_codes
	PreviousHosts bool          // retry_host_predicate previous_hosts: another host than those tried
	HostAttempts  int           // host_selection_retry_max_attempts
}

// RetryOn is the set of conditions of retry_on.
type RetryOn uint16

// Conditions of retry_on and retry_grpc_on.
const (
	ConnectFailure RetryOn = 1 << iota
	RefusedStream
	Unavailable // grpc-status 14
	Cancelled   // grpc-status 1
	RetriableStatusCodes
)

// RouteTable is one RouteConfiguration, linked.
type RouteTable = route.Table[*Action]

// RouteSlot holds the current table of one RouteConfiguration by name; requests load it once. Nil: none yet (404 NR).
type RouteSlot struct {
	Name  string
	table atomic.Pointer[RouteTable]
}

// Load returns the table in force, nil if there is none.
func (s *RouteSlot) Load() *RouteTable { return s.table.Load() }

// Store puts a table in force for requests whose head comes after this.
func (s *RouteSlot) Store(t *RouteTable) { s.table.Store(t) }

// ListenerConfig is one listener with its HTTP connection manager, immutable and linked
// (envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager).
type ListenerConfig struct {
	Name       string // <bind>_<port>
	Addr       netip.AddrPort
	StatPrefix string
	Routes     *RouteSlot

	ServerName       string // server_name: overwrites the answer's Server field
	server           []byte // the same, made by Update
	UseRemoteAddress bool   // gateways: append to x-forwarded-for, external address, new request ids, strip x-envoy-*

	IdleTimeout    time.Duration // common_http_protocol_options.idle_timeout: a connection without a request
	HeadTimeout    time.Duration // request_headers_timeout
	StreamIdle     time.Duration // stream_idle_timeout
	MaxHeadBytes   int           // max_request_headers_kb
	MaxHeadFields  int           // common_http_protocol_options.max_headers_count
	HTTP10Accepted bool          // http_protocol_options.accept_http_10
}
