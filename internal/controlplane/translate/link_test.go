// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// named is a resource of networking.istio.io with a name and perhaps a namespace ("ns/name").
func named(kind, name, spec string) string {
	namespace, name, found := strings.Cut(name, "/")
	if !found {
		namespace, name = "default", namespace
	}
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: %s\nmetadata: {name: %s, namespace: %s}\n"+
		"spec: %s\n---\n", kind, name, namespace, spec)
}

func k8sService(name, spec string) string {
	return strings.Replace(named("Service", name, spec), "networking.istio.io/v1", "v1", 1)
}

const api = `{hosts: [api.example.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP},
  {number: 443, name: https, protocol: HTTPS}], endpoints: [{address: 10.0.0.1, labels: {version: v1}}]}`

func TestReferencesThatDoNotResolveSayWhatIsNear(t *testing.T) {
	in := named("ServiceEntry", "api", api) +
		named("DestinationRule", "api", "{host: api.example.com, subsets: [{name: v1, labels: {version: v1}}]}") +
		named("Gateway", "front", "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}") +
		k8sService("backend", "{ports: [{port: 80}], selector: {app: b}}") +
		named("WorkloadEntry", "b", "{address: 10.0.0.2, labels: {app: b}}")
	f := func(rule, gateway string, severity mesh.Severity, want string) {
		t.Helper()
		_, _, problems := translateYAML(t, in+named("VirtualService", "v",
			"{hosts: ['*.com'], gateways: ["+gateway+"], http: [{"+rule+"}]}"), Options{})
		var got []string
		for _, p := range problems {
			if p.Severity > mesh.Note {
				got = append(got, strings.TrimPrefix(p.String(), p.Resource.File+":"))
				if p.Severity != severity {
					t.Errorf("severity %d of %v", p.Severity, p)
				}
			}
		}
		if len(got) != 1 || !strings.HasSuffix(got[0], ": VirtualService default/v: "+want) {
			t.Errorf("problems %q, want %q", got, want)
		}
	}
	f("route: [{destination: {host: api.example.org, port: {number: 80}}}]", "front", mesh.Unresolved,
		"spec.http[0].route[0].destination.host: no service has the host api.example.org; requests get 503; "+
			`did you mean "api.example.com"?`)
	f("route: [{destination: {host: backend.default}}]", "front", mesh.Unresolved,
		"spec.http[0].route[0].destination.host: no service has the host backend.default; requests get 503; "+
			`did you mean "backend.default.svc.cluster.local"?`)
	f("route: [{destination: {host: bakend}}]", "front", mesh.Unresolved,
		"spec.http[0].route[0].destination.host: no service has the host bakend.default.svc.cluster.local; requests get 503; "+
			`did you mean "backend"?`)
	f("route: [{destination: {host: bakend.default.svc.cluster.local}}]", "front", mesh.Unresolved,
		"spec.http[0].route[0].destination.host: no service has the host bakend.default.svc.cluster.local; requests get 503; "+
			`did you mean "backend.default.svc.cluster.local"?`)
	f("route: [{destination: {host: front}}]", "front", mesh.Unresolved,
		"spec.http[0].route[0].destination.host: no service has the host front.default.svc.cluster.local; requests get 503; "+
			"add a Service or a ServiceEntry for it")
	f("route: [{destination: {host: backend}}], mirror: {host: nowhere.at.all}", "front", mesh.Unresolved,
		"spec.http[0].mirror.host: no service has the host nowhere.at.all; copies are dropped; "+
			"add a Service or a ServiceEntry for it")
	f("route: [{destination: {host: api.example.com, subset: v2, port: {number: 80}}}]", "front", mesh.Unresolved,
		"spec.http[0].route[0].destination.subset: host api.example.com has no subset v2; requests get 503; "+
			"write v1, or add v2 to a DestinationRule for api.example.com")
	f("route: [{destination: {host: api.example.com, subset: vv1, port: {number: 80}}}]", "front", mesh.Unresolved,
		"spec.http[0].route[0].destination.subset: host api.example.com has no subset vv1; requests get 503; "+
			`did you mean "v1"?`)
	f("route: [{destination: {host: backend, subset: v2}}]", "front", mesh.Unresolved,
		"spec.http[0].route[0].destination.subset: host backend.default.svc.cluster.local has no subset v2; "+
			"requests get 503; add v2 to a DestinationRule for backend.default.svc.cluster.local")
	f("route: [{destination: {host: api.example.com, port: {number: 81}}}]", "front", mesh.Unresolved,
		"spec.http[0].route[0].destination.port.number: host api.example.com has no port 81; requests get 503; "+
			"its ports are 80, 443")
	f("route: [{destination: {host: api.example.com, port: {number: 443}}}]", "front", mesh.Unresolved,
		"spec.http[0].route[0].destination.port.number: port 443 of host api.example.com carries HTTPS, not HTTP; "+
			"requests get 503; route to a port of HTTP")
	f("route: [{destination: {host: backend}}]", "frond", mesh.Unresolved,
		`spec.gateways[0]: gateway default/frond is not there; did you mean "default/front"?`)
	f("route: [{destination: {host: api.example.com}}]", "front", mesh.Warning,
		"spec.http[0].route[0].destination: host api.example.com has the ports 80, 443: "+
			"the port of the listener is used; add port.number")
}

