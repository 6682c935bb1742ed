// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// service is a Kubernetes Service or a ServiceEntry, which may have several hosts.
type service struct {
	*report
	hosts      []serviceHost
	namespace  string
	kubernetes bool
	external   bool
	ports      []servicePort
	selector   map[string]string // picks WorkloadEntries of the namespace; empty: none
	inline     []mesh.Endpoint   // of a ServiceEntry
	remote     bool              // its addresses are elsewhere (an allowed ExternalName): none is no surprise
}

// serviceHost is a name of a service, and the field that gives it.
type serviceHost struct{ name, path string }

// servicePort is a port and what to dial for it.
type servicePort struct {
	mesh.Port
	path       string
	target     uint32 // 0: targetName
	targetName string
}

func (t *translation) kubernetesService(p *report, spec *corev1.ServiceSpec) {
	r := p.resource
	s := &service{
		report: p, namespace: r.Namespace, kubernetes: true, selector: spec.Selector,
		hosts:  []serviceHost{{t.opts.serviceHost(r.Name, r.Namespace), "metadata.name"}},
		remote: spec.Type == corev1.ServiceTypeExternalName,
	}
	t.services = append(t.services, s)
	if to, ok := r.Annotations["networking.istio.io/exportTo"]; ok && strings.TrimSpace(to) != "*" {
		p.unsupported(p.at("metadata.annotations[networking.istio.io/exportTo]"),
			"exportTo is not implemented, and it decides "+goes)
	}
	for i, port := range spec.Ports {
		at := index("spec.ports", i)
		app := ""
		if port.AppProtocol != nil {
			app = *port.AppProtocol
		}
		out := servicePort{path: at, target: uint32(max(port.TargetPort.IntVal, 0)), targetName: port.TargetPort.StrVal}
		if !validPort(int64(port.Port)) {
			p.error(at+".port", "write a number from 1 to 65535", "port number %d must be in the range 1..65535", port.Port)
			continue
		}
		if out.target > 65535 || port.TargetPort.IntVal < 0 {
			p.error(at+".targetPort", "write a number from 1 to 65535",
				"port number %d must be in the range 1..65535", port.TargetPort.IntVal)
		}
		if out.target == 0 && out.targetName == "" {
			out.target = uint32(port.Port)
		}
		out.Port = mesh.Port{Number: uint32(port.Port), Name: port.Name}
		out.Protocol = serviceProtocol(string(port.Protocol), app, port.Name, out.Number)
		s.addPort(out, "service port %d already defined", "service port name %q already defined")
	}
}

// addPort adds a port whose number and name are not taken. Requests have nothing to do with a port of UDP or SCTP.
func (s *service) addPort(port servicePort, takenNumber, takenName string) {
	if port.Protocol == "UDP" || port.Protocol == "SCTP" {
		return
	}
	for _, other := range s.ports {
		if other.Number == port.Number {
			s.error(port.path, "give it another number", takenNumber, port.Number)
			return
		}
		if other.Name == port.Name {
			s.error(port.path, "give it another name", takenName, port.Name)
			return
		}
	}
	if port.Protocol == "HTTP2" || port.Protocol == "GRPC" {
		s.warn(port.path, "", "HTTP/2 to upstreams is not implemented: the port is spoken to by HTTP/1.1")
	}
	s.ports = append(s.ports, port)
}

func (t *translation) serviceEntry(p *report, spec *networking.ServiceEntry) {
	r := p.resource
	s := &service{
		report: p, namespace: r.Namespace, external: spec.GetLocation() == networking.ServiceEntry_MESH_EXTERNAL,
		selector: spec.GetWorkloadSelector().GetLabels(),
	}
	t.services = append(t.services, s)
	s.entryHosts(spec.GetHosts())
	for i, port := range spec.GetPorts() {
		s.entryPort(index("spec.ports", i), port)
	}
	switch spec.GetResolution() {
	case networking.ServiceEntry_STATIC:
	case networking.ServiceEntry_NONE:
		if len(spec.GetEndpoints()) > 0 {
			p.error("spec.resolution", "write STATIC", "no endpoints should be provided for resolution type none")
			break
		}
		fallthrough
	default:
		p.unsupported(p.at("spec.resolution"),
			"resolution "+spec.GetResolution().String()+" is not implemented, and it decides "+goes)
	}
	if spec.GetWorkloadSelector() != nil && len(spec.GetEndpoints()) > 0 {
		p.error("spec.workloadSelector", "keep one of them",
			"only one of WorkloadSelector or Endpoints is allowed in Service Entry")
	}
	for i, e := range spec.GetEndpoints() {
		if endpoint, ok := s.inlineEndpoint(index("spec.endpoints", i), e); ok {
			s.inline = append(s.inline, endpoint)
		}
	}
}

func (s *service) entryHosts(hosts []string) {
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
			s.error(at, "write a host name", "%s", problem)
			continue
		case !strings.ContainsAny(host, ".:"):
			s.warn(at, "give it a name with a dot", "no destination can name it: short names mean Kubernetes services")
		}
		host = strings.ToLower(host)
		if !slices.ContainsFunc(s.hosts, func(h serviceHost) bool { return h.name == host }) {
			s.hosts = append(s.hosts, serviceHost{host, at})
		}
	}
}

func (s *service) entryPort(at string, port *networking.ServicePort) {
	if !validPort(int64(port.GetNumber())) {
		s.error(at+".number", "write a number from 1 to 65535", "port number %d must be in the range 1..65535",
			port.GetNumber())
		return
	}
	if !validLabel(port.GetName()) {
		s.error(at+".name", "use lower case letters, digits and '-'", "invalid port name: %s", port.GetName())
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
	address, ok := s.address(at+".address", e.GetAddress())
	out := mesh.Endpoint{
		Origin: s.resource.Ref(), Address: address, Ports: map[uint32]uint32{}, Labels: maps.Clone(e.GetLabels()),
		Weight: e.GetWeight(),
	}
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
	return out, ok
}

// workloadPorts checks the port numbers of an endpoint.
func (p *report) workloadPorts(path string, ports map[string]uint32) {
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		if !validLabel(name) {
			p.error(path+"["+name+"]", "use lower case letters, digits and '-'", "invalid port name: %s", name)
		}
		if !validPort(int64(ports[name])) {
			p.error(path+"["+name+"]", "write a number from 1 to 65535", "port number %d must be in the range 1..65535",
				ports[name])
		}
	}
}

// address checks an endpoint's address and gives it in its usual form.
func (p *report) address(path, address string) (string, bool) {
	ip, err := netip.ParseAddr(address)
	switch {
	case err == nil && ip.Zone() == "":
		return ip.Unmap().String(), true
	case address == "":
		p.error(path, "write an IP address", "address is required")
	case strings.HasPrefix(address, "unix://"):
		p.unsupported(p.at(path), "unix sockets are not implemented, and the address decides "+goes)
	case err != nil && validHost(address) == "" && address != "*":
		p.unsupported(p.at(path), "names are not resolved, and the address decides "+goes)
	default:
		p.error(path, "write an IP address", "%s is not a valid IP", address)
	}
	return "", false
}
