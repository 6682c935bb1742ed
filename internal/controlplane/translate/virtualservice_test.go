// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

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
	f("{}", "spec.http: http, tcp or tls must be provided in virtual service")
	f("{hosts: ['*'], http: [{"+route+"}]}",
		"spec.hosts[0]: wildcard host * is not allowed for virtual services bound to the mesh gateway")
	f("{hosts: ['*'], gateways: [g, mesh], http: [{"+route+"}]}",
		"spec.hosts[0]: wildcard host * is not allowed for virtual services bound to the mesh gateway")
	f("{hosts: [a.b.c, '*.b.c', x], http: [{"+route+"}]}",
		"spec.hosts[1]: duplicate hosts in virtual service: a.b.c & *.b.c")
	f("{hosts: [A.b, a.B], http: [{"+route+"}]}", "spec.hosts[1]: duplicate hosts in virtual service: A.b & a.B")
	f("{hosts: [a, a.default.svc.cluster.local], http: [{" + route + "}]}")
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
}

func TestHostsThatAreOneHostAreServedOnce(t *testing.T) {
	config, _, problems := translateYAML(t, istio("VirtualService",
		"{hosts: [a, a.default.svc.cluster.local], http: [{redirect: {uri: /}}]}"), Options{})
	if got := config.VirtualServices[0].Hosts; len(got) != 1 {
		t.Errorf("hosts %v", got)
	}
	wantProblems(t, problems, "4 warning spec.hosts[1]: is host a.default.svc.cluster.local once more")
}

// inRule checks the errors of a rule with a route, beside what is given.
func inRule(t *testing.T, rule string, want ...string) {
	t.Helper()
	whole(t, "route: [{destination: {host: a}}], "+rule, want...)
}

// whole checks the errors of a rule.
func whole(t *testing.T, rule string, want ...string) {
	t.Helper()
	for i := range want {
		want[i] = "spec.http[0]" + want[i]
	}
	wantErrors(t, istio("VirtualService",
		"{hosts: [a.example.com], gateways: [g], http: [{"+rule+"}]}"), want...)
}

func TestMatchesAreCheckedAsIstioDoes(t *testing.T) {
	f := func(match string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = ".match[0]" + want[i]
		}
		inRule(t, "match: [{"+match+"}]", want...)
	}
	f("headers: {':authority': {exact: a}, ':method': {exact: a}, ':path': {}, ':scheme': {}, ':status': {}}")
	f("headers: {':a': {exact: a}}", ".headers[:a]: header name :a is not a valid header name")
	f("withoutHeaders: {'a b': {exact: a}}", ".withoutHeaders[a b]: header name a b is not a valid header name")
	f("headers: {'': {exact: a}}", ".headers[]: header name cannot be empty")
	f("headers: {'@request.auth.sub': {exact: a}}",
		".headers[@request.auth.sub]: header name @request.auth.sub is not a valid header name")
	f("headers: {a: {exact: a}, A: {exact: b}}")
	f("withoutHeaders: {a: {regex: '*'}, b: {}}")
	f("withoutHeaders: {a: {regex: '('}}",
		".withoutHeaders[a].regex: error parsing regexp: missing closing ): `(`")
	f("queryParams: {a: {prefix: ''}, b: {regex: '*'}, c: {regex: ''}}",
		".queryParams[a].prefix: prefix string match should not be empty",
		".queryParams[c].regex: regex string match should not be empty")
	f("authority: {prefix: ''}, scheme: {regex: '['}",
		".scheme.regex: error parsing regexp: missing closing ]: `[`",
		".authority.prefix: prefix string match should not be empty")
	f("port: 70000", ".port: port number 70000 must be in the range 1..65535")
	f("port: 0")
	f("sourceNamespace: a.b", ".sourceNamespace: sourceNamespace match a.b is invalid")
	f("sourceLabels: {-a: b, c: '!'}", `.sourceLabels[-a]: invalid tag key: "-a"`,
		`.sourceLabels[c]: invalid tag value: "!"`)
	f("gateways: [a//b]", `.gateways[0]: gateway name "a//b" is not valid`)
	f("gateways: [mesh, a.b.svc.cluster.local, ./c, d/e]")
}

