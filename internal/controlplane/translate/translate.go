// SPDX-License-Identifier: Apache-2.0

// Package translate turns Istio and Kubernetes resources into the mesh: it checks every field against the schema and
// against what is implemented, resolves names, writes defaults out and puts things in match order. It is pure: values
// in, values out. It does not read files, and it does not know Envoy; it alone imports the Istio and Kubernetes types.
package translate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

// Options say for which proxy, and what may be left out.
type Options struct {
	// Labels are the proxy's, for the selectors of Gateways; nil: every Gateway is served.
	Labels map[string]string
	// Namespace is the proxy's: where two resources are equally good, its own wins. Empty means "default".
	Namespace string
	// AllowUnsupported lists kinds (in any case) of which what is not implemented is a warning, not an error. It is left
	// out then, never widened: a match with a condition that cannot be decided matches nothing.
	AllowUnsupported []string
	// ClusterDomain ends the names of Kubernetes services. Empty means "cluster.local".
	ClusterDomain string
}

func (o Options) allows(kind string) bool {
	return slices.ContainsFunc(o.AllowUnsupported, func(k string) bool { return strings.EqualFold(k, kind) })
}

// Translate is the mesh that the resources describe, and all that is wrong with them: in the order of the resources,
// and by line within each. A resource with a problem of severity Error is not part of the mesh; references that do not
// resolve (Unresolved) are part of it as they stand. The values returned share nothing with the resources that changes.
func Translate(resources []*source.Resource, opts Options) (mesh.Config, mesh.Endpoints, []mesh.Problem) {
	if opts.ClusterDomain == "" {
		opts.ClusterDomain = "cluster.local"
	}
	if opts.Namespace == "" {
		opts.Namespace = "default"
	}
	t := &translation{opts: opts}
	var reports []*report
	for _, r := range resources {
		p := newReport(r, opts)
		reports = append(reports, p)
		k, problem := classify(r, opts)
		if problem != nil {
			p.problems = append(p.problems, *problem)
		}
		if k == nil {
			continue
		}
		w := &walker{report: p, kind: k.name}
		w.walk(spot{node: r.Node, place: mesh.Place{Line: r.Line}}, shapes()[k.name], false)
		p.names()
		t.read(p, k.name)
	}
	config, endpoints := t.link()
	var problems []mesh.Problem
	for _, p := range reports {
		slices.SortStableFunc(p.problems, func(a, b mesh.Problem) int { return a.Line - b.Line })
		problems = append(problems, p.problems...)
	}
	return config, endpoints, problems
}

// translation holds what was read of each resource, in input order, until all can be linked.
type translation struct {
	opts      Options
	gateways  []*gateway
	virtuals  []*virtualService
	rules     []*destinationRule
	services  []*service
	workloads []*workload
}

// read decodes a resource and checks what a schema cannot say.
func (t *translation) read(p *report, kind string) {
	switch kind {
	case "Gateway":
		decode(p, &networking.Gateway{}, t.gateway)
	case "VirtualService":
		decode(p, &networking.VirtualService{}, t.virtualService)
	case "DestinationRule":
		decode(p, &networking.DestinationRule{}, t.destinationRule)
	case "ServiceEntry":
		decode(p, &networking.ServiceEntry{}, t.serviceEntry)
	case "WorkloadEntry":
		decode(p, &networking.WorkloadEntry{}, t.workloadEntry)
	case "Service":
		decode(p, &corev1.ServiceSpec{}, t.kubernetesService)
	}
}

func decode[M any](p *report, spec *M, use func(*report, *M)) {
	var object struct {
		Spec json.RawMessage `json:"spec"`
	}
	err := json.Unmarshal(p.resource.JSON, &object)
	if err == nil && len(object.Spec) > 0 && string(object.Spec) != "null" {
		err = json.Unmarshal(object.Spec, spec)
	}
	if err != nil {
		if !p.failed { // else the schema check has said it better
			p.error("spec", "correct the value", "cannot be decoded: %v", err)
		}
		return
	}
	use(p, spec)
}

// names checks what the API server would refuse: names are parts of other names here too.
func (p *report) names() {
	if !validSubdomain(p.resource.Name) {
		p.error("metadata.name", "use lower case letters, digits, '-' and '.'", "%q is not a valid name", p.resource.Name)
	}
	if !validLabel(p.resource.Namespace) {
		p.error("metadata.namespace", "use lower case letters, digits and '-'", "%q is not a valid namespace",
			p.resource.Namespace)
	}
}

// index is the path of an element of a list.
func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
