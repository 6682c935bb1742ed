// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

const (
	istioGroup   = "networking.istio.io"
	gatewayGroup = "gateway.networking.k8s.io"
)

// kind is one that is translated.
type kind struct {
	name     string
	group    string
	versions []string
	shape    func() *shape // of the whole resource
}

var istioVersions = []string{"v1", "v1beta1", "v1alpha3"}

var accepted = []kind{
	{"Gateway", istioGroup, istioVersions, spec[*networking.Gateway]},
	{"VirtualService", istioGroup, istioVersions, spec[*networking.VirtualService]},
	{"DestinationRule", istioGroup, istioVersions, spec[*networking.DestinationRule]},
	{"ServiceEntry", istioGroup, istioVersions, spec[*networking.ServiceEntry]},
	{"WorkloadEntry", istioGroup, istioVersions, spec[*networking.WorkloadEntry]},
	{"Sidecar", istioGroup, istioVersions, spec[*networking.Sidecar]},
	{"Service", "", []string{"v1"}, func() *shape { return resource(goShape(reflect.TypeFor[corev1.ServiceSpec]())) }},
	{"EndpointSlice", "discovery.k8s.io", []string{"v1"}, endpointSliceShape},
	// Nobody writes a Pod with what is read of it here: most of it is the kubelet's.
	{"Pod", "", []string{"v1"}, func() *shape { return resource(&shape{form: opaque}) }},
}

func spec[M interface {
	protoreflect.ProtoMessage
	comparable
}]() *shape {
	var m M
	return resource(protoShape(m.ProtoReflect().Descriptor()))
}

// endpointSliceShape is that of a kind without spec.
func endpointSliceShape() *shape {
	s := resource(nil)
	delete(s.members, "spec")
	for name, m := range goShape(reflect.TypeFor[discoveryv1.EndpointSlice]()).members {
		if s.members[name] == nil {
			s.members[name] = m
		}
	}
	return s
}

// silent kinds say nothing about requests: they pass without a word. A name of "*" is every kind of the group.
var silent = [][2]string{
	{"", "ConfigMap"}, {"", "LimitRange"}, {"", "Namespace"}, {"", "Node"}, {"", "PersistentVolume"},
	{"", "PersistentVolumeClaim"}, {"", "ResourceQuota"}, {"", "Secret"}, {"", "ServiceAccount"},
	{"apiextensions.k8s.io", "*"}, {"apps", "*"}, {"autoscaling", "*"}, {"batch", "*"}, {"policy", "*"},
	{"rbac.authorization.k8s.io", "*"}, {"scheduling.k8s.io", "*"}, {"storage.k8s.io", "*"},
	{istioGroup, "WorkloadGroup"}, // a template of WorkloadEntries: those made of it count
}

// refusedKinds are not translated and would change who may pass or where a request goes. A name of "*" is every kind of
// the group. instead is what to write, if there is something that says the same.
var refusedKinds = []struct{ group, name, what, instead string }{
	{"security.istio.io", "*", mayPass, ""},
	{"extensions.istio.io", "*", mayPass, ""},
	{istioGroup, "EnvoyFilter", mayPass, ""},
	{gatewayGroup, "Gateway", goes, "write a Gateway of " + istioGroup},
	{gatewayGroup, "HTTPRoute", goes, "write a VirtualService of " + istioGroup},
	{gatewayGroup, "GRPCRoute", goes, ""},
	{gatewayGroup, "TCPRoute", goes, ""},
	{gatewayGroup, "TLSRoute", goes, ""},
	{gatewayGroup, "UDPRoute", goes, ""},
	{gatewayGroup, "ListenerSet", goes, ""},
	{gatewayGroup, "BackendTLSPolicy", mayPass, ""},
	{"networking.k8s.io", "Ingress", goes, "write a Gateway and a VirtualService of " + istioGroup},
}

// What a thing that is refused would decide.
const (
	mayPass = "who may pass"
	goes    = "where a request goes"
)

// classify is the translated kind of a resource, or nil with what there is to say about it.
func classify(r *source.Resource, opts Options) (*kind, *mesh.Problem) {
	group, version := "", r.APIVersion
	if i := strings.IndexByte(r.APIVersion, '/'); i >= 0 {
		group, version = r.APIVersion[:i], r.APIVersion[i+1:]
	}
	p := &mesh.Problem{Severity: mesh.Warning, Resource: r.Ref(), Line: r.Line, Field: "kind"}
	for i := range accepted {
		k := &accepted[i]
		if k.name != r.Kind {
			continue
		}
		near := group == "" || distance(group, k.group) <= 3 || slices.Contains(silent, [2]string{group, "*"})
		if group == k.group && slices.Contains(k.versions, version) {
			return k, nil
		}
		if group == k.group || near {
			p.Severity, p.Field = mesh.Error, "apiVersion"
			p.Message = fmt.Sprintf("%q is not known for kind %s", r.APIVersion, r.Kind)
			p.Fix = fmt.Sprintf("did you mean %q?", strings.TrimPrefix(k.group+"/"+k.versions[0], "/"))
			return nil, p
		}
	}
	if slices.Contains(silent, [2]string{group, r.Kind}) || slices.Contains(silent, [2]string{group, "*"}) {
		return nil, nil
	}
	for _, k := range refusedKinds {
		if k.group == group && (k.name == r.Kind || k.name == "*") {
			p.Message = fmt.Sprintf("kind %s of %s is not implemented, and it decides %s", r.Kind, group, k.what)
			if !opts.allows(r.Kind) {
				p.Severity = mesh.Error
				p.Fix = fmt.Sprintf("%s, or go on without it by --allow-unsupported %s", cmp.Or(k.instead, "remove it"), r.Kind)
			}
			return nil, p
		}
	}
	p.Message = fmt.Sprintf("kind %s of %s is not used", r.Kind, r.APIVersion)
	switch {
	case group == "" && r.Kind == "Endpoints":
		p.Fix = "give its EndpointSlices: kubectl get endpointslices -o yaml"
	case slices.ContainsFunc(accepted, func(k kind) bool { return k.group == group }):
		if p.Fix = suggest(r.Kind, kindsOf(group)); p.Fix != "" {
			p.Severity = mesh.Error
		}
	case slices.Contains(kindsOf(istioGroup), r.Kind):
		p.Fix = fmt.Sprintf("write apiVersion: %s/%s if Istio's is meant", istioGroup, istioVersions[0])
	}
	return nil, p
}

// kindsOf are the kinds of a group that are translated.
func kindsOf(group string) []string {
	var names []string
	for _, k := range accepted {
		if k.group == group {
			names = append(names, k.name)
		}
	}
	return names
}
