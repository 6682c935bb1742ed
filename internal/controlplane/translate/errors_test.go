// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

func istio(kind, spec string) string {
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: %s\nmetadata: {name: x}\nspec: %s\n", kind, spec)
}

// errorsOf is the messages of severity Error.
func errorsOf(t *testing.T, in string) []string {
	t.Helper()
	_, _, problems := translateYAML(t, in, Options{})
	var got []string
	for _, p := range problems {
		if p.Severity == mesh.Error {
			got = append(got, p.Field+": "+p.Message)
		}
	}
	return got
}

func wantErrors(t *testing.T, in string, want ...string) {
	t.Helper()
	if got := errorsOf(t, in); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nerrors:\n  %s\nwant:\n  %s", in, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestVirtualServicesAreCheckedAsIstioDoes(t *testing.T) {
	const route = "route: [{destination: {host: a}}]"
	f := func(spec string, want ...string) {
		t.Helper()
		wantErrors(t, istio("VirtualService", spec), want...)
	}
	rule := func(rule string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = "spec.http[0]" + want[i]
		}
		f("{hosts: [a.example.com], http: [{"+rule+"}]}", want...)
	}
	f("{}", "spec.hosts: there is no host: this is for delegation, which is not implemented, "+
		"and it decides where a request goes",
		"spec.http: http, tcp or tls must be provided in virtual service")
	f("{hosts: ['*'], http: [{"+route+"}]}",
		"spec.hosts[0]: wildcard host * is not allowed for virtual services bound to the mesh gateway")
	f("{hosts: ['*'], gateways: [g, mesh], http: [{"+route+"}]}",
		"spec.hosts[0]: wildcard host * is not allowed for virtual services bound to the mesh gateway")
	f("{hosts: [a.b.c, '*.b.c', x], http: [{"+route+"}]}",
		"spec.hosts[1]: duplicate hosts in virtual service: a.b.c & *.b.c")
	f("{hosts: [a, a.default.svc.cluster.local], http: [{"+route+"}]}",
		"spec.hosts[1]: duplicate hosts in virtual service: a & a.default.svc.cluster.local")
	f("{hosts: ['a*.b'], http: [{"+route+"}]}", `spec.hosts[0]: domain name "a*.b" invalid (label "a*" invalid)`)
	f("{hosts: ['*-'], http: [{"+route+"}]}", `spec.hosts[0]: domain name "*-" invalid (label "*-" invalid)`)
	f("{hosts: ['a.1'], http: [{"+route+"}]}",
		`spec.hosts[0]: domain name "a.1" invalid (top level domain "1" cannot be all-numeric)`)
	f("{hosts: ['*-a.b', '*a.c', 10.0.0.1, '::1', a.d.], http: [{" + route + "}]}")
	f("{hosts: ['a..b'], http: [{"+route+"}]}", `spec.hosts[0]: domain name "a..b" invalid (label "" invalid)`)
	f("{hosts: [a.b], gateways: [a//b], http: [{"+route+"}]}", `spec.gateways[0]: gateway name "a//b" is not valid`)

	rule("name: n", ".route: HTTP route, redirect or direct_response is required")
	rule("route: [{weight: 1}]", ".route[0].destination: destination is required")
	rule("route: [{destination: {}}]", ".route[0].destination.host: destination host is required")
	rule("route: [{destination: {host: '*'}}]", ".route[0].destination.host: invalid destination host *")
	rule("route: [{destination: {host: a, subset: A_b}}]", ".route[0].destination.subset: subset name is invalid: A_b")
	rule("route: [{destination: {host: a, port: {number: 70000}}}]",
		".route[0].destination.port.number: port number 70000 must be in the range 1..65535")
	rule("route: [{destination: {host: a, port: {}}}]",
		".route[0].destination.port.number: port number 0 must be in the range 1..65535")
	rule("route: [{destination: {host: a}, weight: -1}, {destination: {host: b}, weight: 2}]",
		".route[0].weight: weight -1 < 0")
	rule("route: [{destination: {host: a}}, {destination: {host: b}}]", ".route: total destination weight = 0")
	rule("route: [{destination: {host: 10.0.0.1}}]", ".route[0].destination.host: "+
		`domain name "10.0.0.1" invalid (top level domain "1" cannot be all-numeric)`)
	rule(route+", timeout: -1s", ".timeout: duration must be greater than 1ms")
	rule(route+", timeout: 0s", ".timeout: duration must be greater than 1ms")
	rule(route+", timeout: 1001us", ".timeout: only durations to ms precision are supported")
	rule(route+", match: [{headers: {a: {prefix: ''}}, method: {regex: ''}}]",
		".match[0].method.regex: regex string match should not be empty",
		".match[0].headers[a].prefix: prefix string match should not be empty")
	rule(route+", match: [{uri: {regex: ''}}]", ".match[0].uri.regex: regex string match should not be empty")
	rule(route+", match: [{uri: {regex: '"+strings.Repeat("a", 1025)+"'}}]",
		".match[0].uri.regex: regex is too large, max length allowed is 1024")
	rule(route + ", match: [{uri: {prefix: ''}}]")
	rule(route+", match: [{uri: {regex: '('}}]",
		".match[0].uri.regex: error parsing regexp: missing closing ): `(`")
	rule(route+", match: [{uri: {regex: '*'}}]",
		".match[0].uri.regex: error parsing regexp: missing argument to repetition operator: `*`")
	rule(route+", match: [{headers: {':authority': {exact: a}}}]",
		".match[0].headers[:authority]: matching on :authority is not implemented, and it decides where a request goes")
	rule(route+", match: [{headers: {':a': {exact: a}}}]", `.match[0].headers[:a]: header name ":a" is not valid`)
	rule(route+", match: [{headers: {'a b': {exact: a}}}]", `.match[0].headers[a b]: header name "a b" is not valid`)
	rule(route+", match: [{headers: {a: {exact: a}, A: {exact: b}}}]", ".match[0].headers[a]: is the same header as A")
	rule(route+", match: [{headers: {'@request.auth.claims.sub': {exact: a}}}]",
		".match[0].headers[@request.auth.claims.sub]: matching on @request.auth.claims.sub is not implemented, "+
			"and it decides where a request goes")
}

