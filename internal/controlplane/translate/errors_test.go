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
