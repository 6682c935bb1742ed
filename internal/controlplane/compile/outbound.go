// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// meshGateway is the name virtual services use for sidecars.
const meshGateway = "mesh"

// defaultPort is that of a Host without one.
const defaultPort = 80

// outboundHost is a virtual host in the making, with the domains it would like. Full names go before short ones.
type outboundHost struct {
	name   string
	origin mesh.Ref
	full   []string
	short  []string
	routes []*routev3.Route
	count  bool // include_request_attempt_count: it has an upstream
}

// outboundRoutes compiles the routes of the outbound listener: a virtual host for each service and port, one for each
// host of a virtual service that is no service, and a last one that refuses all else.
func (k *compiler) outboundRoutes() *routev3.RouteConfiguration {
	rules := k.meshRules()
	var hosts []*outboundHost
	for _, s := range k.sorted {
		hosts = append(hosts, k.serviceHosts(s, rules.of(s.Host))...)
	}
	for name, vs := range rules.byHost {
		if !k.hasServiceUnder(name) {
			hosts = append(hosts, k.foreignHost(name, vs))
		}
	}
	slices.SortStableFunc(hosts, func(a, b *outboundHost) int { return strings.Compare(a.name, b.name) })

	rc := &routev3.RouteConfiguration{Name: outboundRoute, ValidateClusters: wrapperspb.Bool(false)}
	domains := k.claim(hosts)
	for i, h := range hosts {
		if len(domains[i]) == 0 || len(h.routes) == 0 {
			continue
		}
		rc.VirtualHosts = append(rc.VirtualHosts, &routev3.VirtualHost{
			Name:                       h.name,
			Domains:                    domains[i],
			Routes:                     h.routes,
			IncludeRequestAttemptCount: h.count,
		})
	}
	rc.VirtualHosts = append(rc.VirtualHosts, &routev3.VirtualHost{
		Name:    "block_all",
		Domains: []string{"*"},
		Routes:  []*routev3.Route{directResponse("block_all", 502, "")},
	})
	return rc
}

// meshRules are the virtual services for sidecars, one for each host.
type meshRules struct {
	byHost    map[string]*mesh.VirtualService
	wildcards []string // the hosts that are, longest first
}

func (k *compiler) meshRules() meshRules {
	rules := meshRules{byHost: map[string]*mesh.VirtualService{}}
	for _, vs := range k.bound[meshGateway] {
		for _, host := range vs.Hosts {
			first, ok := rules.byHost[host]
			if !ok {
				rules.byHost[host] = vs
				if strings.HasPrefix(host, "*") {
					rules.wildcards = append(rules.wildcards, host)
				}
			} else if first != vs {
				k.problemAt(mesh.Warning, vs.Origin, vs.HostsAt,
					fmt.Sprintf("host %q already has the rules of %s, which is older: these are not used",
						host, first.Origin),
					"put the rules of a host into one virtual service")
			}
		}
	}
	slices.SortFunc(rules.wildcards, bySpecificity)
	return rules
}

// of finds the rules of a service: those for its own name, else for the longest wildcard over it.
func (r meshRules) of(host string) *mesh.VirtualService {
	if vs, ok := r.byHost[host]; ok {
		return vs
	}
	i := slices.IndexFunc(r.wildcards, func(pattern string) bool { return covers(pattern, host) })
	if i < 0 {
		return nil
	}
	return r.byHost[r.wildcards[i]]
}

// serviceHosts makes a virtual host for each HTTP port of a service, and one that answers 404 for all other ports.
func (k *compiler) serviceHosts(s *mesh.Service, vs *mesh.VirtualService) []*outboundHost {
	ports := httpPorts(s)
	if len(ports) == 0 {
		return nil
	}
	var hosts []*outboundHost
	names := k.shortNames(s)
	portless := false
	for _, p := range ports {
		h := &outboundHost{name: fmt.Sprintf("%s:%d", s.Host, p.Number), origin: s.Origin, count: true}
		h.ports(s.Host, names, fmt.Sprint(p.Number))
		if p.Number == defaultPort || len(ports) == 1 {
			h.ports(s.Host, names, "")
			portless = true
		}
		if vs != nil {
			h.routes = k.routes(vs, p.Number).list
			h.origin = vs.Origin
		}
		if len(h.routes) == 0 {
			h.routes = []*routev3.Route{k.defaultRoute(s, p)}
		}
		hosts = append(hosts, h)
	}
	other := &outboundHost{name: s.Host + ":*", origin: s.Origin}
	body := fmt.Sprintf("%s serves HTTP on these ports only: %s\n", s.Host, portList(ports))
	other.routes = []*routev3.Route{directResponse("unknown_port", 404, body)}
	if !strings.HasPrefix(s.Host, "*") { // a domain has one wildcard at most
		other.ports(s.Host, names, "*")
	}
	if !portless {
		other.ports(s.Host, names, "")
	}
	return append(hosts, other)
}

