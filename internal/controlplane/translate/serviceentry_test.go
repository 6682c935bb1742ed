// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

func TestServiceEntriesAreCheckedAsIstioDoes(t *testing.T) {
	f := func(spec string, want ...string) {
		t.Helper()
		wantErrors(t, istio("ServiceEntry", "{"+spec+"}"), want...)
	}
	const host, static, port = "hosts: [a.b]", "resolution: STATIC", "ports: [{number: 80, name: a}]"
	f(static, "spec.hosts: service entry must have at least one host")
	f("hosts: ['*'], "+static, "spec.hosts[0]: invalid host *")
	f("hosts: [10.0.0.1], "+static,
		`spec.hosts[0]: domain name "10.0.0.1" invalid (top level domain "1" cannot be all-numeric)`)
	f(host+", endpoints: [{address: 10.0.0.1}]",
		"spec.resolution: no endpoints should be provided for resolution type none")
	f(host, "spec.resolution: resolution NONE is not implemented, and it decides where a request goes: "+
		"to the address that the client dialed, which a proxy that was dialed itself does not know")
	f("hosts: ['*.a.b'], resolution: DYNAMIC_DNS", "spec.resolution: resolution DYNAMIC_DNS is not implemented, "+
		"and it decides where a request goes: to whatever the name in each request means")
	f(host + ", resolution: DNS")
	f(host + ", resolution: DNS_ROUND_ROBIN")
	f("hosts: ['*.a.b'], resolution: DNS", "spec.hosts[0]: hosts must be FQDN or contain only prefix wildcards if no "+
		"endpoints are provided for resolution mode DNS")
	f("hosts: ['*.a.b'], resolution: DNS, endpoints: [{address: c.d}]")
	f(host+", resolution: DNS_ROUND_ROBIN, endpoints: [{address: c.d}, {address: c.e}]",
		"spec.endpoints: there must only be 0 or 1 endpoint for resolution mode DNS_ROUND_ROBIN")
	f(host+", "+static+", ports: [{number: 80, name: a}, {number: 80, name: b}]",
		"spec.ports[1]: service entry port 80 already defined")
	f(host+", "+static+", ports: [{number: 80, name: a}, {number: 81, name: a}]",
		`spec.ports[1]: service entry port name "a" already defined`)
	f(host+", "+static+", ports: [{number: 80, name: a, protocol: SPDY}]",
		"spec.ports[0].protocol: unsupported protocol: SPDY")
	f(host+", "+static+", ports: [{number: 80, name: A_}, {number: 81}]",
		"spec.ports[0].name: invalid port name: A_", "spec.ports[1].name: invalid port name: ")
	f(host+", "+static+", ports: [{number: 80, name: a, targetPort: 65536}]",
		"spec.ports[0].targetPort: port number 65536 must be in the range 1..65535")
	f("hosts: [a.b, a.c], "+static+", ports: [{number: 80, name: a, protocol: TCP}]",
		"spec.ports[0].protocol: multiple hosts provided with non-HTTP, non-TLS ports")
	f("hosts: [a.b, a.c], " + static + ", ports: [{number: 80, name: a, protocol: HTTP}]")

	f(host+", "+static+", workloadSelector: {labels: {a: b}}, endpoints: [{address: 10.0.0.1}]",
		"spec.workloadSelector: only one of WorkloadSelector or Endpoints is allowed in Service Entry")
	f(host+", "+static+", workloadSelector: {labels: {a: '*'}}",
		`spec.workloadSelector.labels[a]: wildcard is not supported in selector: "a=*"`)
	f(host+", "+static+", addresses: [10.0.0.300, 10.0.0.0/33, a.b]", "spec.addresses[0]: 10.0.0.300 is not a valid IP",
		"spec.addresses[1]: 10.0.0.0/33 is not a valid CIDR block", "spec.addresses[2]: a.b is not a valid IP")
	f(host+", resolution: DNS, addresses: [10.0.0.0/8]",
		"spec.addresses[0]: CIDR addresses are allowed only for NONE/STATIC resolution types")
	f(host+", "+static+", exportTo: [a, '*']",
		"spec.exportTo: cannot have both public (*) and non-public exportTo values for a resource")
	f(host+", "+static+", exportTo: ['~', a]", "spec.exportTo: cannot export service entry to no one (~) and someone")

	endpoint := func(spec, endpoint string, want ...string) {
		t.Helper()
		f(host+", "+spec+", "+port+", endpoints: [{"+endpoint+"}]", want...)
	}
	endpoint(static, "address: 10.0.0.1, ports: {b: 1}",
		"spec.endpoints[0].ports[b]: endpoint port 1 is not defined by the service entry")
	endpoint(static, "address: 10.0.0",
		`spec.endpoints[0].address: endpoint address "10.0.0" is not a valid FQDN or an IP address`)
	endpoint(static, "address: '0'",
		`spec.endpoints[0].address: endpoint address "0" is not a valid FQDN or an IP address`)
	endpoint(static, "address: c.d", `spec.endpoints[0].address: endpoint address "c.d" is not a valid IP address`)
	endpoint(static, "", "spec.endpoints[0].address: address is required")
	endpoint(static, "address: 10.0.0.1, network: n2")
	endpoint(static, "network: n2")
	endpoint(static, "address: 10.0.0.1, labels: {a/b/c: d, e: -f}",
		`spec.endpoints[0].labels[a/b/c]: invalid tag key: "a/b/c"`,
		`spec.endpoints[0].labels[e]: invalid tag value: "-f"`)
	endpoint(static, "address: 'unix:///run/x'")
	endpoint(static, "address: 'unix://run/x'", "spec.endpoints[0].address: run/x is not an absolute path to a file")
	endpoint(static, "address: 'unix:///run/'", "spec.endpoints[0].address: /run/ is not an absolute path to a file")
	endpoint(static, "address: 'unix://@x'", "spec.endpoints[0].address: abstract unix sockets are not implemented, "+
		"and the address decides where a request goes")
	endpoint(static, "address: 'unix:///x', ports: {a: 1}",
		"spec.endpoints[0].address: unix endpoint unix:///x must not include ports")
	f(host+", "+static+", ports: [{number: 80, name: a}, {number: 81, name: b}], endpoints: [{address: 'unix:///x'}]",
		"spec.ports: exactly 1 service port required for unix endpoints")
	endpoint("resolution: DNS", "address: 'unix:///x'",
		`spec.endpoints[0].address: endpoint address "unix:///x" is not a valid FQDN or an IP address`)
	endpoint("resolution: DNS", "address: '*.d'",
		`spec.endpoints[0].address: endpoint address "*.d" is not a valid FQDN or an IP address`)
	endpoint("resolution: DNS", "address: 10.0.0.1")
}

