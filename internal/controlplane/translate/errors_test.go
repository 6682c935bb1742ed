// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"
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

func TestValuesOfTheWrongTypeSayWhatToWrite(t *testing.T) {
	f := func(spec, want string) {
		t.Helper()
		wantErrors(t, istio("VirtualService", spec), want)
	}
	const base = "{hosts: [a.example.com], http: [{route: [{destination: {host: a}}], "
	f("{hosts: a.b, http: [{route: [{destination: {host: a}}]}]}", "spec.hosts: is not a list")
	f(base+"name: 5}]}", "spec.http[0].name: is not a string")
	f(base+"name: yes}]}", "spec.http[0].name: is not a string")
	f(base+"timeout: 5}]}", "spec.http[0].timeout: is not a duration")
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
	f("mirror: {host: b}, mirrorPercentage: {value: '50'}", "write 50 without quotes")
	f("mirror: {host: b}, mirrorPercentage: {value: 50%}", "write 50 without %")
	f("mirror: {host: b}, mirrorPercentage: {value: half}", "write a number")
	f("mirror: {host: b, port: {number: 80.5}}", "write a number")
	f("mirror: b", "write fields below it: host, port, subset")
	f("mirror: [{host: b}]", "write it without -: it is no list")
	f("mirrors: {destination: {host: b}}", "begin each item with -")
	f("match: [{uri: /a}]", `write {exact: "/a"} or {prefix: "/a"} or {regex: "/a"}`)
	f("match: [{headers: x}]", "write key: value")
	f("match: [{ignoreUriCase: 'true'}]", "write true or false, without quotes")
	f("timeout: 5", "it needs a unit: write 5s or 5ms")
	f("timeout: soon", "write it as 5s, 100ms or 1h30m")
	f("timeout: {seconds: 5}", "write a single value")
	f("mirror: {host: b}, mirrorPercent: {value: 5}", `did you mean "mirrorPercentage"?`)
	f("name: 1", "put it in quotes")
	f("redirect: {derivePort: from_protocol_default}", `did you mean "FROM_PROTOCOL_DEFAULT"?`)
	f("redirect: {derivePort: never}", "write one of these")
	wantFix := func(spec, want string) {
		t.Helper()
		_, _, problems := translateYAML(t, istio("VirtualService", spec), Options{})
		if len(problems) == 0 || problems[0].Fix != want {
			t.Errorf("%s: problems %v, want the fix %q", spec, problems, want)
		}
	}
	wantFix("{hosts: '*', http: [{route: [{destination: {host: a.b}}]}]}", `write ["*"]`)
	const name = "write the name alone, without scheme, port and path"
	wantFix("{hosts: ['https://a.b'], http: [{redirect: {uri: /}}]}", name)
	wantFix("{hosts: ['a.b:80'], http: [{redirect: {uri: /}}]}", name)
	wantFix("{hosts: [a.b], http: [{route: [{destination: {host: 'http://a'}}]}]}", name)
	wantFix("{hosts: [a_b.c], http: [{redirect: {uri: /}}]}", `write a host name, "*" or "*.example.com"`)
	wantFix("{hosts: [a.b], http: {}}", "begin each item with -")
}

func TestAFieldInTheWrongPlaceSaysWhereItBelongs(t *testing.T) {
	f := func(kind, spec, want string) {
		t.Helper()
		_, _, problems := translateYAML(t, istio(kind, spec), Options{})
		if !slices.ContainsFunc(problems, func(p mesh.Problem) bool { return p.Fix == want }) {
			t.Errorf("%s: problems %v, want the fix %q", spec, problems, want)
		}
	}
	rule := func(rule, want string) {
		t.Helper()
		f("VirtualService", "{hosts: [a.b], http: [{"+rule+"}]}", want)
	}
	rule("statPrefix: s", "move it into match[]")
	rule("route: [{destination: {host: a}, timeout: 5s}]", "move it into spec.http[0]")
	rule("route: [{destination: {host: a, weight: 5}}]", "move it into spec.http[0].route[0]")
	rule("mirror: {host: a, percentage: {value: 5}}", "write mirrorPercentage beside mirror")
	rule("retryOn: 5xx", "move it into retries")
	rule("route: [{host: a}]", "move it into destination")
	rule("hosts: [a.b]", "move it into spec")
	rule("uri: {prefix: /}", "move it into match[], redirect or rewrite")
	rule("rewrite: {prefix: /}", "remove it, or move it to where it belongs; known here: authority, uri, uriRegexRewrite")
	f("Gateway", "{number: 80}", "move it into servers[].port")
	f("VirtualService", "{hosts: [a.b]}\nhttp: []", "move it into spec")
	f("VirtualService", "{apiVersion: v1, hosts: [a.b]}", "move it to the top, beside kind")
}

func TestAResourceThatCannotBeReadIsNotSaidToBeMissing(t *testing.T) {
	const virtual = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n" +
		"spec: {hosts: [a.b], gateways: [g], http: [{route: [{destination: {host: s}}]}]}\n---\n"
	f := func(other, want string) {
		t.Helper()
		_, _, problems := translateYAML(t, virtual+other, Options{})
		var got []string
		for _, p := range problems {
			if p.Severity >= mesh.Unresolved {
				got = append(got, p.Resource.Kind+" "+p.Field)
			}
		}
		if all := strings.Join(got, ", "); all != want {
			t.Errorf("%s: errors %s, want %s", other, all, want)
		}
	}
	const service, gateway = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: ",
		"{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: g}, spec: "
	f(service+"{ports: 80}}", "VirtualService spec.gateways[0], Service spec.ports")
	f(gateway+"{servers: 5}}",
		"VirtualService spec.http[0].route[0].destination.host, Gateway spec.servers")
}

func TestTheProblemsOfOneResourceAreBounded(t *testing.T) {
	count := func(matches int) (errors, more int) {
		var match strings.Builder
		for range matches {
			match.WriteString("{uri: {prefx: /}}, ")
		}
		_, _, problems := translateYAML(t, istio("VirtualService",
			"{hosts: [a.b], http: [{match: ["+match.String()+"], redirect: {uri: /}}]}"), Options{})
		for _, p := range problems {
			if p.Severity == mesh.Error {
				errors++
			}
			if strings.HasPrefix(p.Message, "has more of the like") {
				more++
			}
		}
		return errors, more
	}
	for matches, want := range map[int][2]int{
		maxProblems: {maxProblems, 0}, maxProblems + 1: {maxProblems + 1, 1}, 5 * maxProblems: {maxProblems + 1, 1},
	} {
		if errors, more := count(matches); errors != want[0] || more != want[1] {
			t.Errorf("%d wrong matches: %d errors of which %d say that there are more, want %v", matches, errors, more, want)
		}
	}
}
