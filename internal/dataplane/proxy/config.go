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
	Operation    string // decorator.operation: the name of the span

	// What answers here; at most one is set.
	Direct   *Direct
	Redirect *filter.Redirect

	// Where requests go otherwise.
	Clusters      []Weighted // one, or weighted_clusters; none with ClusterHeader
	TotalWeight   uint64     // sum of the weights
	ClusterHeader string     // cluster_header, in lower case
	Named         func(cluster []byte) *upstream.Slot
	NotFound      int // cluster_not_found_response_code; 0: 503

	Rewrite     *filter.Rewrite   // nil: none
	AutoHost    bool              // auto_host_rewrite
	Request     *filter.Mutations // request_headers_to_add and _to_remove of route, virtual host, route configuration
	Response    *filter.Mutations // the same for answers
	Fault       *filter.Fault     // nil: none
	CORS        *filter.CORS      // nil: none
	OwnFilters  bool              // some of Clusters have filter settings of their own: theirs count, not Fault and CORS
	Hash        []filter.HashPolicy
	Timeout     time.Duration // 0: none
	IdleTimeout time.Duration // of the stream; 0: the listener's, negative: none
	// MaxGRPCTimeout: requests with grpc-timeout have that as timeout, at most this much; 0: no cap. Negative: the field
	// does not count (max_grpc_timeout is not set).
	MaxGRPCTimeout time.Duration
	Retry          *Retry // nil: none
	Mirrors        []mirror.Policy
	Stats          *RouteStats // stat_prefix; nil: none
}

// Direct answers without an upstream (envoy.config.route.v3.DirectResponseAction): set Status and Body; Details is
// "direct_response".
type Direct = filter.Local

// Weighted is one cluster of an action. The slot is by name: the cluster may be unknown yet (503 NC).
type Weighted struct {
	Slot     *upstream.Slot
	Weight   uint64
	Host     string            // host_rewrite_literal of the weighted cluster; "": none
	Request  *filter.Mutations // of the weighted cluster, before the route's; nil: none
	Response *filter.Mutations
	// With Action.OwnFilters: what counts for requests that go to this cluster, instead of the Action's.
	Fault *filter.Fault
	CORS  *filter.CORS
}

// Retry is a route's retry policy (envoy.config.route.v3.RetryPolicy).
type Retry struct {
	On             RetryOn
	Max            int // num_retries
	PerTryTimeout  time.Duration
	PerTryIdle     time.Duration          // per_try_idle_timeout
	BaseInterval   time.Duration          // 25 ms unless set; jittered, exponential, at most MaxInterval
	MaxInterval    time.Duration          // 10 times the base unless set
	Codes          []int                  // retriable_status_codes
	Headers        []*route.HeaderMatcher // retriable_headers: one must match the answer
	RequestHeaders []*route.HeaderMatcher // retriable_request_headers: one must match the request, as it is sent
	PreviousHosts  bool                   // retry_host_predicate previous_hosts: another host than those tried
	HostAttempts   int                    // host_selection_retry_max_attempts
	PriorityEvery  int                    // retry_priority previous_priorities.update_frequency; 0: none
}

// RetryOn is the set of conditions of retry_on.
type RetryOn uint32

// Conditions of retry_on and retry_grpc_on.
const (
	ConnectFailure RetryOn = 1 << iota
	RefusedStream
	Unavailable // grpc-status 14
	Cancelled   // grpc-status 1
	RetriableStatusCodes
	Any5xx             // 5xx: any 5xx, or no answer at all (connect, reset, timeout)
	GatewayError       // gateway-error: 502, 503, 504
	ResetOn            // reset: no answer (disconnect, reset, timeout)
	ResetBeforeRequest // reset-before-request: reset before the request was written
	Retriable4xx       // retriable-4xx: 409
	RetriableHeaders   // retriable-headers
	EnvoyRateLimited   // envoy-ratelimited
	HTTP3PostConnect   // http3-post-connect-failure: never here
	DeadlineExceeded   // grpc-status 4
	Internal           // grpc-status 13
	ResourceExhausted  // grpc-status 8
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

	NoFaults bool // http_filters has no fault filter: Action.Fault does not count
	NoCORS   bool // it has no CORS filter: Action.CORS does not count

	Paths    filter.Normalization
	Upgrades []string // upgrade_configs: protocols that are relayed, in lower case

	ServerName       string // server_name: overwrites the answer's Server field
	server           []byte // the same, made by Update
	UseRemoteAddress bool   // gateways: append to x-forwarded-for, external address, new request ids, strip x-envoy-*

	IdleTimeout    time.Duration // common_http_protocol_options.idle_timeout: a connection without a request
	HeadTimeout    time.Duration // request_headers_timeout
	StreamIdle     time.Duration // stream_idle_timeout
	MaxHeadBytes   int           // max_request_headers_kb
	MaxHeadFields  int           // common_http_protocol_options.max_headers_count
	HTTP10Accepted bool          // http_protocol_options.accept_http_10

	// Buffer is envoy.config.listener.v3.Listener.per_connection_buffer_limit_bytes: an answer of which more is unsent is not
	// read on; connections take it up when they are made. 0: loop.HighWater.
	Buffer int
}
