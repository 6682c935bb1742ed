// SPDX-License-Identifier: Apache-2.0

// Package mesh is the noun of the control plane: services, endpoints, gateways and HTTP rules in match order, each with
// the resource it came from. It is dialect free: names are resolved, defaults are explicit, order is match order. It
// does not read YAML and it does not know Envoy.
package mesh

import "time"

// Config is everything but endpoints. Lists are in contract order: Services by host, Gateways and VirtualServices
// oldest first (creationTimestamp, then name, then namespace), rules and matches in the order they are tried.
type Config struct {
	Services        []*Service
	Gateways        []*Gateway
	VirtualServices []*VirtualService
}

// Endpoints lists the addresses behind each service host, all subsets together, in source order.
type Endpoints map[string][]Endpoint

// Service is something a route or a mirror can name: a Kubernetes Service or one host of a ServiceEntry. Host is its
// fully qualified name, lower case.
type Service struct {
	Origin    Ref
	Host      string
	Namespace string
	Ports     []Port
	External  bool // ServiceEntry with location MESH_EXTERNAL
	// Short names other than Host that find it from Namespace are derived by compile; only Kubernetes services have
	// them.
	Kubernetes bool
	Subsets    []Subset // of the DestinationRules that apply, first definition of a name wins
}

// Port is one port of a service or of a gateway server. Protocol is upper case: HTTP, HTTP2, GRPC, TCP, ...
type Port struct {
	Number   uint32
	Name     string
	Protocol string
}

// Subset is a named part of a service's endpoints: those whose labels include all of Labels.
type Subset struct {
	Origin Ref
	Name   string
	Labels map[string]string
}

// Endpoint is one address of a service. Ports holds the port to dial for each service port number.
type Endpoint struct {
	Origin  Ref
	Address string // IP
	Ports   map[uint32]uint32
	Labels  map[string]string
	Weight  uint32 // 0 means 1
}

// Gateway is one Istio Gateway that this proxy serves (its selector matched).
type Gateway struct {
	Origin  Ref
	Name    string // namespace/name
	Servers []Server
}

// Place is where something stands in its resource: the path of the field as the user wrote it, and its line in the file.
// Both are zero where only the resource is known.
type Place struct {
	Field string
	Line  int
}

// Server is one plain-text HTTP server of a gateway. Bind is empty unless the resource sets it.
type Server struct {
	Place Place
	Port  Port
	Bind  string
	Hosts []ServerHost
}

// ServerHost is one entry of Server.hosts: Namespace is "*" (any) or a namespace, "." already resolved.
type ServerHost struct {
	Namespace string
	Host      string
}

// VirtualService holds the HTTP rules of one resource. Hosts are resolved and lower case.
type VirtualService struct {
	Origin    Ref
	Name      string
	Namespace string
	Hosts     []string
	HostsAt   Place
	Gateways  []string // namespace/name, or "mesh" for sidecars; never empty
	Rules     []Rule
}

// Rule is one entry of spec.http.
type Rule struct {
	Place   Place
	Name    string
	Matches []Match // none: matches everything
	Route   []Destination
	Mirrors []Mirror // mirror first, then mirrors
	Timeout time.Duration
}

// Match is one entry of http.match: all its conditions hold.
type Match struct {
	Place   Place
	Name    string
	URI     *StringMatch
	Method  *StringMatch
	Headers []HeaderMatch // by header name
}

// HeaderMatch is a condition on one request header; Value nil means the header is present.
type HeaderMatch struct {
	Name  string
	Value *StringMatch
}

// StringMatch has exactly one field that counts, told by Kind.
type StringMatch struct {
	Kind  MatchKind
	Value string
}

// MatchKind says how a StringMatch compares.
type MatchKind int

// The kinds Istio has. Regex is RE2 and must match the whole value.
const (
	Exact MatchKind = iota
	Prefix
	Regex
)

// Destination is a resolved host with a port and, in a route, a weight. Port is 0 when the resource gave none: compile
// fills it by what the listener is (semantics: explicit, else the service's only port, else the listener's port).
type Destination struct {
	Place  Place
	Host   string
	Subset string
	Port   uint32
	Weight int32
}

// Mirror is one mirror policy of a rule. Numerator over Denominator is the share; an explicit zero in the resource gives
// no Mirror at all.
type Mirror struct {
	Destination Destination
	Numerator   uint32
	Denominator Denominator
}

// Denominator is Envoy's: the seed values of envoy.type.v3.FractionalPercent.
type Denominator int

// The denominators Istio emits.
const (
	Hundred Denominator = iota
	Million
)