// ports adds the service's names with a port; none if it is empty.
func (h *outboundHost) ports(host string, short []string, port string) {
	if port != "" {
		port = ":" + port
	}
	h.full = append(h.full, host+port)
	for _, name := range short {
		h.short = append(h.short, name+port)
	}
}

// shortNames are the other names of a Kubernetes service; the bare one only in the proxy's own namespace.
func (k *compiler) shortNames(s *mesh.Service) []string {
	if !s.Kubernetes {
		return nil
	}
	qualified, ok := strings.CutSuffix(s.Host, ".svc."+k.opts.Domain)
	if !ok {
		return nil
	}
	var names []string
	if name, ok := strings.CutSuffix(qualified, "."+s.Namespace); ok && s.Namespace == k.opts.Namespace {
		names = append(names, name)
	}
	return append(names, qualified+".svc", qualified)
}

func (k *compiler) hasServiceUnder(name string) bool {
	if !strings.HasPrefix(name, "*") {
		return k.services[name] != nil
	}
	return slices.ContainsFunc(k.sorted, func(s *mesh.Service) bool { return covers(name, s.Host) })
}

// foreignHost is the virtual host of rules whose host no service has: only for the default port.
func (k *compiler) foreignHost(host string, vs *mesh.VirtualService) *outboundHost {
	host = domain(host)
	h := &outboundHost{name: fmt.Sprintf("%s:%d", host, defaultPort), origin: vs.Origin, count: true}
	h.ports(host, nil, fmt.Sprint(defaultPort))
	h.ports(host, nil, "")
	h.routes = k.routes(vs, defaultPort).list
	return h
}

// claim gives every domain to one host: full names first, in order. What is lost is said, but for "*": that is the last
// virtual host's, and a resource that asks for it on sidecars has been refused before.
func (k *compiler) claim(hosts []*outboundHost) [][]string {
	owner := map[string]*outboundHost{"*": nil}
	domains := make([][]string, len(hosts))
	take := func(i int, wanted []string) {
		for _, d := range wanted {
			first, taken := owner[d]
			if taken && first != nil {
				k.problem(mesh.Problem{
					Severity: mesh.Warning,
					Resource: hosts[i].origin,
					Message:  fmt.Sprintf("requests for %q go to %s, not to %s", d, first.origin, hosts[i].name),
					Fix:      "use the full name in the request",
				})
			}
			if !taken {
				owner[d] = hosts[i]
				domains[i] = append(domains[i], d)
			}
		}
	}
	for i, h := range hosts {
		take(i, h.full)
	}
	for i, h := range hosts {
		take(i, h.short)
	}
	return domains
}

// defaultRoute sends all requests for a service's port to it, as if it had rules that say so.
func (k *compiler) defaultRoute(s *mesh.Service, p mesh.Port) *routev3.Route {
	return &routev3.Route{
		Name:  "default",
		Match: routeMatch(nil),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: clusterName(p.Number, "", s.Host)},
			Timeout:          durationpb.New(0),
			RetryPolicy:      k.retry,
		}},
		Decorator: &routev3.Decorator{Operation: fmt.Sprintf("%s:%d/*", s.Host, p.Number)},
	}
}

func directResponse(name string, status uint32, body string) *routev3.Route {
	d := &routev3.DirectResponseAction{Status: status}
	if body != "" {
		d.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: body}}
	}
	return &routev3.Route{
		Name:   name,
		Match:  routeMatch(nil),
		Action: &routev3.Route_DirectResponse{DirectResponse: d},
	}
}
