// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

func readServiceEntry(p *report, spec *networking.ServiceEntry, _ Options) *service {
	s := &service{
		report: p, namespace: p.resource.Namespace,
		external: spec.GetLocation() == networking.ServiceEntry_MESH_EXTERNAL,
		exports:  p.exportTo("spec.exportTo", spec.GetExportTo(), true),
		selector: maps.Clone(spec.GetWorkloadSelector().GetLabels()), selects: spec.GetWorkloadSelector() != nil,
	}
	s.entryHosts(spec.GetHosts(), spec.GetResolution())
	s.entryAddresses(spec)
	for i, port := range spec.GetPorts() {
		s.entryPort(index("spec.ports", i), port)
	}
	s.entryResolution(spec)
	if len(spec.GetHosts()) > 1 && spec.GetResolution() != networking.ServiceEntry_NONE {
		s.tellable(spec.GetPorts())
	}
	if s.selects {
		p.selector("spec.workloadSelector.labels", s.selector, "service entry: workload selector specified without labels, "+
			"will be applied to all services in namespace")
		if len(spec.GetEndpoints()) > 0 {
			p.error("spec.workloadSelector", "keep one of them",
				"only one of WorkloadSelector or Endpoints is allowed in Service Entry")
		}
	}
	for i, e := range spec.GetEndpoints() {
		if endpoint, ok := s.inlineEndpoint(index("spec.endpoints", i), e); ok {
			s.inline = append(s.inline, endpoint)
		}
	}
	return s
}

func (s *service) entryResolution(spec *networking.ServiceEntry) {
	const at = "spec.resolution"
	some := len(spec.GetEndpoints()) > 0
	switch spec.GetResolution() {
	case networking.ServiceEntry_STATIC:
	case networking.ServiceEntry_DNS, networking.ServiceEntry_DNS_ROUND_ROBIN:
		s.resolution = mesh.DNS
		if spec.GetResolution() == networking.ServiceEntry_DNS_ROUND_ROBIN {
			s.resolution = mesh.DNSRoundRobin
			if len(spec.GetEndpoints()) > 1 {
				s.error("spec.endpoints", "keep one, or write resolution: DNS",
					"there must only be 0 or 1 endpoint for resolution mode %s", spec.GetResolution())
			}
		}
		s.hostless = !some && !s.selects
		for i, host := range spec.GetHosts() {
			if !some && strings.HasPrefix(host, "*") {
				s.error(index("spec.hosts", i), "name the host, or add endpoints", "hosts must be FQDN or contain only prefix "+
					"wildcards if no endpoints are provided for resolution mode %s", spec.GetResolution())
				break
			}
		}
	case networking.ServiceEntry_NONE:
		if some {
			s.error(at, "write STATIC for addresses, DNS for names", "no endpoints should be provided for resolution type none")
			return
		}
		s.unsupported(s.at(at), "resolution NONE is not implemented, and it decides "+goes+
			": to the address that the client dialed, which a proxy that was dialed itself does not know")
	default:
		s.unsupported(s.at(at), "resolution "+spec.GetResolution().String()+" is not implemented, and it decides "+goes+
			": to whatever the name in each request means")
	}
}

// tellable checks that the hosts of an entry with several can be told apart on each port.
func (s *service) tellable(ports []*networking.ServicePort) {
	for i, port := range ports {
		switch protocol := strings.ToUpper(port.GetProtocol()); {
		case isHTTP(protocol), protocol == "HTTPS", protocol == "TLS":
		default:
			s.error(index("spec.ports", i)+".protocol", "write HTTP, or keep one host",
				"multiple hosts provided with non-HTTP, non-TLS ports")
			return
		}
	}
}

func (s *service) entryHosts(hosts []string, resolution networking.ServiceEntry_Resolution) {
	if len(hosts) == 0 {
		s.error("spec.hosts", "add a host", "service entry must have at least one host")
	}
	for i, host := range hosts {
		at := index("spec.hosts", i)
		switch problem := validHost(host); {
		case host == "*":
			s.error(at, "name the host", "invalid host %s", host)
			continue
		case problem != "":
			s.error(at, hostFix(host, "write a host name"), "%s", problem)
			continue
		case !strings.ContainsAny(host, ".:"):
			s.warn(at, "give it a name with a dot", "no destination can name it: short names mean Kubernetes services")
		case strings.HasPrefix(host, "*") && host[1] != '.' && resolution != networking.ServiceEntry_DYNAMIC_DNS:
			s.warn(at, `write "*.domain"`, "partial wildcard %q not allowed", host)
		}
		host = strings.ToLower(host)
		if !slices.ContainsFunc(s.hosts, func(h serviceHost) bool { return h.name == host }) {
			s.hosts = append(s.hosts, serviceHost{host, at})
		}
	}
}

