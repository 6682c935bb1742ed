// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

type gateway struct {
	*report
	mesh   *mesh.Gateway
	served bool // its selector holds for this proxy
}

func (t *translation) gateway(p *report, spec *networking.Gateway) {
	r := p.resource
	g := &gateway{report: p, mesh: &mesh.Gateway{Origin: r.Ref(), Name: r.Namespace + "/" + r.Name}}
	t.gateways = append(t.gateways, g)
	g.served = t.opts.Labels == nil || includes(t.opts.Labels, spec.GetSelector())
	if !g.served {
		p.note("spec.selector", "", "this proxy's labels do not match: the gateway is not served here")
	}
	if len(spec.GetServers()) == 0 {
		p.error("spec.servers", "add a server", "gateway must have at least one server")
	}
	names := map[string]bool{}
	for i, s := range spec.GetServers() {
		path := index("spec.servers", i)
		server := mesh.Server{Place: p.at(path), Bind: s.GetBind()}
		plain := t.serverPort(p, path, s, &server)
		if name := s.GetPort().GetName(); name != "" {
			if names[name] {
				p.error(path+".port.name", "give each port a name of its own",
					"port names in servers must be unique: duplicate name %s", name)
			}
			names[name] = true
		}
		if server.Bind != "" {
			if !isIP(server.Bind) {
				p.error(path+".bind", "write an IP address", "%s is not a valid IP", server.Bind)
			}
		}
		if len(s.GetHosts()) == 0 {
			p.error(path+".hosts", `add a host; "*" is any`, "server config must contain at least one host")
		}
		for j, host := range s.GetHosts() {
			server.Hosts = append(server.Hosts, serverHost(p, index(path+".hosts", j), host))
		}
		if plain && !p.dropped[path+".tls"] {
			g.mesh.Servers = append(g.mesh.Servers, server)
		}
	}
}

// serverPort checks a server's port and protocol, and tells whether it is one of plain HTTP.
func (t *translation) serverPort(p *report, path string, s *networking.Server, out *mesh.Server) bool {
	port := s.GetPort()
	if port == nil {
		p.error(path+".port", "write number, name and protocol", "port is required")
		return false
	}
	if !validPort(int64(port.GetNumber())) {
		p.error(path+".port.number", "write a number from 1 to 65535", "port number %d must be in the range 1..65535",
			port.GetNumber())
	}
	if port.GetName() == "" {
		p.error(path+".port.name", "name the port", "port name must be set")
	}
	protocol := strings.ToUpper(port.GetProtocol())
	out.Port = mesh.Port{Number: port.GetNumber(), Name: port.GetName(), Protocol: protocol}
	field := path + ".port.protocol"
	switch protocol {
	case "HTTP", "HTTP2", "GRPC", "GRPC-WEB":
		if tls := s.GetTls(); tls != nil && !tls.GetHttpsRedirect() {
			p.error(path+".tls", "remove it, or use protocol HTTPS",
				"server cannot have TLS settings for plain text HTTP ports")
		}
		if protocol == "HTTP2" || protocol == "GRPC" {
			p.warn(field, "", "HTTP/2 without TLS is not implemented: the port speaks HTTP/1.1")
		}
		return true
	case "HTTPS", "TLS":
		if s.GetTls() == nil {
			p.error(path+".tls", "add tls", "server must have TLS settings for HTTPS/TLS protocols")
		}
		p.unsupported(p.at(field), "protocol "+protocol+" is not implemented, and it decides "+goes)
	case "TCP", "MONGO", "REDIS", "MYSQL":
		p.unsupported(p.at(field), "protocol "+protocol+" is not implemented, and it decides "+goes)
	default:
		p.error(field, "write HTTP", "invalid protocol %q, supported are HTTP, HTTP2, GRPC, GRPC-WEB", port.GetProtocol())
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
	} else if namespace != "*" && !validLabel(namespace) {
		p.error(path, `write a namespace, "." or "*" before the "/"`, "namespace %q of host %q is not valid", namespace, s)
	}
	const fix = `write a host name, "*" or "*.example.com"`
	if problem := validHost(host); problem != "" && !isIP(host) {
		p.error(path, fix, "%s", problem)
	} else if strings.HasPrefix(host, "*") && host != "*" && host[1] != '.' {
		p.error(path, fix, "partial wildcard %q not allowed", host)
	} else if host != "*" && !strings.ContainsAny(host, ".:") {
		p.error(path, `write the full name, or "*"`, "short names (non FQDN) are not allowed")
	}
	return h
}