func TestARuleForAnUnknownHostSaysWhichIsNear(t *testing.T) {
	_, _, problems := translateYAML(t, named("ServiceEntry", "api", api)+
		named("DestinationRule", "r", "{host: aip.example.com}"), Options{})
	says(t, problems, mesh.Warning, "DestinationRule default/r: spec.host: applies to no service: none has the host "+
		"aip.example.com, ", `; did you mean "api.example.com"?`)
}

func TestUnresolvedReferencesAreServedAsTheyStand(t *testing.T) {
	config, _, _ := translateYAML(t, named("VirtualService", "v",
		"{hosts: [a.b], gateways: [nowhere], http: [{route: [{destination: {host: gone, subset: s}}]}]}"), Options{})
	d := config.VirtualServices[0].Rules[0].Route[0]
	d.Place = mesh.Place{}
	if want := (mesh.Destination{Host: "gone.default.svc.cluster.local", Subset: "s"}); !cmp.Equal(d, want) {
		t.Errorf("destination %+v, want %+v", d, want)
	}
}

func TestGatewayNames(t *testing.T) {
	f := func(name, want string) {
		t.Helper()
		if got := gatewayName(name, "apps"); got != want {
			t.Errorf("gateway %s is %s, want %s", name, got, want)
		}
	}
	f("mesh", "mesh")
	f("gw", "apps/gw")
	f("./gw", "apps/gw")
	f("edge/gw", "edge/gw")
	f("gw.edge.svc.cluster.local", "edge/gw")
}

func TestALegacyGatewayNameIsAWarning(t *testing.T) {
	_, _, problems := translateYAML(t,
		named("Gateway", "edge/gw", "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}")+
			named("VirtualService", "v", "{hosts: [a.b], gateways: [gw.edge.svc.cluster.local, edge/gw], http: [{route: "+
				"[{destination: {host: a.b}}]}]}"), Options{})
	var got []string
	for _, p := range problems {
		if p.Severity == mesh.Warning {
			got = append(got, p.Field+": "+p.Message)
		}
	}
	want := `spec.gateways[0]: using legacy gatewayName format "gw.edge.svc.cluster.local"; ` +
		`prefer the <namespace>/<name> format: "edge/gw"`
	if len(got) != 1 || got[0] != want {
		t.Errorf("warnings %q, want %q", got, want)
	}
}

func TestShortNamesMeanTheResourcesNamespace(t *testing.T) {
	f := func(host, want string) {
		t.Helper()
		if got := (Options{ClusterDomain: "cluster.local"}).expand(host, "apps"); got != want {
			t.Errorf("host %s is %s, want %s", host, got, want)
		}
	}
	f("web", "web.apps.svc.cluster.local")
	f("Web", "web.apps.svc.cluster.local")
	f("web.other", "web.other")
	f("*", "*")
	f("::1", "::1")
	f("10.0.0.1", "10.0.0.1")
	f("*.example.com", "*.example.com")
}