func TestWorkloadEntriesAreChecked(t *testing.T) {
	f := func(spec string, want ...string) {
		t.Helper()
		wantErrors(t, istio("WorkloadEntry", spec), want...)
	}
	f("{address: a.b}")
	f("{network: n}")
	f("{}", "spec.address: address is required")
	f("{address: 10.0.0.1, ports: {a: 0}}", "spec.ports[a]: port number 0 must be in the range 1..65535")
	f("{address: 10.0.0.1, ports: {A_b: 1}}", "spec.ports[A_b]: invalid port name: A_b")
	f("{address: 10.0.0.1, labels: {a: b c}}", `spec.labels[a]: invalid tag value: "b c"`)
	wantErrors(t, "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, spec: {address: 10.0.0.1}, "+
		"metadata: {name: A/b, namespace: c.d}}",
		`metadata.name: "A/b" is not a valid name`, `metadata.namespace: "c.d" is not a valid namespace`)
}

// addresses is what is dialed for port 80 of a host.
func addresses(e mesh.Endpoints, host string) []string {
	var out []string
	for _, x := range e[host] {
		out = append(out, fmt.Sprintf("%s:%d", x.Address, x.Ports[80]))
	}
	return out
}

func TestAWorkloadIsLeftOutWhereItCannotBeReached(t *testing.T) {
	in := named("WorkloadEntry", "a-name", "{address: Vm.example.com, labels: {app: a}}") +
		named("WorkloadEntry", "b-socket", "{address: 'unix:///run/a', labels: {app: a}}") +
		named("WorkloadEntry", "ip", "{address: 10.0.0.1, labels: {app: a}}") +
		named("WorkloadEntry", "far", "{network: far, labels: {app: a}}")
	entry := func(resolution string) string {
		return named("ServiceEntry", "e", "{hosts: [e.example.com], resolution: "+resolution+
			", workloadSelector: {labels: {app: a}}, ports: [{number: 80, name: http}]}")
	}
	f := func(in, host string, want ...string) []mesh.Problem {
		t.Helper()
		_, endpoints, problems := translateYAML(t, in, Options{})
		if diff := cmp.Diff(want, addresses(endpoints, host), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
		return problems
	}
	problems := f(in+entry("STATIC"), "e.example.com", "unix:///run/a:80", "10.0.0.1:80")
	says(t, problems, mesh.Warning, "WorkloadEntry default/a-name",
		"ServiceEntry default/e cannot be reached at vm.example.com: it is left out there")
	says(t, problems, mesh.Warning, "WorkloadEntry default/far", `address is unset with network "far"`)
	f(in+entry("DNS"), "e.example.com", "vm.example.com:80", "10.0.0.1:80")
	problems = f(in+entry("DNS_ROUND_ROBIN"), "e.example.com", "vm.example.com:80")
	says(t, problems, mesh.Warning, "selects 2 workloads: with resolution DNS_ROUND_ROBIN the first is used")
	f(in+k8sService("s", "{selector: {app: a}, ports: [{port: 80}]}"), "s.default.svc.cluster.local", "10.0.0.1:80")
}

func TestTheOrderOfTheInputDoesNotMatter(t *testing.T) {
	docs := []string{
		named("WorkloadEntry", "b", "{address: vm-b.example.com, labels: {app: a}}"),
		named("WorkloadEntry", "a", "{address: vm-a.example.com, labels: {app: a}}"),
		named("ServiceEntry", "e", "{hosts: [e.example.com], resolution: DNS, workloadSelector: {labels: {app: a}}, "+
			"ports: [{number: 80, name: http}]}"),
		named("ServiceEntry", "r", "{hosts: [r.example.com], resolution: DNS_ROUND_ROBIN, "+
			"workloadSelector: {labels: {app: a}}, ports: [{number: 80, name: http}]}"),
		named("ServiceEntry", "z", "{hosts: [e.example.com], resolution: DNS, ports: [{number: 81, name: http}]}"),
	}
	_, want, _ := translateYAML(t, strings.Join(docs, ""), Options{})
	if got := addresses(want, "r.example.com"); !slices.Equal(got, []string{"vm-a.example.com:80"}) {
		t.Errorf("the first workload is %q", got)
	}
	slices.Reverse(docs)
	_, got, _ := translateYAML(t, strings.Join(docs, ""), Options{})
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(mesh.Ref{}, "Line")); diff != "" {
		t.Errorf("endpoints (-one way +the other):\n%s", diff)
	}
}

