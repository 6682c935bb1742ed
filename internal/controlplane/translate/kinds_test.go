// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

func TestKindsThatAreNotTranslated(t *testing.T) {
	f := func(apiVersion, kind string, want ...string) {
		t.Helper()
		_, _, problems := translateYAML(t, fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: a}, spec: {x: y}}",
			apiVersion, kind), Options{})
		wantProblems(t, problems, want...)
	}
	refused := func(apiVersion, kind, what string) {
		t.Helper()
		group, _, _ := strings.Cut(apiVersion, "/")
		f(apiVersion, kind, fmt.Sprintf("1 error kind: kind %s of %s is not implemented, and it decides %s", kind, group, what))
	}
	refused("security.istio.io/v1", "AuthorizationPolicy", "who may pass")
	refused("security.istio.io/v1beta1", "RequestAuthentication", "who may pass")
	refused("security.istio.io/v1", "PeerAuthentication", "who may pass")
	refused("networking.istio.io/v1alpha3", "EnvoyFilter", "who may pass")
	refused("extensions.istio.io/v1alpha1", "WasmPlugin", "who may pass")
	refused("gateway.networking.k8s.io/v1", "HTTPRoute", "where a request goes")
	refused("gateway.networking.k8s.io/v1", "Gateway", "where a request goes")
	refused("networking.k8s.io/v1", "Ingress", "where a request goes")

	f("apps/v1", "Deployment")
	f("v1", "ServiceAccount")
	f("v1", "ConfigMap")
	f("v1", "Namespace")
	f("v1", "Node")
	f("networking.istio.io/v1beta1", "WorkloadGroup")

	f("apps/v1", "StatefulSet")
	f("batch/v1", "CronJob")
	f("v1", "Secret")
	f("rbac.authorization.k8s.io/v1", "Role")

	f("networking.k8s.io/v1", "NetworkPolicy", "1 warning kind: kind NetworkPolicy of networking.k8s.io/v1 is not used")
	f("networking.istio.io/v1beta1", "ProxyConfig",
		"1 warning kind: kind ProxyConfig of networking.istio.io/v1beta1 is not used")
	f("serving.knative.dev/v1", "Service", "1 warning kind: kind Service of serving.knative.dev/v1 is not used")
	f("networking.istio.io/v2", "Gateway",
		`1 error apiVersion: "networking.istio.io/v2" is not known for kind Gateway`)
	f("networking.istoi.io/v1", "VirtualService",
		`1 error apiVersion: "networking.istoi.io/v1" is not known for kind VirtualService`)
	f("v1", "VirtualService", `1 error apiVersion: "v1" is not known for kind VirtualService`)
	f("apps/v1", "Service", `1 error apiVersion: "apps/v1" is not known for kind Service`)
	f("v2", "Service", `1 error apiVersion: "v2" is not known for kind Service`)
}

func TestAMisspelledKindSaysWhichIsNear(t *testing.T) {
	_, _, problems := translateYAML(t,
		"{apiVersion: networking.istio.io/v1, kind: VirtualSerivce, metadata: {name: a}}", Options{})
	says(t, problems, mesh.Error, "kind VirtualSerivce of networking.istio.io/v1 is not used",
		`did you mean "VirtualService"?`)
	_, _, problems = translateYAML(t, "{apiVersion: v1, kind: services, metadata: {name: a}}", Options{})
	says(t, problems, mesh.Error, "kind services of v1 is not used", `did you mean "Service"?`)
}

func TestAKindThatIsNotTranslatedNamesTheOneThatIs(t *testing.T) {
	f := func(apiVersion, kind string, severity mesh.Severity, want string) {
		t.Helper()
		_, _, problems := translateYAML(t, fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: a}}", apiVersion, kind),
			Options{})
		says(t, problems, severity, "kind "+kind+" of ", want)
	}
	f("gateway.networking.k8s.io/v1", "Gateway", mesh.Error, "; write a Gateway of networking.istio.io, or go on without it "+
		"by --allow-unsupported Gateway")
	f("gateway.networking.k8s.io/v1", "HTTPRoute", mesh.Error, "; write a VirtualService of networking.istio.io, or")
	f("networking.k8s.io/v1", "Ingress", mesh.Error, "; write a Gateway and a VirtualService of networking.istio.io, or")
	f("security.istio.io/v1", "AuthorizationPolicy", mesh.Error, "; remove it, or")
	f("istio.io/v1", "VirtualService", mesh.Warning, "; write apiVersion: networking.istio.io/v1 if Istio's is meant")
	f("v1", "Endpoints", mesh.Warning, "; give its EndpointSlices: kubectl get endpointslices -o yaml")
}

