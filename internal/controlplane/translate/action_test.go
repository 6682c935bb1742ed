// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

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
			"invalid header configuration. Expecting '%' or whitespace after '%REQ(y)'")
		f("request: {set: {a: '%HOST NAME'}}", ".request.set[a]: header value configuration: "+
			"invalid header configuration. Un-terminated variable expression '%HOST NAME'")
	}
}

func TestAWrongHeaderTemplateSaysWhatToWrite(t *testing.T) {
	f := func(value, want string) {
		t.Helper()
		if wrong, fix := checkFormat(value); fix != want || wrong == "" {
			t.Errorf("%s: %q; %q, want %q", value, wrong, fix, want)
		}
	}
	f("5%", "write %% for a percent sign")
	f("50% off", "end it with %, or write %% for a percent sign")
	f("%REQ(x", "end it with %, or write %% for a percent sign")
	f("a %REQ(x):4% b", "end it with )%: a header takes no length behind it")
}

func TestTheAuthorityIsChangedInOnePlace(t *testing.T) {
	inRule(t, "rewrite: {authority: a}, headers: {request: {set: {Host: b}}}", ".headers.request.set[Host]: "+
		`authority header cannot be set multiple times: have "a", attempting to set "b"`)
	inRule(t, "headers: {request: {set: {Host: a}, add: {':authority': b}}}", ".headers.request.add[:authority]: "+
		`authority header cannot be set multiple times: have "a", attempting to set "b"`)
	inRule(t, "rewrite: {uri: /}, headers: {request: {set: {Host: b}}}")
}
