// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"net/netip"
	"slices"
	"strings"

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
	headless   bool
	unready    bool   // Kubernetes: endpoints count as ready that are not
	alias      string // Kubernetes: the name it stands for; "" if it is no ExternalName
	exports    exports
	resolution mesh.Resolution
	addresses  []string // virtual
	ports      []servicePort
	selector   map[string]string // picks WorkloadEntries and Pods of the namespace
	selects    bool              // it has a selector; an empty one of a ServiceEntry picks everything
	inline     []mesh.Endpoint   // of a ServiceEntry
	hostless   bool              // a ServiceEntry of DNS without endpoints: each host is its own
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

// exportAnnotation is exportTo for a Kubernetes Service.
const exportAnnotation = "networking.istio.io/exportTo"

func readKubernetesService(p *report, spec *corev1.ServiceSpec, opts Options) *service {
	r := p.resource
	s := &service{
		report: p, namespace: r.Namespace, kubernetes: true, selector: spec.Selector, selects: len(spec.Selector) > 0,
		hosts:    []serviceHost{{strings.ToLower(opts.serviceHost(r.Name, r.Namespace)), "metadata.name"}},
		headless: spec.ClusterIP == corev1.ClusterIPNone, unready: spec.PublishNotReadyAddresses,
	}
	var to []string
	for name := range strings.SplitSeq(r.Annotations[exportAnnotation], ",") {
		if name = strings.TrimSpace(name); name != "" {
			to = append(to, name)
		}
	}
	s.exports = p.exportTo("metadata.annotations["+exportAnnotation+"]", to, true)
	for _, ip := range append([]string{spec.ClusterIP}, spec.ClusterIPs...) {
		if a, err := netip.ParseAddr(ip); err == nil && !slices.Contains(s.addresses, a.String()) {
			s.addresses = append(s.addresses, a.String())
		}
	}
	if spec.Type == corev1.ServiceTypeExternalName {
		s.externalName(spec.ExternalName)
	} else if spec.ExternalName != "" {
		p.warn("spec.externalName", "write type: ExternalName, or remove it", "has no effect: the type is not ExternalName")
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
		if s.alias != "" || out.target == 0 && out.targetName == "" {
			out.target, out.targetName = uint32(port.Port), ""
		}
		out.Port = mesh.Port{Number: uint32(port.Port), Name: port.Name}
		out.Protocol = serviceProtocol(string(port.Protocol), app, port.Name, out.Number)
		s.addPort(out, "service port %d already defined", "service port name %q already defined")
	}
	return s
}

// externalName makes s a name for something else. Selectors and cluster IPs do not count then.
func (s *service) externalName(name string) {
	s.selector, s.selects, s.addresses, s.headless = nil, false, nil, false
	s.resolution = mesh.DNS
	s.alias = strings.ToLower(strings.TrimSuffix(name, "."))
	switch problem := validHost(name); {
	case name == "":
		s.error("spec.externalName", "write a name", "external name is required")
	case isIP(name):
	case strings.HasPrefix(name, "*") || problem != "":
		s.error("spec.externalName", "write a host name", "external name %q is not a valid host name", name)
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

func (s *service) meshPorts() []mesh.Port { return meshPorts(s.ports) }

func meshPorts(list []servicePort) []mesh.Port {
	var ports []mesh.Port
	for _, p := range list {
		ports = append(ports, p.Port)
	}
	return ports
}