func TestMirrorsAreCheckedAsIstioDoes(t *testing.T) {
	f := func(rule string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = "spec.http[0]" + want[i]
		}
		wantErrors(t, istio("VirtualService",
			"{hosts: [a.example.com], http: [{route: [{destination: {host: a}}], "+rule+"}]}"), want...)
	}
	f("mirror: {host: b}, mirrorPercent: 101", ".mirrorPercent: mirror_percent must have a max value of 100 (it has 101)")
	f("mirror: {host: b}, mirrorPercentage: {value: 100.5}",
		".mirrorPercentage.value: mirror_percentage must have a max value of 100 (it has 100.500000)")
	f("mirror: {host: b}, mirrorPercentage: {value: -1}",
		".mirrorPercentage.value: mirror_percentage must have a min value of 0 (it has -1.000000)")
	f("mirror: {host: b}, mirrors: [{destination: {host: c}}]",
		".mirrors: HTTP route cannot contain both mirror and mirrors")
	f("mirrors: [{}]", ".mirrors[0].destination: destination is required for mirrors")
	f("mirrors: [null]", ".mirrors[0]: cannot be null", ".mirrors[0].destination: destination is required for mirrors")
	f("mirrors: [{destination: {host: c}, percentage: {value: 200}}]",
		".mirrors[0].percentage.value: mirror percentage must have a max value of 100 (it has 200.000000)")
	f("mirrors: [{destination: {host: c}, percentage: {value: -2}}]",
		".mirrors[0].percentage.value: mirror percentage must have a min value of 0 (it has -2.000000)")
	f("mirror: {host: '*'}", ".mirror.host: invalid destination host *")
	f("mirror: {host: b, subset: '-'}", ".mirror.subset: subset name is invalid: -")
}

