// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"maps"
	"net/netip"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
)

// workload is a WorkloadEntry or a Pod: what a selector picks.
type workload struct {
	*report
	pod      bool
	address  string // empty: it cannot be dialed
	ports    map[string]uint32
	labels   map[string]string
	weight   uint32
	locality string
	gone     bool // a Pod that serves nothing, now or any more
	unready  bool
}

func readWorkloadEntry(p *report, spec *networking.WorkloadEntry, _ Options) *workload {
	w := &workload{report: p, ports: maps.Clone(spec.GetPorts()), weight: spec.GetWeight(), labels: map[string]string{}}
	p.labels("spec.labels", spec.GetLabels())
	maps.Copy(w.labels, spec.GetLabels())
	maps.Copy(w.labels, p.resource.Labels) // metadata wins
	w.address, _ = p.address("spec.address", spec)
	w.locality = locality(spec.GetLocality(), w.labels)
	p.workloadPorts("spec.ports", w.ports)
	return w
}

// readPod reads what of a Pod concerns those who send to it. What Kubernetes wrote is not checked again.
func readPod(p *report, pod *corev1.Pod, _ Options) *workload {
	w := &workload{
		report: p, pod: true, labels: p.resource.Labels, ports: map[string]uint32{},
		locality: locality("", p.resource.Labels),
		gone:     pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil,
		unready:  !ready(pod),
	}
	if ip, err := netip.ParseAddr(pod.Status.PodIP); err == nil {
		w.address = ip.Unmap().String()
	}
	w.gone = w.gone || w.address == ""
	for _, c := range pod.Spec.Containers {
		for _, port := range c.Ports {
			transport := strings.ToUpper(string(port.Protocol))
			if port.Name != "" && validPort(int64(port.ContainerPort)) && (transport == "" || transport == "TCP") {
				w.ports[port.Name] = uint32(port.ContainerPort)
			}
		}
	}
	return w
}

// ready tells what the Pod's condition says; one that was never probed is ready.
func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return true
}

// namespaceLabel is one label of a workload with the namespace that it is in.
type namespaceLabel struct{ namespace, key, value string }

// workloadIndex is the workloads that have a label, and all of a namespace, oldest first, Pods last.
type workloadIndex struct {
	label     map[namespaceLabel][]*workload
	namespace map[string][]*workload
	pods      map[string]*workload // by "namespace/name"
}

func (l *link) indexWorkloads() workloadIndex {
	x := workloadIndex{
		label: map[namespaceLabel][]*workload{}, namespace: map[string][]*workload{},
		pods: map[string]*workload{},
	}
	for _, w := range l.workloads {
		namespace := w.resource.Namespace
		x.namespace[namespace] = append(x.namespace[namespace], w)
		for k, v := range w.labels {
			at := namespaceLabel{namespace, k, v}
			x.label[at] = append(x.label[at], w)
		}
		if w.pod {
			x.pods[namespace+"/"+w.resource.Name] = w
		}
	}
	return x
}

// selected are the workloads of a namespace that a selector picks.
func (x workloadIndex) selected(namespace string, selector map[string]string) []*workload {
	shortest := x.namespace[namespace]
	for k, v := range selector {
		if list := x.label[namespaceLabel{namespace, k, v}]; len(list) < len(shortest) {
			shortest = list
		}
	}
	var out []*workload
	for _, w := range shortest {
		if includes(w.labels, selector) {
			out = append(out, w)
		}
	}
	return out
}

// port is what to dial for a service's port: the workload's port of that name, else the target port. What a Kubernetes
// service's port is called says nothing of a Pod's. 0: a named target port that the workload does not have.
func (w *workload) port(port servicePort, kubernetes bool) uint32 {
	if n := w.ports[port.Name]; n != 0 && !(kubernetes && w.pod) {
		return n
	}
	if port.target != 0 {
		return port.target
	}
	return w.ports[port.targetName]
}