// Package source keeps a list of its own of the kinds of which two with one name are a mistake.
func TestTwoOfANameAreAProblemForEachKindThatIsTranslatedAndNoOther(t *testing.T) {
	twice := func(apiVersion, kind string) int {
		one := fmt.Sprintf("---\napiVersion: %s\nkind: %s\nmetadata: {name: a}\n", apiVersion, kind)
		_, problems, err := source.Load([]string{"-"}, source.Options{Stdin: strings.NewReader(one + one)})
		if err != nil {
			t.Fatal(err)
		}
		return len(problems)
	}
	for _, k := range accepted {
		if n := twice(strings.TrimPrefix(k.group+"/"+k.versions[0], "/"), k.name); n != 1 {
			t.Errorf("%s: %d problems, want 1", k.name, n)
		}
	}
	for _, k := range [][2]string{
		{"apps/v1", "Deployment"}, {"v1", "ServiceAccount"}, {"v1", "ConfigMap"}, {"networking.istio.io/v1", "WorkloadGroup"},
		{"gateway.networking.k8s.io/v1", "Gateway"}, {"example.com/v1", "Own"},
	} {
		if n := twice(k[0], k[1]); n != 0 {
			t.Errorf("%s: %d problems, want none", k[1], n)
		}
	}
}

func TestAllowedKindsAreWarnedOfAndLeftOut(t *testing.T) {
	opts := Options{AllowUnsupported: []string{"authorizationpolicy", "VirtualService", "Gateway"}}
	config, _, problems := translateYAML(t, `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: c}}
  - {port: {number: 81, name: redirect, protocol: HTTP}, hosts: ["*"], tls: {httpsRedirect: true}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: ["*"]
  gateways: [g]
  http:
  - name: narrowed
    match:
    - {headers: {"@request.auth.claims.a": {exact: a}}}
    - {uri: {prefix: /b}, withoutHeaders: {"@request.auth.claims[b]": {}}}
    route: [{destination: {host: a.b}}]
  - name: half
    match: [{headers: {"@request.auth.claims.a": {exact: a}}}, {uri: {prefix: /b}}]
    route: [{destination: {host: a.b}}]
  - {name: other, route: [{destination: {host: a.b}}]}
  tcp: [{route: [{destination: {host: a.b}}]}]
`, opts)
	for _, p := range problems {
		if p.Severity == mesh.Error {
			t.Errorf("an error in spite of allowing: %v", p)
		}
	}
	says(t, problems, mesh.Warning, "AuthorizationPolicy default/a: kind: ", "it decides who may pass")
	says(t, problems, mesh.Warning, "spec.http[0].match[0].headers[@request.auth.claims.a]: matching on ")
	says(t, problems, mesh.Warning, "spec.servers[1].port.protocol: protocol HTTPS is not supported yet: ")
	says(t, problems, mesh.Warning, "tcp is not implemented, and it decides where a connection goes")
	if len(config.Gateways[0].Servers) != 2 {
		t.Errorf("servers %+v, want those of plain HTTP", config.Gateways[0].Servers)
	}
	var rules []string
	for _, r := range config.VirtualServices[0].Rules {
		rules = append(rules, fmt.Sprint(r.Name, len(r.Matches)))
	}
	if got := fmt.Sprint(rules); got != "[half1 other0]" {
		t.Errorf("rules %s: a match that cannot be decided must not be widened", got)
	}
}

func TestKnownFieldsThatAreNotImplementedAreWarnedOfWithWhatHappensInstead(t *testing.T) {
	_, _, problems := translateYAML(t, istio("Gateway", `
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"], defaultEndpoint: 127.0.0.1:80}
`), Options{})
	says(t, problems, mesh.Warning, "-:6: ", "spec.servers[0].defaultEndpoint: defaultEndpoint is not implemented: "+
		"the endpoints of the route are used")
}

func TestKubectlOutputOfAServiceIsNoWarning(t *testing.T) {
	_, _, problems := translateYAML(t, `apiVersion: v1
kind: Service
metadata: {name: a, namespace: default, uid: x}
spec:
  allocateLoadBalancerNodePorts: true
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  externalTrafficPolicy: Cluster
  internalTrafficPolicy: Cluster
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  ports: [{name: http, port: 80, protocol: TCP, targetPort: 80, nodePort: 30000}]
  selector: {app: a}
  sessionAffinity: None
  type: LoadBalancer
status: {loadBalancer: {}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w}
spec: {address: 10.0.0.1, labels: {app: a}}
`, Options{})
	wantProblems(t, problems)
}
