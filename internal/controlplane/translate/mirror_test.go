// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"slices"
	"testing"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

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

func TestMirrorsThatNeverCopyAreWarnedOf(t *testing.T) {
	f := func(rule string, want ...string) {
		t.Helper()
		_, _, problems := translateYAML(t, istio("VirtualService",
			"{hosts: [a.example.com], http: [{route: [{destination: {host: a}}], "+rule+"}]}"), Options{})
		warnings := slices.DeleteFunc(problems, func(p mesh.Problem) bool { return p.Severity != mesh.Warning })
		wantProblems(t, warnings, want...)
	}
	const none = "no request is mirrored: there is no value, which is 0"
	const less = "no request is mirrored: the share is counted in steps of 0.0001 percent"
	f("mirror: {host: b}, mirrorPercentage: {}", "4 warning spec.http[0].mirrorPercentage: "+none)
	f("mirrors: [{destination: {host: b}, percentage: {}}]", "4 warning spec.http[0].mirrors[0].percentage: "+none)
	f("mirror: {host: b}, mirrorPercentage: {value: 0.00009}", "4 warning spec.http[0].mirrorPercentage.value: "+less)
	f("mirror: {host: b}, mirrorPercentage: {value: 0.0001}")
	f("mirror: {host: b}, mirrorPercentage: {value: 0}") // a way to switch it off
	f("mirror: {host: b}")
}

func TestANoteTellsOfCopiesThatGoWhereTheRequestsGo(t *testing.T) {
	const note = "copies go where the requests go: it gets each of them twice"
	f := func(mirror string, want bool) {
		t.Helper()
		_, _, problems := translateYAML(t, istio("VirtualService", "{hosts: [a.example.com], http: [{match: [{method: {exact: GET}}], "+
			"route: [{destination: {host: c}}, {destination: {host: a, subset: v1}, weight: 9}], "+mirror+"}]}"), Options{})
		if got := slices.ContainsFunc(problems, func(p mesh.Problem) bool { return p.Message == note }); got != want {
			t.Errorf("%s: told %t, want %t: %v", mirror, got, want, problems)
		}
	}
	f("mirror: {host: a, subset: v1}", true)
	f("mirrors: [{destination: {host: b}}, {destination: {host: c}}]", true)
	f("mirror: {host: a, subset: v2}", false)
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

func TestWritesAreToldOfOnceForAllRules(t *testing.T) {
	_, _, problems := translateYAML(t, istio("VirtualService", `{hosts: [a.example.com], http: [
  {match: [{method: {exact: GET}}], route: [{destination: {host: a}}], mirror: {host: b}},
  {match: [{uri: {prefix: /a}}], route: [{destination: {host: a}}], mirrors: [{destination: {host: b}}]},
  {match: [{uri: {prefix: /b}}], route: [{destination: {host: a}}], mirror: {host: b}},
  {route: [{destination: {host: a}}], mirror: {host: b}}]}`), Options{})
	notes := slices.DeleteFunc(problems, func(p mesh.Problem) bool { return p.Severity != mesh.Note })
	wantProblems(t, notes,
		"6 note spec.http[1].mirrors: writes (POST, PUT, PATCH, DELETE) are mirrored too, here and by 2 more of its rules")
}
