// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"maps"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// workload is a WorkloadEntry.
type workload struct {
	*report
	address string // empty: it cannot be dialed
	ports   map[string]uint32
	labels  map[string]string
	weight  uint32
	picked  bool // some service has it
}

func (t *translation) workloadEntry(p *report, spec *networking.WorkloadEntry) {
	w := &workload{report: p, ports: spec.GetPorts(), weight: spec.GetWeight(), labels: map[string]string{}}
	maps.Copy(w.labels, spec.GetLabels())
	maps.Copy(w.labels, p.resource.Labels)                  // metadata wins
	if spec.GetAddress() != "" || spec.GetNetwork() == "" { // else the network is reported
		w.address, _ = p.address("spec.address", spec.GetAddress())
	}
	p.workloadPorts("spec.ports", w.ports)
	t.workloads = append(t.workloads, w)
}

// namespaceLabel is one label of a workload with the namespace that it is in.
type namespaceLabel struct{ namespace, key, value string }

// workloadIndex is the workloads that have a label, in input order.
type workloadIndex map[namespaceLabel][]*workload

func (t *translation) indexWorkloads() workloadIndex {
	index := workloadIndex{}
	for _, w := range t.workloads {
		for k, v := range w.labels {
			at := namespaceLabel{w.resource.Namespace, k, v}
			index[at] = append(index[at], w)
		}
	}
	return index
}

// candidates is the shortest list that has all workloads of a namespace that a selector may select.
func (x workloadIndex) candidates(namespace string, selector map[string]string) []*workload {
	var shortest []*workload
	first := true
	for k, v := range selector {
		if list := x[namespaceLabel{namespace, k, v}]; first || len(list) < len(shortest) {
			shortest, first = list, false
		}
	}
	return shortest
}

// endpoints are the addresses behind a service: its own, or those of the workloads of its namespace that it selects.
func (s *service) endpoints(workloads workloadIndex) []mesh.Endpoint {
	out := s.inline
	for _, w := range workloads.candidates(s.namespace, s.selector) {
		if !includes(w.labels, s.selector) {
			continue
		}
		w.picked = true
		if w.failed || w.address == "" {
			continue
		}
		e := mesh.Endpoint{
			Origin: w.resource.Ref(), Address: w.address, Ports: map[uint32]uint32{}, Labels: maps.Clone(w.labels),
			Weight: w.weight,
		}
		for _, port := range s.ports {
			if n := w.port(port); n != 0 {
				e.Ports[port.Number] = n
			} else if !s.failed {
				s.warn(port.path+".targetPort", "add ports: {"+port.targetName+": ...} to it, or write a number here",
					"%s has no port %q: it takes no requests for port %d", w.resource.Ref(), port.targetName, port.Number)
			}
		}
		out = append(out, e)
	}
	return out
}

// port is what to dial for a service's port: the workload's port of that name, else the target port. 0: a named target
// port that the workload does not have.
func (w *workload) port(port servicePort) uint32 {
	if n := w.ports[port.Name]; n != 0 {
		return n
	}
	if port.target != 0 {
		return port.target
	}
	return w.ports[port.targetName]
}