func TestMirrorShares(t *testing.T) {
	f := func(rule string, want ...mesh.Mirror) {
		t.Helper()
		config, _, _ := translateYAML(t, istio("VirtualService",
			"{hosts: [a.example.com], http: [{route: [{destination: {host: a}}], mirror: {host: b.c}"+rule+"}]}"), Options{})
		got := config.VirtualServices[0].Rules[0].Mirrors
		if len(got) != len(want) {
			t.Errorf("%s: mirrors %v, want %v", rule, got, want)
			return
		}
		for i := range got {
			if got[i].Numerator != want[i].Numerator || got[i].Denominator != want[i].Denominator {
				t.Errorf("%s: mirrors %v, want %v", rule, got, want)
			}
		}
	}
	f("", mesh.Mirror{Numerator: 100})
	f(", mirrorPercentage: {value: 50}", mesh.Mirror{Numerator: 500_000, Denominator: mesh.Million})
	f(", mirrorPercentage: {value: 0.57}", mesh.Mirror{Numerator: 5699, Denominator: mesh.Million})
	f(", mirrorPercentage: {value: 0.00001}", mesh.Mirror{Numerator: 0, Denominator: mesh.Million})
	f(", mirrorPercentage: {value: 100}", mesh.Mirror{Numerator: 1_000_000, Denominator: mesh.Million})
	f(", mirrorPercentage: {value: 0}")
	f(", mirrorPercentage: {}")
	f(", mirrorPercent: 0")
	f(", mirrorPercent: 30", mesh.Mirror{Numerator: 30})
	f(", mirrorPercent: 30, mirrorPercentage: {value: 1}", mesh.Mirror{Numerator: 10_000, Denominator: mesh.Million})
}

func TestOldAndIdleMirrorFieldsAreWarnedOf(t *testing.T) {
	_, _, problems := translateYAML(t, istio("VirtualService", `{hosts: [a.example.com], http: [
  {route: [{destination: {host: a}}], mirror: {host: b}, mirrorPercent: 3},
  {route: [{destination: {host: a}}], mirrorPercentage: {value: 3}}]}`), Options{})
	says(t, problems, mesh.Warning, "spec.http[0].mirrorPercent: ",
		`using deprecated setting "mirrorPercent", use "mirrorPercentage" instead`)
	says(t, problems, mesh.Warning, "spec.http[1].mirrorPercentage: has no effect: the rule has no mirror")
}

func TestANoteTellsWhereWritesAreMirrored(t *testing.T) {
	f := func(match string, want int) {
		t.Helper()
		_, _, problems := translateYAML(t, istio("VirtualService",
			"{hosts: [a.example.com], http: [{"+match+"route: [{destination: {host: a}}], mirror: {host: b}}]}"), Options{})
		got := 0
		for _, p := range problems {
			if p.Severity == mesh.Note {
				got++
			}
		}
		if got != want {
			t.Errorf("%q: %d notes, want %d: %v", match, got, want, problems)
		}
	}
	f("", 1)
	f("match: [{method: {exact: GET}}], ", 0)
	f("match: [{method: {exact: POST}}], ", 1)
	f("match: [{method: {exact: GET}}, {uri: {prefix: /}}], ", 1)
	f("match: [{method: {prefix: GET}}], ", 1)
}

