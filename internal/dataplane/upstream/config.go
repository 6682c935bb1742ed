// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"net/netip"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// Config is one cluster's immutable settings (envoy.config.cluster.v3.Cluster). Live state (hosts' pools, counters,
// ejections) is kept apart and survives a change of it.
type Config struct {
	Name           string
	ConnectTimeout time.Duration // 0: 5 s, Envoy's default
	Discovery      Discovery
	ServiceName    string        // EDS: eds_cluster_config.service_name; SetEndpoints fills the hosts
	Static         []Endpoint    // all but EDS and OriginalDst: load_assignment
	DNSRefresh     time.Duration // dns_refresh_rate; 0: 5 s
	DNSFamily      DNSFamily     // dns_lookup_family

	Policy    Policy
	Ring      Ring
	TableSize uint32 // Maglev; 0: 65537
	Choices   uint32 // LeastRequest: choice_count; 0: 2
	SlowStart SlowStart
	Outlier   *Outlier // nil: no host is ever ejected
	// PanicPercent: with fewer healthy hosts than this share all are used (healthy_panic_threshold). 0: never.
	PanicPercent     float64
	LocalityWeighted bool   // common_lb_config.locality_weighted_lb_config; needs weights of localities
	Overprovisioning uint32 // percent; 0: 140

	// circuit_breakers.thresholds of priority DEFAULT; 0 is none allowed, Unlimited no limit.
	MaxConnections uint32
	MaxPending     uint32
	MaxRequests    uint32
	MaxRetries     uint32
	RetryBudget    *RetryBudget // instead of MaxRetries

	// Buffer is per_connection_buffer_limit_bytes: a request of which more is unsent is not read on. 0: loop.HighWater.
	Buffer int

	MaxRequestsPerConnection uint32        // 0: no limit
	IdleTimeout              time.Duration // of a pooled connection; 0: the default, negative: none
	MaxConnectionDuration    time.Duration // 0: no limit
	Keepalive                Keepalive
	// Mirrors is what the layer above keeps with the cluster, its mirror policies (HttpProtocolOptions.
	// request_mirror_policies); this package never looks at it.
	Mirrors any
}

// Unlimited is Istio's way to write "no limit".
const Unlimited = 1<<32 - 1

// Discovery is where a cluster's hosts come from (envoy.config.cluster.v3.Cluster.DiscoveryType).
type Discovery uint8

// The ways that are implemented.
const (
	Static Discovery = iota
	EDS
	StrictDNS   // every address of every name is a host; looked up in the background
	LogicalDNS  // one name, one host: new connections go to its first address
	OriginalDst // where the client's connection was going before it was redirected
)

// DNSFamily says which addresses of a name are used (envoy.config.cluster.v3.Cluster.DnsLookupFamily).
type DNSFamily uint8

// The families.
const (
	FamilyAuto DNSFamily = iota // IPv6 if there are any, else IPv4
	FamilyV4Only
	FamilyV6Only
	FamilyV4Preferred // IPv4 if there are any, else IPv6
	FamilyAll
)

// Endpoint is one address of a cluster. Exactly one of Addr, Path and Name is given.
type Endpoint struct {
	Addr     netip.AddrPort
	Path     string // unix socket
	Name     string // to be looked up (StrictDNS, LogicalDNS)
	Port     uint16 // with Name
	Weight   uint32 // 0 means 1
	Hostname string // for auto_host_rewrite; often empty

	Locality       Locality
	LocalityWeight uint32 // LocalityLbEndpoints.load_balancing_weight
	Priority       uint32 // 0 is first
	Unhealthy      bool   // health_status other than UNKNOWN and HEALTHY
}

// Locality is where a host is (envoy.config.core.v3.Locality).
type Locality struct{ Region, Zone, SubZone string }

// Policy picks a host for a request.
type Policy uint8

// The policies of envoy.config.cluster.v3.Cluster.LbPolicy that are implemented.
const (
	LeastRequest Policy = iota // some random choices, the one with fewest active requests
	RoundRobin
	Random
	RingHash
	Maglev
	ClusterProvided // OriginalDst
)

// Ring is envoy.config.cluster.v3.Cluster.RingHashLbConfig; zero values are Envoy's defaults (1024, 8388608).
type Ring struct{ Min, Max uint64 }

// SlowStart gives hosts that are new less at first (envoy.config.cluster.v3.Cluster.SlowStartConfig). Window 0: off.
type SlowStart struct {
	Window     time.Duration
	Aggression float64 // 0: 1
	MinPercent float64 // min_weight_percent; negative: 10
}

// Outlier is envoy.config.cluster.v3.OutlierDetection with Envoy's defaults filled in. A count of 0 never ejects.
type Outlier struct {
	Consecutive5xx     uint32
	ConsecutiveGateway uint32
	ConsecutiveLocal   uint32 // only with SplitLocal
	SplitLocal         bool   // split_external_local_origin_errors
	Interval           time.Duration
	BaseEjection       time.Duration
	MaxEjection        time.Duration // max_ejection_time
	MaxEjectionPercent uint32
	AlwaysEjectOne     bool // always_eject_one_host: the first one whatever MaxEjectionPercent says
	// Shares of 100 of the ejections that are carried out.
	Enforce5xx, EnforceGateway, EnforceLocal uint32
}

// RetryBudget is envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget.
type RetryBudget struct {
	Percent        float64
	MinConcurrency uint32
}

// Keepalive is envoy.config.core.v3.TcpKeepalive; zero fields are the system's.
type Keepalive struct {
	On             bool
	Probes         uint32
	Time, Interval time.Duration
}

// Choice is what a request brings to the choice of its host. The zero value brings nothing.
type Choice struct {
	Hash   uint64
	Hashed bool // Hash is one: RingHash and Maglev go by it

	// A retry's (envoy.config.route.v3.RetryPolicy).
	Tried         []*Host // not again, where others can be had
	HostAttempts  int     // host_selection_retry_max_attempts; 0: Tried does not matter to the host
	PriorityEvery int     // previous_priorities.update_frequency; 0: Tried does not matter to the priority

	Original netip.AddrPort // OriginalDst

	Class loop.Class // copies have their own turns, and their own ejections
}

// Result is what became of one attempt at a host, for Cluster.Report.
type Result struct {
	Status    int  // of the final answer; 0: there was none
	Local     bool // with Status 0: it failed before the host could answer (connect, timeout, reset)
	Connected bool // with Local: the attempt had a connection
	Class     loop.Class
}