func TestAMatchOnAClaimIsRefusedAndNeverWidened(t *testing.T) {
	const claim = "{'@request.auth.claims.sub': {exact: a}}"
	inRule(t, "match: [{headers: "+claim+"}]", ".match[0].headers[@request.auth.claims.sub]: matching on "+
		"@request.auth.claims.sub is not implemented, as no JWT is verified here, and it decides where a request goes")
	inRule(t, "match: [{withoutHeaders: {'@request.auth.claims[a][b]': {}}}]", ".match[0].withoutHeaders"+
		"[@request.auth.claims[a][b]]: matching on @request.auth.claims[a][b] is not implemented, as no JWT is verified "+
		"here, and it decides where a request goes")
	wantErrors(t, istio("VirtualService", "{hosts: [a.b], http: [{match: [{headers: "+claim+"}], redirect: {uri: /}}]}"),
		"spec.http[0].match[0].headers[@request.auth.claims.sub]: JWT claim based routing (key: @request.auth.claims.sub) "+
			"is only supported for gateway, found no gateways: [mesh]")
	config, _, _ := translateYAML(t, istio("VirtualService", "{hosts: [a.b], gateways: [g], http: ["+
		"{match: [{headers: "+claim+"}, {uri: {exact: /a}}], redirect: {uri: /}},"+
		"{match: [{headers: "+claim+"}], redirect: {uri: /}}]}"), Options{AllowUnsupported: []string{"VirtualService"}})
	rules := config.VirtualServices[0].Rules
	if len(rules) != 1 || len(rules[0].Matches) != 1 || rules[0].Matches[0].URI == nil {
		t.Errorf("rules %+v, want the one match on /a", rules)
	}
}

func TestWhatExcludesEachOtherInARule(t *testing.T) {
	const redirect, direct = "redirect: {uri: /a}", "directResponse: {status: 200}"
	inRule(t, redirect, ".redirect: HTTP route cannot contain both route and redirect")
	whole(t, redirect+", fault: {abort: {httpStatus: 400, percentage: {value: 1}}}, rewrite: {uri: /}, "+direct,
		".redirect: HTTP route cannot contain both fault and redirect",
		".redirect: HTTP route rule cannot contain both rewrite and redirect",
		".redirect: HTTP route rule cannot contain both direct_response and redirect")
	inRule(t, direct+", fault: {abort: {httpStatus: 400, percentage: {value: 1}}}, rewrite: {uri: /}",
		".directResponse: HTTP route cannot contain both route and direct_response",
		".directResponse: HTTP route cannot contain both fault and direct_response",
		".directResponse: HTTP route rule cannot contain both rewrite and direct_response")
	whole(t, redirect)
	whole(t, direct)
	inRule(t, "name: root, delegate: {name: d}, redirect: {uri: /a}",
		".redirect: root HTTP route root must not specify redirect", ".route: root HTTP route root must not specify route")
	whole(t, "delegate: {name: d}")
}

func TestRulesOfConnectionsAreRefused(t *testing.T) {
	f := func(spec, want string) {
		t.Helper()
		wantErrors(t, istio("VirtualService", spec), want)
	}
	f("{hosts: [a.b], tcp: [{route: [{destination: {host: a.b}}]}]}", "spec.tcp[0].route[0].destination.host: "+
		"tcp is not implemented, and it decides where a connection goes: only requests of HTTP are routed yet")
	f("{hosts: [a.b], tls: [{match: [{sniHosts: [a.b]}], route: [{destination: {host: a.b}}]}], "+
		"http: [{redirect: {uri: /}}]}",
		"spec.tls[0]: tls is not implemented, and it decides where a connection goes: only requests of HTTP are routed yet")
}

func TestExportToIsCheckedAsIstioDoes(t *testing.T) {
	f := func(exportTo string, want ...string) {
		t.Helper()
		wantErrors(t, istio("VirtualService", "{hosts: [a.b], exportTo: ["+exportTo+"], http: [{redirect: {uri: /}}]}"),
			want...)
	}
	f("'~'", "spec.exportTo[0]: exportTo ~ (none) is not allowed for Istio configuration objects")
	f("a, a", "spec.exportTo[1]: duplicate entries in exportTo for entry a")
	f("default, .", "spec.exportTo[1]: duplicate entries in exportTo: . and current namespace default")
	f("'*', a", "spec.exportTo: cannot have both public (*) and non-public exportTo values for a resource")
	f("a.b", "spec.exportTo[0]: only .,*, or a valid DNS 1123 label is allowed as exportTo entry")
	f("., a, b")
	f("'*'")
}