func TestASelectorWithoutLabelsPicksTheWholeNamespace(t *testing.T) {
	_, endpoints, problems := translateYAML(t, named("WorkloadEntry", "a", "{address: 10.0.0.1}")+
		named("WorkloadEntry", "b", "{address: 10.0.0.2, labels: {x: y}}")+
		named("WorkloadEntry", "other/c", "{address: 10.0.0.3}")+
		named("ServiceEntry", "e", "{hosts: [e.example.com], resolution: STATIC, workloadSelector: {}, "+
			"ports: [{number: 80, name: http}]}"), Options{})
	if diff := cmp.Diff([]string{"10.0.0.1:80", "10.0.0.2:80"}, addresses(endpoints, "e.example.com")); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	says(t, problems, mesh.Warning, "will be applied to all services in namespace")
}

func TestServicesAreSeenWhereTheyAreExportedTo(t *testing.T) {
	in := named("ServiceEntry", "apps/e", "{hosts: [e.example.com], resolution: DNS, exportTo: %s}")
	f := func(exportTo, namespace string, want bool) {
		t.Helper()
		config, _, _ := translateYAML(t, fmt.Sprintf(in, exportTo), Options{Namespace: namespace})
		if got := len(config.Services) == 1; got != want {
			t.Errorf("exported to %s, seen from %s: %v", exportTo, namespace, got)
		}
	}
	f("[]", "web", true)
	f("['*']", "web", true)
	f("[.]", "web", false)
	f("[.]", "apps", true)
	f("[web]", "web", true)
	f("[web]", "apps", false)
	f("['~']", "apps", false)
}

func TestOfServicesWithOneHostTheProxysNamespaceComesFirst(t *testing.T) {
	entry := func(name, created string) string {
		return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: " + name +
			", creationTimestamp: '" + created + "'}\nspec: {hosts: [e.example.com], resolution: DNS}\n---\n"
	}
	in := entry("old", "2020-01-01T00:00:00Z") + entry("own", "2024-01-01T00:00:00Z") + entry("new", "2025-01-01T00:00:00Z")
	f := func(namespace, sidecar, want string) {
		t.Helper()
		config, _, problems := translateYAML(t, in+sidecar, Options{Namespace: namespace})
		if got := config.Services[0].Namespace; got != want {
			t.Errorf("from %s: the host is of namespace %s, want %s", namespace, got, want)
		}
		says(t, problems, mesh.Warning, "host e.example.com is defined by ServiceEntry "+want+"/e too: that one is used")
	}
	f("own", "", "own")
	f("other", "", "old")
	f("own", named("Sidecar", "own/s", "{egress: [{hosts: ['new/*']}]}"), "new")
}
