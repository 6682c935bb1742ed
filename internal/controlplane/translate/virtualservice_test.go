// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
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

func TestRedirectsAreCheckedAsIstioDoes(t *testing.T) {
	f := func(redirect string, want ...string) {
		t.Helper()
		whole(t, "redirect: {"+redirect+"}", want...)
	}
	f("", ".redirect: redirect must specify URI, authority, scheme, or port")
	f("redirectCode: 302", ".redirect: redirect must specify URI, authority, scheme, or port")
	f("port: 80")
	f("derivePort: FROM_PROTOCOL_DEFAULT")
	f("port: 70000", ".redirect.port: port number 70000 must be in the range 1..65535")
	f("scheme: ftp", `.redirect.scheme: invalid redirect scheme, must be "http" or "https"`)
	f("scheme: https")
	f("uri: /, redirectCode: 200", ".redirect.redirectCode: 200 is not a valid redirect code, must be 3xx")
	f("uri: /, redirectCode: 305", ".redirect.redirectCode: 305 is not a code that Envoy redirects with")
	f("uri: /, redirectCode: 303")
	f("uri: /, prefixRewrite: /b", ".redirect.prefixRewrite: redirect may only specify one of uri or prefix_rewrite")
	f(`uri: "/a\r\nb: c"`, `.redirect.uri: "/a\r\nb: c" has control characters`)
	whole(t, "match: [{uri: {prefix: /a}}, {uri: {exact: /b}}, {port: 80}], redirect: {prefixRewrite: /c}",
		".match[1].uri: redirect prefix_rewrite requires all URI matches to use prefix match type")
}

func TestDirectResponsesAreCheckedAsIstioDoes(t *testing.T) {
	body := func(n int) string {
		return "directResponse: {status: 200, body: {string: '" + strings.Repeat("x", n) + "'}}"
	}
	whole(t, "directResponse: {status: 199}", ".directResponse.status: HTTP status 199 is not in range 200-599")
	whole(t, "directResponse: {status: 600}", ".directResponse.status: HTTP status 600 is not in range 200-599")
	whole(t, "directResponse: {}", ".directResponse.status: HTTP status 0 is not in range 200-599")
	whole(t, body(1<<20))
	whole(t, body(1<<20+1), ".directResponse.body: large direct_responses may impact control plane performance, "+
		"must be less than 1MB")
	_, _, problems := translateYAML(t, istio("VirtualService", "{hosts: [a.b], http: [{"+body(102401)+"}]}"), Options{})
	wantProblems(t, problems, "4 warning spec.http[0].directResponse.body: large direct_responses may impact control "+
		"plane performance")
}

