// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

func TestKubernetesServicesAreChecked(t *testing.T) {
	f := func(spec string, want ...string) {
		t.Helper()
		wantErrors(t, k8sService("a", "{"+spec+"}"), want...)
	}
	f("ports: [{port: 0}]", "spec.ports[0].port: port number 0 must be in the range 1..65535")
	f("ports: [{port: 80, targetPort: 70000}]", "spec.ports[0].targetPort: port number 70000 must be in the range 1..65535")
	f("ports: [{port: 80}, {port: 80, name: a}]", "spec.ports[1]: service port 80 already defined")
	f("type: ExternalName", "spec.externalName: external name is required")
	f("type: ExternalName, externalName: a_b", `spec.externalName: external name "a_b" is not a valid host name`)
	f("type: ExternalName, externalName: 10.0.0.1")
	wantErrors(t, "{apiVersion: v1, kind: Service, spec: {}, metadata: {name: a, annotations: "+
		"{networking.istio.io/exportTo: 'b c'}}}", "metadata.annotations[networking.istio.io/exportTo][0]: "+
		"only .,*, or a valid DNS 1123 label is allowed as exportTo entry")
}

func TestTheAnnotationOfAServiceSaysWhoSeesIt(t *testing.T) {
	f := func(annotation, namespace string, want bool) {
		t.Helper()
		config, _, _ := translateYAML(t, fmt.Sprintf("{apiVersion: v1, kind: Service, spec: {ports: [{port: 80}]}, metadata: "+
			"{name: a, namespace: apps, annotations: {networking.istio.io/exportTo: '%s'}}}", annotation),
			Options{Namespace: namespace})
		if got := len(config.Services) == 1; got != want {
			t.Errorf("%q from %s: %v", annotation, namespace, got)
		}
	}
	f("", "web", true)
	f("*", "web", true)
	f(".", "web", false)
	f(".", "apps", true)
	f("other, web", "web", true)
	f("~", "apps", false)
}

func external(name, of string) string {
	return k8sService(name, "{type: ExternalName, externalName: "+of+", ports: [{port: 80}]}")
}

func TestAnExternalNameIsResolvedAsWhatItStandsFor(t *testing.T) {
	rule := func(host string) string {
		return named("VirtualService", "v", "{hosts: [v.x], http: [{route: [{destination: {host: "+host+"}}]}]}")
	}
	_, _, problems := translateYAML(t, k8sService("web", "{ports: [{port: 81}, {port: 82, name: b}], selector: {a: b}}")+
		external("alias", "web.default.svc.cluster.local")+rule("alias"), Options{})
	says(t, problems, mesh.Warning,
		"spec.http[0].route[0].destination: host alias.default.svc.cluster.local has the ports 81, 82")

	config, endpoints, problems := translateYAML(t, external("a", "b.default.svc.cluster.local")+
		external("b", "a.default.svc.cluster.local")+external("c", "c.default.svc.cluster.local"), Options{})
	for _, name := range []string{"a", "b", "c"} {
		says(t, problems, mesh.Warning, "Service default/"+name+": spec.externalName: the names go in a circle")
	}
	if len(config.Services) != 3 {
		t.Errorf("services %v, endpoints %v", config.Services, endpoints)
	}
}

func slice(name, service, rest string) string {
	return fmt.Sprintf("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %s, namespace: default, "+
		"labels: {kubernetes.io/service-name: %s}}\n%s\n---\n", name, service, rest)
}

func TestEndpointSlicesAreChecked(t *testing.T) {
	f := func(rest string, want ...string) {
		t.Helper()
		wantErrors(t, slice("s", "a", rest), want...)
	}
	f("addressType: IPv4\nendpoints: [{addresses: [10.0.0.256]}]", "endpoints[0].addresses[0]: 10.0.0.256 is not a valid IP")
	f("addressType: IPv4\nendpoints: [{}]", "endpoints[0].addresses: an endpoint needs an address")
	f("addressType: IPv4\nports: [{port: 0}]", "ports[0].port: port number 0 must be in the range 1..65535")
	f("adressType: IPv4", `adressType: unknown field "adressType"`)
	f("addressType: IPv4\nendpoints: none", "endpoints: is not a list")

	_, _, problems := translateYAML(t, slice("s", "a", "addressType: FQDN\nendpoints: [{addresses: [a.b]}]"), Options{})
	says(t, problems, mesh.Warning, "addressType: addresses that are names are not used here")
	says(t, problems, mesh.Note, "there is no Service a of namespace default that has endpoints")
	_, _, problems = translateYAML(t, slice("s", "''", "addressType: IPv4"), Options{})
	says(t, problems, mesh.Note, "has no label kubernetes.io/service-name: it belongs to no service")
}

func TestEndpointsOfSlices(t *testing.T) {
	service := k8sService("a", "{ports: [{port: 80, name: http, targetPort: 1}]}")
	f := func(in string, want ...string) []mesh.Problem {
		t.Helper()
		_, endpoints, problems := translateYAML(t, in, Options{})
		if diff := cmp.Diff(want, addresses(endpoints, "a.default.svc.cluster.local"), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
		return problems
	}
	const http = "addressType: IPv4\nports: [{name: http, port: 8080}]\n"
	f(service+slice("s", "a", http+"endpoints: [{addresses: [10.0.0.1]}]"), "10.0.0.1:8080")
	f(service+slice("s", "a", http+"endpoints: [{addresses: [10.0.0.1]}]")+
		slice("t", "a", http+"endpoints: [{addresses: [10.0.0.1]}, {addresses: ['fd00::1']}]"),
		"10.0.0.1:8080", "fd00::1:8080")
	f(service+slice("s", "a", "addressType: IPv4\nports: [{port: 8080}]\nendpoints: [{addresses: [10.0.0.1]}]"),
		"10.0.0.1:0")
	f(k8sService("a", "{ports: [{port: 80}]}")+
		slice("s", "a", "addressType: IPv4\nports: [{name: '', port: 8080}]\nendpoints: [{addresses: [10.0.0.1]}]"),
		"10.0.0.1:8080")
	f(service + slice("s", "b", http+"endpoints: [{addresses: [10.0.0.1]}]"))
	problems := f(service + slice("s", "a", http) +
		named("VirtualService", "v", "{hosts: [v.x], http: [{route: [{destination: {host: a}}]}]}"))
	says(t, problems, mesh.Warning, "Service default/a: spec: has no endpoints: its EndpointSlices list none")
	problems = f(service+slice("s", "a", http+"endpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod, name: gone}}]"),
		"10.0.0.1:8080")
	says(t, problems, mesh.Note, "endpoints[0].targetRef: Pod default/gone is not there: no subset with labels has this endpoint")
	f(external("a", "x.example")+slice("s", "a", http+"endpoints: [{addresses: [10.0.0.1]}]"), "x.example:80")
}

func TestAPodThatCannotBeDecodedIsRefused(t *testing.T) {
	wantErrors(t, "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: none}}", "kind: cannot be decoded: "+
		"json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container")
}
