// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// index takes the services in. Of several for one host the first counts, as a proxy sees one; translate has said so.
func (k *compiler) index(services []*mesh.Service) {
	k.services = make(map[string]*mesh.Service, len(services))
	for _, s := range services {
		if k.services[s.Host] == nil {
			k.services[s.Host] = s
			k.sorted = append(k.sorted, s)
		}
	}
	slices.SortFunc(k.sorted, func(a, b *mesh.Service) int { return cmp.Compare(a.Host, b.Host) })
}

// httpPorts are the ports that requests can be routed to, each number once.
func httpPorts(s *mesh.Service) []mesh.Port {
	var ports []mesh.Port
	for _, p := range s.Ports {
		switch p.Protocol {
		case "HTTP", "HTTP2", "GRPC", "GRPC-WEB":
			if !hasPort(ports, p.Number) {
				ports = append(ports, p)
			}
		}
	}
	return ports
}

func hasPort(ports []mesh.Port, number uint32) bool {
	return slices.ContainsFunc(ports, func(p mesh.Port) bool { return p.Number == number })
}

// port fills in a destination's port: the one given, else the service's only port, else the port being listened on.
func (k *compiler) port(d mesh.Destination, listenPort uint32) uint32 {
	if d.Port != 0 {
		return d.Port
	}
	if s := k.services[d.Host]; s != nil && len(s.Ports) == 1 {
		return s.Ports[0].Number
	}
	return listenPort
}

// destination names the cluster of d, which need not exist: a request to it is then answered 503, a copy dropped. Only
// a port that was filled in is looked at here; of those given, translate says that they do not exist.
func (k *compiler) destination(d mesh.Destination, listenPort uint32, origin mesh.Ref) string {
	port := k.port(d, listenPort)
	if s := k.services[d.Host]; s != nil && d.Port == 0 && !hasPort(httpPorts(s), port) {
		k.problemAt(mesh.Unresolved, origin, d.Place,
			fmt.Sprintf("without a port it goes to port %d, which is none of %s that carries HTTP", port, d.Host),
			"give a port.number: "+portList(httpPorts(s)))
	}
	return clusterName(port, d.Subset, d.Host)
}

// portsNamed bounds a list of ports in a text: a direct response may hold 4096 bytes.
const portsNamed = 100

func portList(ports []mesh.Port) string {
	var names []string
	for _, p := range ports {
		if len(names) == portsNamed {
			names = append(names, "...")
			break
		}
		names = append(names, fmt.Sprint(p.Number))
	}
	return strings.Join(names, ", ")
}

func clusterName(port uint32, subset, host string) string {
	return fmt.Sprintf("outbound|%d|%s|%s", port, subset, host)
}