func TestRewritesAreCheckedAsIstioDoes(t *testing.T) {
	f := func(rewrite string, want ...string) {
		t.Helper()
		inRule(t, "rewrite: {"+rewrite+"}", want...)
	}
	f("", ".rewrite: rewrite must specify at least one of URI, UriRegexRewrite, or authority. "+
		"Only one of URI or UriRegexRewrite may be specified")
	f("uri: /a, uriRegexRewrite: {match: a, rewrite: b}",
		".rewrite.uriRegexRewrite: rewrite may only contain one of URI or UriRegexRewrite")
	f("uriRegexRewrite: {match: a}",
		".rewrite.uriRegexRewrite: UriRegexRewrite requires both Rewrite and Match fields to be specified")
	f("uriRegexRewrite: {match: '(', rewrite: a}",
		".rewrite.uriRegexRewrite.match: error parsing regexp: missing closing ): `(`")
	f("authority: a.b")
	for rewrite, want := range map[string]string{
		`\1`: "",
		`\\`: "",
		`a`:  "",
		`\2`: `\2 is put in and match has 1 groups: no path is rewritten`,
		`\a`: "a backslash stands before what is no digit: no path is rewritten",
		`a\`: "a backslash stands before what is no digit: no path is rewritten",
	} {
		_, _, problems := translateYAML(t, istio("VirtualService", "{hosts: [a.b], http: [{route: "+
			"[{destination: {host: a}}], rewrite: {uriRegexRewrite: {match: '/(.)', rewrite: '"+rewrite+"'}}}]}"), Options{})
		got := ""
		for _, p := range problems {
			if p.Severity == mesh.Warning {
				got += p.Message
			}
		}
		if got != want {
			t.Errorf("rewrite %s: %q, want %q", rewrite, got, want)
		}
	}
}

func TestRetriesAreCheckedAsIstioDoes(t *testing.T) {
	f := func(retries string, want ...string) {
		t.Helper()
		inRule(t, "retries: {"+retries+"}", want...)
	}
	f("attempts: -1", ".retries.attempts: attempts cannot be negative")
	f("")
	f("attempts: 0, backoff: 1s, retryIgnorePreviousHosts: true")
	for _, rest := range []string{"perTryTimeout: 1s", "retryOn: 5xx", "retryRemoteLocalities: false"} {
		f(rest, ".retries.attempts: http retry policy configured when attempts are set to 0 (disabled)")
	}
	f("attempts: 1, perTryTimeout: 0s", ".retries.perTryTimeout: duration must be greater than 1ms")
	f("attempts: 1, backoff: 1.5ms", ".retries.backoff: only durations to ms precision are supported")
	f("attempts: 1, retryOn: 'reset,503,unavailable,retriable-headers,http3-post-connect-failure'")
	f("attempts: 1, retryOn: '5xx, reset'", `.retries.retryOn: " reset" is not a valid retryOn policy`)
	f("attempts: 1, retryOn: '5xx,'", `.retries.retryOn: "" is not a valid retryOn policy`)
	f("attempts: 1, retryOn: '599,nonsense'", `.retries.retryOn: "599" is not a valid retryOn policy`,
		`.retries.retryOn: "nonsense" is not a valid retryOn policy`)
}

func TestFaultsAreCheckedAsIstioDoes(t *testing.T) {
	f := func(fault string, want ...string) {
		t.Helper()
		inRule(t, "fault: {"+fault+"}", want...)
	}
	const half = "percentage: {value: 50}"
	f("", ".fault: HTTP fault injection must have an abort and/or a delay")
	f("delay: {exponentialDelay: 1s, "+half+"}", ".fault.delay.exponentialDelay: exponentialDelay not supported yet")
	f("delay: {fixedDelay: 1us, "+half+"}", ".fault.delay.fixedDelay: duration must be greater than 1ms")
	f("delay: {fixedDelay: 1s, percent: 101}", ".fault.delay.percent: percentage 101 is not in range 0..100")
	for _, n := range []string{"-1", "100.1", "9e-05"} {
		f("delay: {fixedDelay: 1s, percentage: {value: "+n+"}}",
			".fault.delay.percentage.value: percentage "+n+" is neither 0.0, nor in range [0.0001, 100.0]")
	}
	f("abort: {http2Error: x, "+half+"}", ".fault.abort.http2Error: HTTP/2 abort fault injection not supported yet")
	f("abort: {httpStatus: 199, "+half+"}", ".fault.abort.httpStatus: HTTP status 199 is not in range 200-599")
	f("abort: {httpStatus: -5, "+half+"}", ".fault.abort.httpStatus: HTTP status -5 is not in range 200-599")
	f("abort: {grpcStatus: not_found, "+half+"}", `.fault.abort.grpcStatus: gRPC status "not_found" is not supported. `+
		"See https://github.com/grpc/grpc/blob/master/doc/statuscodes.md for a list of supported codes, "+
		"for example 'NOT_FOUND'")
	f("abort: {grpcStatus: NOT_FOUND, " + half + "}, delay: {fixedDelay: 1ms, percentage: {}}")
}

func TestAFaultThatNeverHappensIsWarnedOf(t *testing.T) {
	f := func(fault string, want *mesh.Fault, warning string) {
		t.Helper()
		config, _, problems := translateYAML(t, istio("VirtualService",
			"{hosts: [a.b], gateways: [mesh], http: [{route: [{destination: {host: b.c}}], fault: {"+fault+"}}]}"), Options{})
		if diff := cmp.Diff(want, config.VirtualServices[0].Rules[0].Fault); diff != "" {
			t.Errorf("%s: fault (-want +got):\n%s", fault, diff)
		}
		says(t, problems, mesh.Warning, warning)
	}
	f("delay: {fixedDelay: 1s}", &mesh.Fault{Delay: &mesh.Delay{Fixed: time.Second}},
		"fault.delay: no request is delayed: there is no percentage")
	f("delay: {percentage: {value: 1}}", nil, "fault.delay: no request is delayed: there is no fixedDelay")
	f("abort: {httpStatus: 400}", &mesh.Fault{Abort: &mesh.Abort{Status: 400}},
		"fault.abort: no request is aborted: there is no percentage")
	f("abort: {percentage: {value: 1}}", nil, "fault.abort: abort configured, but error type not set")
}

func TestCORSIsCheckedAsIstioDoes(t *testing.T) {
	f := func(cors string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = ".corsPolicy" + want[i]
		}
		inRule(t, "corsPolicy: {"+cors+"}", want...)
	}
	f("")
	f("allowOrigins: [{}, {exact: ''}]", ".allowOrigins[0]: '' is not a valid match type for CORS allow origins",
		".allowOrigins[1]: '' is not a valid match type for CORS allow origins")
	f("allowOrigins: [{regex: '*'}]",
		".allowOrigins[0].regex: error parsing regexp: missing argument to repetition operator: `*`")
	f("allowMethods: [get]", `.allowMethods[0]: "get" is not a supported HTTP method`)
	f("allowHeaders: ['a b', ''], exposeHeaders: ['*', ':x']",
		".allowHeaders[0]: header name a b is not a valid header name", ".allowHeaders[1]: header name cannot be empty",
		".exposeHeaders[1]: header name :x is not a valid header name")
	f("maxAge: 1500ms", ".maxAge: max_age duration is accurate only to seconds precision")
}

func TestHeaderOperationsAreCheckedAsIstioDoes(t *testing.T) {
	for where, prefix := range map[string]string{
		"headers: {%}": ".headers",
		"route: [{destination: {host: a}, headers: {%}}]": ".route[0].headers",
	} {
		f := func(headers string, want ...string) {
			t.Helper()
			for i := range want {
				want[i] = prefix + want[i]
			}
			rule := strings.Replace(where, "%", headers, 1)
			if !strings.HasPrefix(rule, "route") {
				rule += ", route: [{destination: {host: a}}]"
			}
			whole(t, rule, want...)
		}
		f("request: {set: {a: '%REQ(x)%', Host: h, b: '100%%', c: '%START_TIME(%Y)%'}, remove: [x]}, " +
			"response: {add: {a: ''}}")
		f("request: {set: {':path': x}}", `.request.set[:path]: invalid header ":path": header cannot have ":" prefix`)
		f("request: {remove: [Host, ':authority', '']}", `.request.remove[0]: invalid header "Host": cannot set Host header`,
			`.request.remove[1]: invalid header ":authority": header cannot have ":" prefix`,
			".request.remove[2]: header name cannot be empty")
		f("response: {set: {host: x}}", `.response.set[host]: invalid header "host": cannot set Host header`)
		f("response: {add: {'a b': x}}", ".response.add[a b]: header name a b is not a valid header name")
		f(`request: {set: {a: "x\ny"}}`, ".request.set[a]: header value configuration x\ny is invalid")
		f("request: {set: {a: '5%'}}",
			".request.set[a]: header value configuration: invalid header configuration. Un-escaped %")
		f("request: {set: {a: 'x%REQ(y'}}", ".request.set[a]: header value configuration: "+
			"invalid header configuration. Un-terminated variable expression '%REQ(y'")
		f("request: {set: {a: '%REQ(y):3%'}}", ".request.set[a]: header value configuration: "+
			"invalid header configuration. Expecting '%' or whitespace after")
		f("request: {set: {a: '%HOST NAME'}}", ".request.set[a]: header value configuration: "+
			"invalid header configuration. Un-terminated variable expression '%HOST NAME'")
	}
}

func TestTheAuthorityIsChangedInOnePlace(t *testing.T) {
	inRule(t, "rewrite: {authority: a}, headers: {request: {set: {Host: b}}}", ".headers.request.set[Host]: "+
		`authority header cannot be set multiple times: have "a", attempting to set "b"`)
	inRule(t, "headers: {request: {set: {Host: a}, add: {':authority': b}}}", ".headers.request.add[:authority]: "+
		`authority header cannot be set multiple times: have "a", attempting to set "b"`)
	inRule(t, "rewrite: {uri: /}, headers: {request: {set: {Host: b}}}")
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
