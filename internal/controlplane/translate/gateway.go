// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

type gateway struct {
	*report
	mesh   *mesh.Gateway
	served bool // its selector holds for this proxy
}

func readGateway(p *report, spec *networking.Gateway, opts Options) *gateway {
	r := p.resource
	g := &gateway{report: p, mesh: &mesh.Gateway{Origin: r.Ref(), Name: r.Namespace + "/" + r.Name}}
	g.served = opts.Labels == nil || includes(opts.Labels, spec.GetSelector())
	if !g.served {
		p.note("spec.selector", "", "this proxy's labels do not match: the gateway is not served here")
	}
	if !validAnyLabel(r.Name) && validSubdomain(r.Name) {
		p.error("metadata.name", "use no dots", "invalid gateway name: %q", r.Name)
	}
	if len(spec.GetServers()) == 0 {
		p.error("spec.servers", "add a server", "gateway must have at least one server")
	}
	names := map[string]bool{}
	for i, s := range spec.GetServers() {
		path := index("spec.servers", i)
		server := mesh.Server{
			Place: p.at(path), Bind: s.GetBind(), HTTPSRedirect: s.GetTls().GetHttpsRedirect(),
			Port: mesh.Port{
				Number: s.GetPort().GetNumber(), Name: s.GetPort().GetName(),
				Protocol: strings.ToUpper(s.GetPort().GetProtocol()),
			},
		}
		known := p.serverPort(path, s)
		p.serverTLS(path, s)
		if name := s.GetPort().GetName(); name != "" {
			if names[name] {
				p.error(path+".port.name", "give each port a name of its own",
					"port names in servers must be unique: duplicate name %s", name)
			}
			names[name] = true
		}
		if len(s.GetHosts()) == 0 {
			p.error(path+".hosts", `add a host; "*" is any`, "server config must contain at least one host")
		}
		for j, host := range s.GetHosts() {
			server.Hosts = append(server.Hosts, serverHost(p, index(path+".hosts", j), host))
		}
		if known && p.served(path, server) {
			g.mesh.Servers = append(g.mesh.Servers, server)
		}
	}
	return g
}

// gatewayProtocols are those that a server may have. Only isHTTP of them are served.
var gatewayProtocols = []string{
	"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "MONGO", "REDIS", "MYSQL",
}

// serverPort checks a server's port and address, and tells whether its protocol is one there is.
func (p *report) serverPort(path string, s *networking.Server) bool {
	port := s.GetPort()
	if port == nil {
		p.error(path+".port", "write number, name and protocol", "port is required")
		return false
	}
	socket := strings.HasPrefix(s.GetBind(), "unix://")
	switch {
	case socket && port.GetNumber() != 0:
		p.error(path+".port.number", "write 0", "port number must be 0 for unix domain socket")
	case socket:
		p.error(path+".bind", "write an IP address", "listening on a unix domain socket is not implemented")
	case s.GetBind() != "" && !isIP(s.GetBind()):
		p.error(path+".bind", "write an IP address", "%s is not a valid IP", s.GetBind())
	}
	if !socket && !validPort(int64(port.GetNumber())) {
		p.error(path+".port.number", "write a number from 1 to 65535", "port number %d must be in the range 1..65535",
			port.GetNumber())
	}
	if port.GetTargetPort() > 0 {
		p.error(path+".port.targetPort", "remove it; --port maps ports", "targetPort has no impact on Gateways")
	}
	if port.GetName() == "" {
		p.error(path+".port.name", "name the port", "port name must be set")
	}
	if !slices.Contains(gatewayProtocols, strings.ToUpper(port.GetProtocol())) {
		p.error(path+".port.protocol", "write HTTP", "invalid protocol %q, supported are %s", port.GetProtocol(),
			strings.Join(gatewayProtocols, ", "))
		return false
	}
	return true
}

// served tells whether a server is one of plain HTTP. One that is not is left out, and nothing listens for it: the
// others of its gateway are served. That is unresolved and no error, as most gateways have an HTTPS server beside that
// of HTTP.
func (p *report) served(path string, s mesh.Server) bool {
	field := path + ".port.protocol"
	switch {
	case isHTTP(s.Port.Protocol):
		if s.Port.Protocol == "HTTP2" || s.Port.Protocol == "GRPC" {
			p.warn(field, "", "HTTP/2 without TLS is not implemented: the port speaks HTTP/1.1")
		}
		return true
	case p.allowed:
		p.warn(field, "", "protocol %s is not supported yet: the server is left out", s.Port.Protocol)
	default:
		p.unresolved(field, "remove it, or accept that by --allow-unsupported Gateway",
			"protocol %s is not supported yet: the server is left out, and nothing listens on port %d for it",
			s.Port.Protocol, s.Port.Number)
	}
	return false
}

// serverHost reads [namespace/]host.
func serverHost(p *report, path, s string) mesh.ServerHost {
	namespace, host, found := strings.Cut(s, "/")
	if !found {
		namespace, host = "*", s
	}
	h := mesh.ServerHost{Namespace: namespace, Host: strings.ToLower(host)}
	if namespace == "." {
		h.Namespace = p.resource.Namespace
	} else if namespace != "*" && !validAnyLabel(namespace) {
		p.error(path, `write a namespace, "." or "*" before the "/"`, "namespace %q of host %q is not valid", namespace, s)
	}
	const fix = `write a host name, "*" or "*.example.com"`
	if problem := validHost(host); problem != "" && !isIP(host) {
		p.error(path, hostFix(host, fix), "%s", problem)
	} else if strings.HasPrefix(host, "*") && host != "*" && host[1] != '.' {
		p.error(path, fix, "partial wildcard %q not allowed", host)
	} else if host != "*" && !strings.Contains(host, ".") { // an IPv6 address too, as in Istio
		p.error(path, `write the full name, or "*"`, "short names (non FQDN) are not allowed")
	}
	return h
}