func TestOverlappingMatchesAreWarnedOf(t *testing.T) {
	f := func(rules string, want ...string) {
		t.Helper()
		_, _, problems := translateYAML(t, istio("VirtualService",
			"{hosts: [a.b], http: ["+strings.ReplaceAll(rules, "!", "redirect: {uri: /}")+"]}"), Options{})
		var got []string
		for _, p := range problems {
			got = append(got, p.Field+": "+p.Message)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", rules, diff)
		}
	}
	f("{match: [{uri: {prefix: /a}}], !}, {match: [{uri: {prefix: /b}}, {uri: {prefix: /ab}}], name: n, !}",
		`spec.http[1].match[1]: virtualService rule "n" match #1 is not used (duplicate/overlapping match in rule #0)`)
	f("{name: x, match: [{uri: {exact: /a}, method: {exact: GET}}], !}, "+
		"{match: [{method: {exact: GET}, uri: {exact: /a}}], !}",
		`spec.http[1].match[0]: virtualService rule #1 match #0 is not used (duplicate/overlapping match in rule "x")`,
		"spec.http[1]: virtualService rule #1 not used (all matches used by prior rules)")
	f("{match: [{uri: {prefix: /a}, headers: {x: {}}}], !}, "+
		"{match: [{uri: {prefix: /ab}, headers: {x: {exact: y}, z: {}}}], !}",
		`spec.http[1].match[0]: virtualService rule #1 match #0 is not used (duplicate/overlapping match in rule #0)`,
		"spec.http[1]: virtualService rule #1 not used (all matches used by prior rules)")
	const all = "uri: {prefix: /a}, authority: {exact: h}, scheme: {exact: http}, headers: {x: {prefix: y}}, " +
		"withoutHeaders: {w: {exact: v}}, queryParams: {q: {}}"
	f("{match: [{"+all+"}], !}, {match: [{"+strings.Replace(all, "q: {}", "q: {exact: a}, r: {}", 1)+"}], !}",
		`spec.http[1].match[0]: virtualService rule #1 match #0 is not used (duplicate/overlapping match in rule #0)`,
		"spec.http[1]: virtualService rule #1 not used (all matches used by prior rules)")
	for part, other := range map[string]string{
		"exact: h": "prefix: h", "exact: http": "regex: http", "prefix: y": "prefix: z", "exact: v": "exact: vv",
		"withoutHeaders: {w: {exact: v}}": "name: w", "q: {}": "r: {}", "scheme: {exact: http}": "statPrefix: s",
	} {
		f("{match: [{" + all + "}], !}, {match: [{" + strings.Replace(all, part, other, 1) + "}], !}")
	}
	for _, second := range []string{
		"uri: {prefix: /}", "uri: {prefix: /ab}", "uri: {prefix: /ab}, method: {exact: PUT}",
		"uri: {prefix: /ab}, method: {exact: GET}, ignoreUriCase: true", "uri: {regex: '/ab.*'}, method: {exact: GET}",
		"uri: {prefix: /ab}, method: {exact: GET}, port: 8",
	} {
		f("{match: [{uri: {prefix: /a}, method: {exact: GET}, port: 7}], !}, {match: [{" + second + "}], !}")
	}
	// What stands behind a match for everything is compile's to say.
	f("{match: [{uri: {prefix: /}}], !}, {match: [{uri: {prefix: /a}}], !}")
	f("{!}, {match: [{uri: {prefix: /a}}], !}, {match: [{uri: {prefix: /a}}], !}")
}

func TestPathsThatNoRequestHasAreWarnedOf(t *testing.T) {
	_, _, problems := translateYAML(t, istio("VirtualService", `{hosts: [a.example.com], http: [{redirect: {uri: /}, match: [
  {uri: {prefix: api}},
  {uri: {exact: "x/y"}},
  {uri: {exact: "*"}},
  {uri: {prefix: /}}]}]}`), Options{})
	wantProblems(t, problems, "5 warning spec.http[0].match[0].uri.prefix: never matches: a path begins with /",
		"6 warning spec.http[0].match[1].uri.exact: never matches: a path begins with /")
}