func TestGatewaysAreCheckedAsIstioDoes(t *testing.T) {
	f := func(spec string, want ...string) {
		t.Helper()
		wantErrors(t, istio("Gateway", spec), want...)
	}
	server := func(server string, want ...string) {
		t.Helper()
		f("{servers: [{"+server+"}]}", want...)
	}
	const port, hosts = "port: {number: 80, name: http, protocol: HTTP}", "hosts: ['*']"
	f("{}", "spec.servers: gateway must have at least one server")
	f("{servers: [{"+port+", "+hosts+"}, {"+port+", "+hosts+"}]}",
		"spec.servers[1].port.name: port names in servers must be unique: duplicate name http")
	server(port, "spec.servers[0].hosts: server config must contain at least one host")
	server(hosts, "spec.servers[0].port: port is required")
	server(hosts+", port: {number: 0, name: a, protocol: HTTP}",
		"spec.servers[0].port.number: port number 0 must be in the range 1..65535")
	server(hosts+", port: {number: 80, protocol: HTTP}", "spec.servers[0].port.name: port name must be set")
	server(hosts+", port: {number: 80, name: a, protocol: HTPT}",
		`spec.servers[0].port.protocol: invalid protocol "HTPT", supported are HTTP, HTTP2, GRPC, GRPC-WEB`)
	server(hosts+", port: {number: 80, name: a, protocol: HTTPS}",
		"spec.servers[0].tls: server must have TLS settings for HTTPS/TLS protocols",
		"spec.servers[0].port.protocol: protocol HTTPS is not implemented, and it decides where a request goes")
	server(hosts+", "+port+", tls: {mode: SIMPLE}",
		"spec.servers[0].tls.mode: tls is not implemented, and it decides who may pass",
		"spec.servers[0].tls: server cannot have TLS settings for plain text HTTP ports")
	server(port+", hosts: [localhost]", "spec.servers[0].hosts[0]: short names (non FQDN) are not allowed")
	server(port+", hosts: ['A_/a.b']", `spec.servers[0].hosts[0]: namespace "A_" of host "A_/a.b" is not valid`)
	server(port+", hosts: ['*.*.b']", `spec.servers[0].hosts[0]: domain name "*.*.b" invalid (label "*" invalid)`)
	server(port+", hosts: ['*-a.b']", `spec.servers[0].hosts[0]: partial wildcard "*-a.b" not allowed`)
	server(port+", "+hosts+", bind: here", "spec.servers[0].bind: here is not a valid IP")
}

func TestServiceEntriesAreCheckedAsIstioDoes(t *testing.T) {
	f := func(spec string, want ...string) {
		t.Helper()
		wantErrors(t, istio("ServiceEntry", spec), want...)
	}
	const host, static = "hosts: [a.b]", "resolution: STATIC"
	f("{"+static+"}", "spec.hosts: service entry must have at least one host")
	f("{hosts: ['*'], "+static+"}", "spec.hosts[0]: invalid host *")
	f("{"+host+"}", "spec.resolution: resolution NONE is not implemented, and it decides where a request goes")
	f("{"+host+", resolution: DNS}",
		"spec.resolution: resolution DNS is not implemented, and it decides where a request goes")
	f("{"+host+", endpoints: [{address: 10.0.0.1}]}",
		"spec.resolution: no endpoints should be provided for resolution type none")
	f("{"+host+", "+static+", ports: [{number: 80, name: a}, {number: 80, name: b}]}",
		"spec.ports[1]: service entry port 80 already defined")
	f("{"+host+", "+static+", ports: [{number: 80, name: a}, {number: 81, name: a}]}",
		`spec.ports[1]: service entry port name "a" already defined`)
	f("{"+host+", "+static+", ports: [{number: 80, name: a, protocol: SPDY}]}",
		"spec.ports[0].protocol: unsupported protocol: SPDY")
	f("{"+host+", "+static+", ports: [{number: 80, name: a}], endpoints: [{address: 10.0.0.1, ports: {b: 1}}]}",
		"spec.endpoints[0].ports[b]: endpoint port 1 is not defined by the service entry")
	f("{"+host+", "+static+", workloadSelector: {labels: {a: b}}, endpoints: [{address: 10.0.0.1}]}",
		"spec.workloadSelector: only one of WorkloadSelector or Endpoints is allowed in Service Entry")
	f("{"+host+", "+static+", endpoints: [{address: 10.0.0}]}", "spec.endpoints[0].address: 10.0.0 is not a valid IP")
	f("{"+host+", "+static+", endpoints: [{address: a.b}]}",
		"spec.endpoints[0].address: names are not resolved, and the address decides where a request goes")
	f("{"+host+", "+static+", ports: [{number: 80, name: A}, {number: 81}]}",
		"spec.ports[0].name: invalid port name: A", "spec.ports[1].name: invalid port name: ")
	f("{hosts: [10.0.0.1], "+static+"}",
		`spec.hosts[0]: domain name "10.0.0.1" invalid (top level domain "1" cannot be all-numeric)`)
	f("{"+host+", "+static+", endpoints: [{address: 'unix:///s'}]}",
		"spec.endpoints[0].address: unix sockets are not implemented, and the address decides where a request goes")
	f("{"+host+", "+static+", endpoints: [{}]}", "spec.endpoints[0].address: address is required")
	f("{"+host+", "+static+", endpoints: [{address: 10.0.0.1, network: n2}]}",
		"spec.endpoints[0].network: network is not implemented, and it decides where a request goes")
}