func TestSubsetsOfSeveralRulesAreMergedAndTheFirstOfANameWins(t *testing.T) {
	config, _, problems := translateYAML(t, named("ServiceEntry", "api", api)+
		named("DestinationRule", "b",
			"{host: api.example.com, subsets: [{name: v1, labels: {version: wrong}}, {name: all}]}")+
		named("DestinationRule", "a", "{host: api.example.com, subsets: [{name: v1, labels: {version: v1}}]}")+
		named("DestinationRule", "wild", "{host: '*.example.com', subsets: [{name: w}]}")+
		named("DestinationRule", "istio-system/root", "{host: api.example.com, subsets: [{name: r}]}"), Options{})
	var got []string
	for _, s := range config.Services[0].Subsets {
		got = append(got, fmt.Sprint(s.Name, s.Labels))
	}
	if want := []string{"v1map[version:v1]", "allmap[]"}; !slices.Equal(got, want) {
		t.Errorf("subsets %v, want %v", got, want)
	}
	wantProblems(t, problems,
		"10 warning spec.subsets[0].name: subset v1 is defined by DestinationRule default/a too: that one is used",
		"20 warning spec.host: applies to no service: none has the host *.example.com, "+
			"or other rules for it come first",
		"25 warning spec.host: applies to no service: none has the host api.example.com, "+
			"or other rules for it come first")
}

func TestRulesOfTheProxysNamespaceComeBeforeTheServices(t *testing.T) {
	f := func(namespace string, rules string, want string) {
		t.Helper()
		config, _, _ := translateYAML(t, named("ServiceEntry", "apps/api", api)+rules, Options{Namespace: namespace})
		got := ""
		for _, s := range config.Services[0].Subsets {
			got += s.Name
		}
		if got != want {
			t.Errorf("proxy in %s: subsets %s, want %s", namespace, got, want)
		}
	}
	apps := named("DestinationRule", "apps/a", "{host: api.example.com, subsets: [{name: apps}]}")
	edge := named("DestinationRule", "edge/a", "{host: '*.example.com', subsets: [{name: edge}]}")
	root := named("DestinationRule", "istio-system/a", "{host: '*', subsets: [{name: root}]}")
	f("edge", apps+edge+root, "edge")
	f("apps", apps+edge+root, "apps")
	f("other", apps+edge+root, "apps")
	f("other", edge+root, "root")
}

func TestOneHostHasOneService(t *testing.T) {
	config, endpoints, problems := translateYAML(t,
		named("ServiceEntry", "apps/api", strings.Replace(api, "10.0.0.1", "10.0.0.9", 1))+
			named("ServiceEntry", "api", api), Options{})
	if len(config.Services) != 1 || config.Services[0].Namespace != "default" {
		t.Errorf("services %+v, want the one of the proxy's namespace", config.Services)
	}
	if got := endpoints["api.example.com"]; len(got) != 1 || got[0].Address != "10.0.0.1" {
		t.Errorf("endpoints %+v", got)
	}
	says(t, problems, mesh.Warning, "ServiceEntry apps/api: ",
		"host api.example.com is defined by ServiceEntry default/api too: that one is used")
}

func TestServicesAndSubsetsWithoutEndpointsAreWarnedOf(t *testing.T) {
	_, _, problems := translateYAML(t, k8sService("a", "{ports: [{port: 80}], selector: {x: y, app: a}}")+
		k8sService("b", "{ports: [{port: 80}]}")+
		named("ServiceEntry", "c", "{hosts: [c.d], resolution: STATIC, ports: [{number: 80, name: http}]}")+
		named("ServiceEntry", "api", api)+
		named("DestinationRule", "api", "{host: api.example.com, subsets: [{name: v2, labels: {version: v2}}]}")+
		named("WorkloadEntry", "alone", "{address: 10.0.0.7}")+
		named("VirtualService", "v", "{hosts: [v.x], http: [{route: [{destination: {host: a}}], mirror: {host: b}}]}")+
		k8sService("unasked", "{ports: [{port: 80}], selector: {x: y}}"), Options{})
	wantProblems(t, problems,
		"4 warning spec: has no endpoints: no WorkloadEntry and no running Pod of namespace default "+
			"has the labels app=a,x=y; requests get 503",
		"9 warning spec: has no endpoints: it has no selector, and no EndpointSlice is for it; requests get 503",
		"14 warning spec: has no endpoints; requests get 503",
		"25 warning spec.subsets[0].labels: no endpoint has the labels version=v2; requests get 503",
		"29 note metadata.name: no Service and no ServiceEntry of namespace default selects it",
		"35 note spec.http[0].mirror: writes (POST, PUT, PATCH, DELETE) are mirrored too",
		"40 note spec: has no endpoints: no WorkloadEntry and no running Pod of namespace default "+
			"has the labels x=y; requests get 503")
	for i, fix := range []string{
		"add its EndpointSlices (kubectl get endpointslices -n default -o yaml), its Pods, or a WorkloadEntry with an address " +
			"and these labels",
		"add its EndpointSlices: kubectl get endpointslices -n default -o yaml",
		"add spec.endpoints, or a workloadSelector and WorkloadEntries",
	} {
		if problems[i].Fix != fix {
			t.Errorf("fix %q, want %q", problems[i].Fix, fix)
		}
	}
}

