// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"net/netip"
	"time"
)

// Config is one cluster's immutable settings (envoy.config.cluster.v3.Cluster). Live state (hosts' pools, counters) is
// kept apart and survives a change of it.
type Config struct {
	Name           string
	ConnectTimeout time.Duration // 0: 5 s, Envoy's default
	Policy         Policy
	ServiceName    string     // eds_cluster_config.service_name: SetEndpoints fills the hosts
	Static         []Endpoint // STATIC clusters: load_assignment
	EDS            bool

	// circuit_breakers.thresholds of priority DEFAULT; 0 is none allowed, Unlimited no limit.
	MaxConnections uint32
	MaxPending     uint32
	MaxRequests    uint32
	MaxRetries     uint32
}

// Unlimited is Istio's way to write "no limit".
const Unlimited = 1<<32 - 1

// Endpoint is one address of a cluster. Weight 0 means 1.
type Endpoint struct {
	Addr   netip.AddrPort
	Weight uint32
}

// Policy picks a host for a request.
type Policy uint8

// The policies of envoy.config.cluster.v3.Cluster.LbPolicy that are implemented.
const (
	LeastRequest Policy = iota // two random choices, the one with fewer active requests
	RoundRobin
	Random
)