func TestOtherKindsAreChecked(t *testing.T) {
	wantErrors(t, istio("WorkloadEntry", "{address: a.b}"),
		"spec.address: names are not resolved, and the address decides where a request goes")
	wantErrors(t, istio("WorkloadEntry", "{address: 10.0.0.1, ports: {a: 0}}"),
		"spec.ports[a]: port number 0 must be in the range 1..65535")
	wantErrors(t, istio("WorkloadEntry", "{address: 10.0.0.1, ports: {A_b: 1}}"),
		"spec.ports[A_b]: invalid port name: A_b")
	wantErrors(t, istio("WorkloadEntry", "{network: n}"),
		"spec.network: network is not implemented, and it decides where a request goes")
	wantErrors(t, istio("DestinationRule", "{host: a, subsets: [{name: a}, {name: a}]}"),
		"spec.subsets[1].name: duplicate subset names: a")
	wantErrors(t, istio("DestinationRule", "{subsets: [{name: A}]}"), "spec.host: host is required",
		"spec.subsets[0].name: subset name is invalid: A")
	wantErrors(t, istio("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: SIMPLE, sni: x}}}"),
		"spec.trafficPolicy.tls: trafficPolicy.tls is not implemented, and it decides who may pass")
	wantErrors(t, istio("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: DISABLE}}, exportTo: ['*']}"))
	wantErrors(t, istio("DestinationRule", "{host: a, exportTo: [., b]}"),
		"spec.exportTo: exportTo is not implemented, and it decides where a request goes")
	wantErrors(t, istio("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}"),
		"spec.trafficPolicy.loadBalancer.simple: PASSTHROUGH is not implemented, and it decides where a request goes")
	service := func(spec string, want ...string) {
		t.Helper()
		wantErrors(t, "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: "+spec+"}", want...)
	}
	asked := "\n---\n" + istio("VirtualService", "{hosts: [b.c], http: [{route: [{destination: {host: a}}]}]}")
	wantErrors(t, "{apiVersion: v1, kind: Service, metadata: {name: a}, "+
		"spec: {type: ExternalName, externalName: a.b}}"+asked,
		"spec.type: type ExternalName is not implemented, and it decides where a request goes",
		"spec.externalName: externalName is not implemented, and it decides where a request goes")
	service("{type: ExternalName, externalName: a.b}") // nothing refers to it
	service("{ports: [{port: 0}]}", "spec.ports[0].port: port number 0 must be in the range 1..65535")
	service("{ports: [{port: 80, targetPort: 70000}]}",
		"spec.ports[0].targetPort: port number 70000 must be in the range 1..65535")
	service("{ports: [{port: 80}, {port: 80, name: a}]}", "spec.ports[1]: service port 80 already defined")
	wantErrors(t, "{apiVersion: v1, kind: Service, spec: {}, "+
		"metadata: {name: a, annotations: {networking.istio.io/exportTo: '.'}}}"+asked,
		"metadata.annotations[networking.istio.io/exportTo]: "+
			"exportTo is not implemented, and it decides where a request goes")
	wantErrors(t, "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, spec: {address: 10.0.0.1}, "+
		"metadata: {name: A/b, namespace: c.d}}",
		`metadata.name: "A/b" is not a valid name`, `metadata.namespace: "c.d" is not a valid namespace`)
}

