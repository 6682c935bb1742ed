// SPDX-License-Identifier: Apache-2.0

// Package mesh is the noun of the control plane: services, endpoints, gateways and HTTP rules in match order, each with
// the resource it came from. It is dialect free: names are resolved, defaults are explicit, order is match order. It
// does not read YAML and it does not know Envoy.
package mesh

// Config is everything but endpoints, as this proxy sees it: what is not exported to its namespace or not imported by
// its Sidecar is not in it. Lists are in contract order: Services by host, Gateways oldest first (creationTimestamp, then
// name, then namespace), VirtualServices as a consumer sees them (private to its namespace, exported to it by name,
// public; each group oldest first), rules and matches in the order they are tried.
type Config struct {
	Services        []*Service
	Gateways        []*Gateway
	VirtualServices []*VirtualService
	// Outbound is what the Sidecar that applies says of hosts that are not known; OutboundUnset if none does.
	Outbound OutboundPolicy
	// Sidecar is what the Sidecar that applies lets the outbound listener know; nil: everything. Gateways know everything.
	Sidecar *SidecarScope
}

// SidecarScope is the part of a Config that the outbound listener knows: what the egress hosts of a Sidecar name. Its lists are in the order of the Config's and hold the same pointers.
// Clusters are those of the Config all the same.
type SidecarScope struct {
	Origin          Ref
	Services        []*Service
	VirtualServices []*VirtualService
}

// OutboundServices are the services that the outbound listener knows.
func (c *Config) OutboundServices() []*Service {
	if c.Sidecar != nil {
		return c.Sidecar.Services
	}
	return c.Services
}

// OutboundVirtualServices are the virtual services that the outbound listener knows.
func (c *Config) OutboundVirtualServices() []*VirtualService {
	if c.Sidecar != nil {
		return c.Sidecar.VirtualServices
	}
	return c.VirtualServices
}

// OutboundPolicy says what becomes of a sidecar's request for a host that is not known.
type OutboundPolicy int

// The policies of Sidecar.outboundTrafficPolicy.mode.
const (
	OutboundUnset OutboundPolicy = iota
	AllowAny                     // it goes where it was going
	RegistryOnly                 // it is answered 502
)

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
	Headless   bool     // Kubernetes, clusterIP None
	Addresses  []string // virtual IPs: cluster IPs, ServiceEntry.addresses (IPs or CIDR blocks)
	// Aliases are Kubernetes services of type ExternalName that name this one: a destination that names an alias means
	// this service, cluster names have this one's host, and requests for the alias' names are requests for it.
	Aliases    []Alias
	Resolution Resolution
	Policy     *TrafficPolicy // of the DestinationRule that applies; nil: none
	Subsets    []Subset       // of the DestinationRules that apply, first definition of a name wins
}

// Alias is another Kubernetes service name of a service, lower case.
type Alias struct {
	Host      string
	Namespace string
}

// Resolution says what the addresses of a service's endpoints are.
type Resolution int

// The resolutions of ServiceEntry that are carried out. Kubernetes services are Static.
const (
	Static        Resolution = iota // IPs and unix sockets
	DNS                             // names, all of whose addresses are endpoints (STRICT_DNS)
	DNSRoundRobin                   // one name, of which the first address is used for new connections (LOGICAL_DNS)
)

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
	Policy *TrafficPolicy // over the service's, block by block; nil: none
}

// Endpoint is one address of a service. Ports holds the port to dial for each service port number.
type Endpoint struct {
	Origin   Ref
	Address  string // IP; a host name where the service's Resolution is one of DNS; unix:///path
	Ports    map[uint32]uint32
	Labels   map[string]string
	Weight   uint32 // 0 means 1
	Locality string // region/zone/subzone, as far as known
	// Unready endpoints get no requests (EndpointSlice conditions.ready false).
	Unready bool
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
	// HTTPSRedirect answers every request that did not come by HTTPS with a redirect to it (tls.httpsRedirect).
	HTTPSRedirect bool
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
