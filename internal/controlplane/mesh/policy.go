// SPDX-License-Identifier: Apache-2.0

package mesh

import "time"

// TrafficPolicy is how requests to a service are spread and bounded, as a DestinationRule says it. A nil block is one that
// the resource does not give.
type TrafficPolicy struct {
	Origin           Ref
	Place            Place
	LoadBalancer     *LoadBalancer
	ConnectionPool   *ConnectionPool
	OutlierDetection *OutlierDetection
	RetryBudget      *RetryBudget
	Ports            map[uint32]*TrafficPolicy // portLevelSettings: they replace, fields they leave out fall to defaults
}

// PolicyFor is what holds for requests to one port of a service, through a subset or (nil) not: the settings of the port, if
// there are any, stand for all that is beside them but the budget of retries, first the service's and then, over them,
// the subset's, block by block. Ports of the result is nil; the result is nil if nothing is said. It may share blocks with
// s and is not to be written to.
func (s *Service) PolicyFor(port uint32, subset *Subset) *TrafficPolicy {
	service, _ := s.Policy.at(port)
	if subset == nil || subset.Policy == nil {
		return service
	}
	own, ported := subset.Policy.at(port)
	if service == nil {
		return own
	}
	merged := *service
	merged.Origin, merged.Place = own.Origin, own.Place
	if own.LoadBalancer != nil || ported {
		merged.LoadBalancer = own.LoadBalancer
	}
	if own.ConnectionPool != nil || ported {
		merged.ConnectionPool = own.ConnectionPool
	}
	if own.OutlierDetection != nil || ported {
		merged.OutlierDetection = own.OutlierDetection
	}
	if own.RetryBudget != nil {
		merged.RetryBudget = own.RetryBudget
	}
	return &merged
}

// at is the policy of one port, and whether the port has settings of its own: these stand for the whole policy.
func (p *TrafficPolicy) at(port uint32) (*TrafficPolicy, bool) {
	if p == nil {
		return nil, false
	}
	if own := p.Ports[port]; own != nil {
		return own, true
	}
	if p.Ports == nil {
		return p, false
	}
	whole := *p
	whole.Ports = nil
	return &whole, false
}

// LoadBalancer says which endpoint is next.
type LoadBalancer struct {
	Place    Place
	Simple   SimpleLB
	Hash     *ConsistentHash // instead of Simple
	Locality *LocalityLB     // nil: the default
	Warmup   *Warmup
}

// SimpleLB is LoadBalancerSettings.simple.
type SimpleLB int

// The simple balancers. LeastRequest stands for UNSPECIFIED and LEAST_CONN too.
const (
	LeastRequest SimpleLB = iota
	RoundRobin
	Random
	Passthrough
)

// ConsistentHash sends requests with the same key to the same endpoint. Exactly one of Header, Cookie, SourceIP and Query
// is the key.
type ConsistentHash struct {
	Header   string
	Cookie   *HashCookie
	SourceIP bool
	Query    string

	Maglev      bool   // else a ring hash
	MinimumRing uint64 // ring hash; 0: Istio's default
	TableSize   uint64 // maglev; 0: Envoy's default
}

// HashCookie names the cookie that is the key. With TTL it is made for clients without it.
type HashCookie struct {
	Name, Path string
	TTL        *time.Duration // nil: not made; 0: a session cookie
}

// LocalityLB prefers endpoints that are near. At most one of Distribute, Failover and FailoverPriority is given.
type LocalityLB struct {
	Enabled          *bool
	Distribute       []Distribute
	Failover         []Failover
	FailoverPriority []string
}

// Distribute says which share of requests from a locality goes where. Weights are percent.
type Distribute struct {
	From string
	To   map[string]uint32
}

// Failover names the region that takes over from another.
type Failover struct {
	From, To string
}

// Warmup gives new endpoints less at first.
type Warmup struct {
	Duration       time.Duration
	MinimumPercent float64 // 0: 10
	Aggression     float64 // 0: 1
}

// ConnectionPool bounds connections and requests. Nil and zero are not given.
type ConnectionPool struct {
	Place Place

	MaxConnections        uint32
	ConnectTimeout        time.Duration
	MaxConnectionDuration time.Duration
	TCPIdleTimeout        time.Duration // negative: none, which is not the default
	Keepalive             *Keepalive

	MaxPending               uint32 // http1MaxPendingRequests
	MaxRequests              uint32 // http2MaxRequests: it bounds HTTP/1.1 requests too
	MaxRequestsPerConnection uint32
	MaxRetries               uint32
	IdleTimeout              time.Duration
}

// Keepalive is TCP's. Zero fields are the system's.
type Keepalive struct {
	Probes   uint32
	Time     time.Duration
	Interval time.Duration
}

// OutlierDetection takes endpoints that fail out for a time. Nil fields are not given.
type OutlierDetection struct {
	Place                    Place
	SplitLocal               bool
	ConsecutiveLocal         *uint32
	ConsecutiveGatewayErrors *uint32
	Consecutive5xx           *uint32
	Interval                 time.Duration // 0: Envoy's
	BaseEjectionTime         time.Duration // 0: Envoy's
	MaxEjectionPercent       int32         // 0: Envoy's 10
	MinHealthPercent         int32
}

// RetryBudget bounds retries by what is active.
type RetryBudget struct {
	Percent        *float64 // nil: 20
	MinConcurrency uint32   // 0: 3
}
