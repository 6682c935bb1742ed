// SPDX-License-Identifier: Apache-2.0

// Package translate turns Istio and Kubernetes resources into the mesh: it checks every field against the schema and
// against what is implemented, resolves names, writes defaults out and puts things in match order. It is pure: values
// in, values out. It does not read files, and it does not know Envoy; it alone imports the Istio and Kubernetes types.
package translate

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
	"github.com/umbra-mesh/umbra/internal/spread"
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
	// RootNamespace is where DestinationRules and Sidecars for all namespaces are. Empty means "istio-system".
	RootNamespace string
	// ClusterDomain ends the names of Kubernetes services. Empty means "cluster.local".
	ClusterDomain string
	// HeaderValue tells what the data plane has against a value of a header operation, such as a command operator that it
	// does not know. nil: nothing.
	HeaderValue func(value string) error
}

func (o Options) allows(kind string) bool {
	return slices.ContainsFunc(o.AllowUnsupported, func(k string) bool { return strings.EqualFold(k, kind) })
}

// Translate is the mesh that the resources describe, and all that is wrong with them: in the order of the resources,
// and by line within each. A resource with a problem of severity Error is not part of the mesh; references that do not
// resolve (Unresolved) are part of it as they stand. The values returned share nothing with the resources that changes.
func Translate(resources []*source.Resource, opts Options) (mesh.Config, mesh.Endpoints, []mesh.Problem) {
	return New(opts).Translate(resources)
}

// Translator translates again and again what changes little: it keeps what it read of each resource, told by pointer,
// for as long as the resource is given to each call. Its methods are not to be called at the same time.
type Translator struct {
	opts  Options
	read  map[*source.Resource]*entry
	order []*entry // oldest first
	turn  uint64   // counts calls
	last  kept
}

// entry is a reading and the last turn that had its resource.
type entry struct {
	*reading
	seen uint64
}

// fewResources are read faster by one goroutine than by two.
const fewResources = 32

// New is a Translator that has read nothing yet.
func New(opts Options) *Translator {
	if opts.ClusterDomain == "" {
		opts.ClusterDomain = "cluster.local"
	}
	if opts.Namespace == "" {
		opts.Namespace = "default"
	}
	if opts.RootNamespace == "" {
		opts.RootNamespace = "istio-system"
	}
	return &Translator{opts: opts, read: map[*source.Resource]*entry{}}
}

// Translate is what function Translate is. Values that are as they were in the last call are the same pointers. None of
// what is returned may be written to.
func (t *Translator) Translate(resources []*source.Resource) (mesh.Config, mesh.Endpoints, []mesh.Problem) {
	t.turn++
	entries := make([]*entry, len(resources))
	var fresh []*entry
	var unread []*source.Resource // of fresh
	for i, r := range resources {
		e := t.read[r]
		if e == nil {
			e = &entry{}
			t.read[r] = e
			fresh, unread = append(fresh, e), append(unread, r)
		}
		e.seen, entries[i] = t.turn, e
	}
	spread.Each(len(fresh), fewResources, func(i int) { fresh[i].reading = read(unread[i], t.opts) })
	t.sort(fresh)
	readings := make([]*reading, len(entries))
	for i, e := range entries {
		readings[i] = e.reading
	}
	l := newLink(t.opts, t.order, t.last)
	config, endpoints := l.link()
	t.last = l.kept
	return config, endpoints, l.problems(readings)
}

// sort puts fresh entries where they belong, and forgets those of resources that are gone.
func (t *Translator) sort(fresh []*entry) {
	t.order = slices.DeleteFunc(t.order, func(e *entry) bool {
		if e.seen != t.turn {
			delete(t.read, e.resource)
		}
		return e.seen != t.turn
	})
	age := func(a, b *entry) int { return older(a.resource, b.resource) }
	slices.SortStableFunc(fresh, age)
	old, left := len(t.order), len(fresh)
	t.order = append(t.order, fresh...)
	for at := len(t.order) - 1; left > 0; at-- { // the youngest first
		if old > 0 && age(t.order[old-1], fresh[left-1]) > 0 {
			old--
			t.order[at] = t.order[old]
		} else {
			left--
			t.order[at] = fresh[left]
		}
	}
}

// older orders resources by creation time, then name, then namespace.
func older(a, b *source.Resource) int {
	return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace))
}

// reading is one resource, read. It is immutable.
type reading struct {
	*report
	// what is a *gateway, *virtualService, *destinationRule, *service, *workload, *endpointSlice or *sidecar; nil if there
	// is nothing to link.
	what any
}

// read decodes a resource and checks it by itself.
func read(r *source.Resource, opts Options) *reading {
	k, problem := classify(r, opts)
	if k == nil {
		p := newReport(r, nil, opts)
		if problem != nil {
			p.problems = append(p.problems, *problem)
		}
		return &reading{report: p}
	}
	s := shapes()[k.name]
	p := newReport(r, s, opts)
	(&walker{report: p}).walk(k.name, r.Node, s)
	p.names()
	return &reading{report: p, what: readSpec(p, k.name, opts)}
}

// readSpec decodes a resource's spec and checks what a schema cannot say.
func readSpec(p *report, kind string, opts Options) any {
	switch kind {
	case "Gateway":
		return decode(p, opts, readGateway)
	case "VirtualService":
		return decode(p, opts, readVirtualService)
	case "DestinationRule":
		return decode(p, opts, readDestinationRule)
	case "ServiceEntry":
		return decode(p, opts, readServiceEntry)
	case "WorkloadEntry":
		return decode(p, opts, readWorkloadEntry)
	case "Service":
		return decode(p, opts, readKubernetesService)
	case "Sidecar":
		return decode(p, opts, readSidecar)
	case "EndpointSlice":
		return decodeWhole(p, opts, readEndpointSlice)
	case "Pod":
		return decodeWhole(p, opts, readPod)
	default:
		return nil
	}
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
func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