func TestARefusedResourceIsNotServedAndNotMissedEither(t *testing.T) {
	config, endpoints, problems := translateYAML(t,
		named("ServiceEntry", "api", strings.Replace(api, "{hosts", "{exportTo: [a_b], hosts", 1))+
			named("VirtualService", "v", `{hosts: [a.b], gateways: [g], http: [
  {route: [{destination: {host: api.example.com, subset: s, port: {number: 1}}}]}]}`)+
			named("Gateway", "g", "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [short]}]}"), Options{})
	if len(config.Services)+len(config.Gateways)+len(endpoints) != 0 || len(config.VirtualServices) != 1 {
		t.Errorf("config %+v, endpoints %v", config, endpoints)
	}
	wantProblems(t, problems,
		"4 error spec.exportTo[0]: only .,*, or a valid DNS 1123 label is allowed as exportTo entry",
		"16 error spec.servers[0].hosts[0]: short names (non FQDN) are not allowed")
}

func TestServicePortProtocols(t *testing.T) {
	f := func(transport, app, name string, number uint32, want string) {
		t.Helper()
		if got := serviceProtocol(transport, app, name, number); got != want {
			t.Errorf("%q %q %q %d: %s, want %s", transport, app, name, number, got, want)
		}
	}
	f("TCP", "", "http", 8000, "HTTP")
	f("TCP", "", "http2-api", 80, "HTTP2")
	f("TCP", "", "grpc-web-x", 80, "GRPC-WEB")
	f("TCP", "", "grpc-x", 80, "GRPC")
	f("TCP", "", "tcp-x", 80, "TCP")
	f("TCP", "HTTPS", "http", 80, "HTTPS")
	f("TCP", "kubernetes.io/ws", "tcp", 80, "HTTP")
	f("TCP", "kubernetes.io/wss", "http", 80, "HTTPS")
	f("TCP", "kubernetes.io/h2c", "", 80, "HTTP2")
	f("TCP", "my.org/own", "redis-a", 80, "REDIS")
	f("", "", "", 3306, "TCP")
	f("", "", "http", 3306, "HTTP")
	f("", "", "web", 8080, "HTTP")
	f("UDP", "", "http", 80, "UDP")
}

func TestSubsetsOfAHostWithManyPortsHaveABound(t *testing.T) {
	var ports, subsets strings.Builder
	for i := range 400 {
		fmt.Fprintf(&ports, "{number: %d, name: p%d, protocol: HTTP}, ", i+1, i)
		fmt.Fprintf(&subsets, "{name: s%d}, ", i)
	}
	in := named("ServiceEntry", "a", "{hosts: [a.example], resolution: STATIC, endpoints: [{address: 10.0.0.1}], ports: ["+
		ports.String()+"]}") + named("DestinationRule", "d", "{host: a.example, subsets: ["+subsets.String()+"]}")
	config, _, problems := translateYAML(t, in, Options{})
	says(t, problems, mesh.Error, "DestinationRule default/d: spec.subsets: 400 subsets on 400 ports of host a.example are "+
		"160000 clusters, more than 100000: the host has none of them; define fewer subsets, or fewer ports")
	if s := config.Services[0]; len(s.Ports) != 400 || len(s.Subsets) != 0 {
		t.Errorf("%d ports and %d subsets, want 400 and none", len(s.Ports), len(s.Subsets))
	}
}