func TestValuesOfTheWrongTypeSayWhatToWrite(t *testing.T) {
	f := func(spec, want string) {
		t.Helper()
		wantErrors(t, istio("VirtualService", spec), want)
	}
	const base = "{hosts: [a.example.com], http: [{route: [{destination: {host: a}}], "
	f("{hosts: a.b, http: [{route: [{destination: {host: a}}]}]}", "spec.hosts: is not a list")
	f(base+"name: 5}]}", "spec.http[0].name: is not a string")
	f(base+"name: yes}]}", "spec.http[0].name: is not a string")
	f(base+"timeout: 5}]}", `spec.http[0].timeout: is not a duration such as "5s" or "100ms"`)
	f(base+"mirror: b}]}", "spec.http[0].mirror: is not a mapping")
	f(base+"mirror: {host: b, port: {number: '80'}}}]}",
		"spec.http[0].mirror.port.number: is not an integer from 0 to 4294967295")
	f(base+"mirror: {host: b}, mirrorPercentage: {value: half}}]}", "spec.http[0].mirrorPercentage.value: is not a number")
	f(base+"match: [{uri: {prefix: /a, exact: /b}}]}]}", "spec.http[0].match[0].uri.exact: excludes prefix beside it")
	f(base+"mirror: {host: b}, mirrorPercent: 5, mirror_percent: 6}]}",
		"spec.http[0].mirror_percent: is set twice: as mirrorPercent and as mirror_percent")
	wantErrors(t, istio("ServiceEntry", "{hosts: [a.b], resolution: static}"),
		"spec.resolution: is not one of NONE, STATIC, DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS")
	wantErrors(t, "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: '80'}]}}",
		"spec.ports[0].port: is not an integer from -2147483648 to 2147483647")
}

func TestAValueOfAnotherFormSaysWhatToWrite(t *testing.T) {
	f := func(rule, want string) {
		t.Helper()
		_, _, problems := translateYAML(t, istio("VirtualService",
			"{hosts: [a.b], http: [{route: [{destination: {host: a}}], "+rule+"}]}"), Options{})
		for _, p := range problems {
			if p.Severity == mesh.Error && p.Fix == want {
				return
			}
		}
		t.Errorf("%s: problems %v, want the fix %q", rule, problems, want)
	}
	f("mirror: {host: b}, mirrorPercentage: 50", "write {value: 50}")
	f("mirror: {host: b, port: 80}", "write {number: 80}")
	f("mirror: {host: b}, mirrorPercentage: {value: '50'}", "write a number without quotes")
	f("mirror: b", "write a mapping")
	f("timeout: 5", `write a duration such as "5s" or "100ms"; it needs a unit`)
	f("timeout: soon", `write a duration such as "5s" or "100ms"`)
	f("name: 1", "write a string; a string that looks like something else needs quotes")
	wantFix := func(spec, want string) {
		t.Helper()
		_, _, problems := translateYAML(t, istio("VirtualService", spec), Options{})
		if len(problems) == 0 || problems[0].Fix != want {
			t.Errorf("%s: problems %v, want the fix %q", spec, problems, want)
		}
	}
	wantFix("{hosts: '*', http: [{route: [{destination: {host: a.b}}]}]}", `write ["*"]`)
	wantFix("{hosts: [a.b], http: {}}", "write a list")
}