// entryAddresses reads the virtual addresses: IPs and CIDR blocks.
func (s *service) entryAddresses(spec *networking.ServiceEntry) {
	for i, address := range spec.GetAddresses() {
		at := index("spec.addresses", i)
		block, err := netip.ParsePrefix(address)
		switch ip, bad := netip.ParseAddr(address); {
		case bad == nil && ip.Zone() == "":
			s.addresses = append(s.addresses, ip.Unmap().String())
		case !strings.Contains(address, "/"):
			s.error(at, "write an IP address or a CIDR block", "%s is not a valid IP", address)
		case err != nil:
			s.error(at, "write an IP address or a CIDR block", "%v is not a valid CIDR block", address)
		case spec.GetResolution() != networking.ServiceEntry_NONE && spec.GetResolution() != networking.ServiceEntry_STATIC:
			s.error(at, "write IP addresses", "CIDR addresses are allowed only for NONE/STATIC resolution types")
		case block.IsSingleIP():
			s.addresses = append(s.addresses, block.Addr().String())
		default:
			s.addresses = append(s.addresses, address)
			s.note(at, "", "requests for addresses of a block are not told apart by their Host: they are not routed here")
		}
	}
}

func (s *service) entryPort(at string, port *networking.ServicePort) {
	if !validPort(int64(port.GetNumber())) {
		s.error(at+".number", "write a number from 1 to 65535", "port number %d must be in the range 1..65535",
			port.GetNumber())
		return
	}
	if !validAnyLabel(port.GetName()) {
		s.error(at+".name", "use letters, digits and '-'", "invalid port name: %s", port.GetName())
	}
	target := port.GetTargetPort()
	if target > 65535 {
		s.error(at+".targetPort", "write a number from 1 to 65535", "port number %d must be in the range 1..65535", target)
	}
	if target == 0 {
		target = port.GetNumber()
	}
	protocol := strings.ToUpper(port.GetProtocol())
	if protocol == "" {
		protocol = serviceProtocol("", "", port.GetName(), port.GetNumber())
	} else if !slices.Contains(protocols, protocol) {
		s.error(at+".protocol", "write HTTP", "unsupported protocol: %s", port.GetProtocol())
	}
	s.addPort(servicePort{
		Port: mesh.Port{Number: port.GetNumber(), Name: port.GetName(), Protocol: protocol}, path: at, target: target,
	}, "service entry port %d already defined", "service entry port name %q already defined")
}

func (s *service) inlineEndpoint(at string, e *networking.WorkloadEntry) (mesh.Endpoint, bool) {
	address, ok := s.address(at+".address", e)
	out := mesh.Endpoint{
		Origin: s.resource.Ref(), Address: address, Ports: map[uint32]uint32{}, Labels: maps.Clone(e.GetLabels()),
		Weight: e.GetWeight(), Locality: locality(e.GetLocality(), e.GetLabels()),
	}
	s.labels(at+".labels", e.GetLabels())
	for _, name := range slices.Sorted(maps.Keys(e.GetPorts())) {
		if !slices.ContainsFunc(s.ports, func(p servicePort) bool { return p.Name == name }) {
			s.error(at+".ports["+name+"]", "name it as in spec.ports", "endpoint port %v is not defined by the service entry",
				e.GetPorts()[name])
		}
	}
	s.workloadPorts(at+".ports", e.GetPorts())
	for _, port := range s.ports {
		out.Ports[port.Number] = port.target
		if n := e.GetPorts()[port.Name]; n != 0 {
			out.Ports[port.Number] = n
		}
	}
	switch isUnix, isName := isUnix(address), ok && !isUnix(address) && !isIP(address); {
	case s.resolution == mesh.Static && isName:
		s.error(at+".address", "write an IP address, or resolution: DNS", "endpoint address %q is not a valid IP address",
			e.GetAddress())
	case s.resolution != mesh.Static && isUnix:
		s.error(at+".address", "write a name, or resolution: STATIC",
			"endpoint address %q is not a valid FQDN or an IP address", e.GetAddress())
	case isUnix && len(s.ports) != 1:
		s.error("spec.ports", "keep one port", "exactly 1 service port required for unix endpoints")
	}
	return out, ok
}
