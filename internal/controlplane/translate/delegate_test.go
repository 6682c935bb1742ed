// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

// delegated is what becomes of one rule that delegates to one virtual service of namespace team.
func delegated(t *testing.T, root, leaf string) ([]mesh.Rule, []mesh.Problem) {
	t.Helper()
	config, _, problems := translateYAML(t, delegation(root, leaf), Options{})
	if len(config.VirtualServices) == 0 {
		return nil, problems
	}
	v := config.VirtualServices[0]
	if len(config.VirtualServices) > 1 || v.Name != "root" {
		t.Errorf("the delegate is served by itself: %+v", config.VirtualServices)
	}
	return v.Rules, problems
}

func delegation(root, leaf string) string {
	if root != "" {
		root += ", "
	}
	return named("VirtualService", "root", "{hosts: [a.example], http: [{"+root+
		"delegate: {name: leaf, namespace: team}}]}") + named("VirtualService", "team/leaf", "{http: ["+leaf+"]}") +
		named("ServiceEntry", "a", "{hosts: [a.b, c.d], resolution: STATIC, ports: [{number: 80, name: http, "+
			"protocol: HTTP}], endpoints: [{address: 10.0.0.1}]}")
}

// to is a rule to a host with more.
func to(rest string) string {
	if rest != "" {
		rest = ", " + rest
	}
	return "{route: [{destination: {host: a.b}}]" + rest + "}"
}

func TestADelegatesRuleSaysWhatItDoesNotSayByItsRoot(t *testing.T) {
	const root = `timeout: 5s, rewrite: {uri: /r}, retries: {attempts: 7}, headers: {request: {remove: [r]}},
  fault: {delay: {fixedDelay: 1s, percentage: {value: 100}}}, corsPolicy: {allowMethods: [GET]}`
	rules, _ := delegated(t, root, to("")+", "+to(`timeout: 1s, rewrite: {authority: l}, retries: {}, headers: {},
  fault: {abort: {httpStatus: 400, percentage: {value: 100}}}, corsPolicy: {}`))
	route := []mesh.Destination{{Host: "a.b"}}
	want := []mesh.Rule{
		{
			Route: route, Timeout: 5 * time.Second, Rewrite: &mesh.Rewrite{URI: "/r", HasURI: true},
			Retries: &mesh.Retries{Attempts: 7}, CORS: &mesh.CORS{Methods: []string{"GET"}},
			Headers: mesh.Headers{Request: mesh.HeaderOps{Remove: []string{"r"}}},
			Fault:   &mesh.Fault{Delay: &mesh.Delay{Fixed: time.Second, Million: 1_000_000}},
		},
		{
			Route: route, Timeout: time.Second, Rewrite: &mesh.Rewrite{Authority: "l"}, Retries: &mesh.Retries{},
			CORS: &mesh.CORS{}, Fault: &mesh.Fault{Abort: &mesh.Abort{Status: 400, Million: 1_000_000}},
		},
	}
	if diff := cmp.Diff(want, rules, cmpopts.IgnoreTypes(mesh.Ref{}, mesh.Place{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestMirrorsAreInheritedFieldByField(t *testing.T) {
	f := func(root, leaf string, want ...string) {
		t.Helper()
		rules, problems := delegated(t, root, to(leaf))
		var got []string
		for _, m := range rules[0].Mirrors {
			got = append(got, fmt.Sprint(m.Destination.Host, " ", m.Numerator, "/", m.Denominator))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s over %s: mirrors %q, want %q", leaf, root, got, want)
		}
		for _, p := range problems {
			if p.Severity > mesh.Warning {
				t.Error(p)
			}
		}
	}
	f("mirror: {host: a.b}", "", "a.b 100/0")
	f("mirror: {host: a.b}, mirrorPercentage: {value: 5}", "mirror: {host: c.d}", "c.d 50000/1")
	f("mirrorPercentage: {value: 5}", "mirror: {host: c.d}", "c.d 50000/1")
	f("mirror: {host: a.b}", "mirrorPercentage: {value: 5}", "a.b 50000/1")
	f("mirror: {host: a.b}, mirrorPercent: 5", "mirrorPercentage: {value: 7}", "a.b 70000/1")
	f("mirrorPercentage: {value: 7}", "mirror: {host: a.b}, mirrorPercent: 5", "a.b 70000/1")
	f("mirror: {host: a.b}, mirrorPercentage: {value: 0}", "mirrors: [{destination: {host: c.d}}]", "c.d 100/0")
	f("mirror: {host: a.b}", "mirrors: [{destination: {host: c.d}}]", "a.b 100/0", "c.d 100/0")
	f("mirrors: [{destination: {host: c.d}, percentage: {value: 1}}]", "mirror: {host: a.b}", "a.b 100/0", "c.d 10000/1")
	f("mirrors: [{destination: {host: c.d}}]", "mirrors: [{destination: {host: a.b}, percentage: {}}]")
}

func TestTheMatchesOfADelegateLieWithinItsRoots(t *testing.T) {
	f := func(root, leaf, want string) {
		t.Helper()
		if root != "" {
			root = "match: [" + root + "]"
		}
		if leaf != "" {
			leaf = "match: [" + leaf + "]"
		}
		rules, problems := delegated(t, root, to(leaf))
		got := "left out"
		if len(rules) == 1 {
			got = ""
			for _, m := range rules[0].Matches {
				got += describe(m)
			}
		} else {
			says(t, problems, mesh.Warning, "VirtualService default/root: spec.http[0].delegate: spec.http[0] of "+
				"VirtualService team/leaf is left out: a match of it lies within none of this rule's")
		}
		if got != want {
			t.Errorf("%s within %s: %s, want %s", leaf, root, got, want)
		}
	}
	f("", "", "")
	f("{uri: {prefix: /a}}", "", "[u^/a]")
	f("", "{uri: {prefix: /a}}", "[u^/a]")
	f("{uri: {prefix: /a}}", "{uri: {prefix: /a/b}}", "[u^/a/b]")
	f("{uri: {prefix: /a}}", "{uri: {prefix: /b}}", "left out")
	f("{uri: {prefix: /a/b}}", "{uri: {prefix: /a}}", "left out")
	f("{uri: {prefix: /a}}", "{uri: {exact: /ab}}", "[u=/ab]")
	f("{uri: {exact: /a}}", "{uri: {prefix: /a}}", "left out")
	f("{uri: {exact: /a}}", "{uri: {exact: /a}}", "[u=/a]")
	f("{uri: {exact: /a}}", "{uri: {exact: /b}}", "left out")
	f("{uri: {regex: /a}}", "{uri: {exact: /a}}", "left out")
	f("{uri: {prefix: /a}}", "{uri: {regex: /a}}", "left out")
	f("{uri: {regex: /a}}", "{uri: {regex: /a}}", "left out")
	f("{uri: {regex: /a}}", "{method: {exact: GET}}", "[u~/amethod=GET]")
	f("{uri: {prefix: /}}", "{uri: {}}", "left out")
	f("{headers: {x: {}}}", "{headers: {x: {exact: a}}}", "left out")
	f("{headers: {x: {prefix: a}}}", "{headers: {x: {exact: ab}, y: {}}}", "[x=ab y]")
	f("{headers: {x: {prefix: a}}}", "{headers: {y: {}}}", "[x^a y]")
	f("{withoutHeaders: {x: {exact: a}}}", "{withoutHeaders: {x: {exact: b}}}", "left out")
	f("{queryParams: {x: {exact: a}}}", "{queryParams: {x: {exact: b}}}", "left out")
	f("{queryParams: {x: {exact: a}}}", "{queryParams: {y: {exact: b}}}", "[?x=a?y=b]")
	f("{port: 80}", "{uri: {exact: /}}", "[u=/:80]")
	f("{port: 80}", "{port: 81}", "left out")
	f("{uri: {prefix: /a}, ignoreUriCase: true}", "{uri: {prefix: /a}}", "left out")
	f("{uri: {prefix: /a}, ignoreUriCase: true}", "{uri: {prefix: /ab}, ignoreUriCase: true}", "[u^/ab]")
	f("{sourceNamespace: n}", "{uri: {exact: /}}", "left out")
	f("{sourceNamespace: n}", "{sourceNamespace: n}", "[n]")
	f("{uri: {prefix: /}}", "{sourceNamespace: n}", "[u^/n]")
	f("{sourceLabels: {a: b}}", "{sourceLabels: {a: c}}", "left out")
	f("{gateways: [mesh]}", "{gateways: [mesh, x/y]}", "left out")
	f("{gateways: [mesh]}", "{gateways: [mesh], statPrefix: s}", "[meshs]")
	f("{uri: {prefix: /a}}, {uri: {prefix: /b}}", "{method: {exact: GET}}, {uri: {prefix: /bc}}",
		"[u^/amethod=GET][u^/bmethod=GET][u^/bc]")
	f("{uri: {prefix: /a}}, {uri: {prefix: /b}}", "{uri: {exact: /bc}}, {uri: {exact: /cd}}", "left out")
	f("{name: r, uri: {prefix: /a}}", "{name: l}, {}", "[r-l u^/a][r u^/a]")
}

func describe(m mesh.Match) string {
	var b strings.Builder
	kinds := "=^~"
	value := func(name string, s *mesh.StringMatch) {
		if s != nil {
			b.WriteString(name + kinds[s.Kind:s.Kind+1] + s.Value)
		}
	}
	if m.Name != "" {
		b.WriteString(m.Name + " ")
	}
	value("u", m.URI)
	value("method", m.Method)
	for _, h := range m.Headers {
		if value(h.Name, h.Value); h.Value == nil {
			b.WriteString(" " + h.Name)
		}
	}
	for _, q := range m.Query {
		value("?"+q.Name, q.Value)
	}
	if m.Port != 0 {
		fmt.Fprint(&b, ":", m.Port)
	}
	return "[" + b.String() + m.SourceNamespace + strings.Join(m.Gateways, " ") + m.StatPrefix + "]"
}

func TestARuleOfADelegateIsTheDelegates(t *testing.T) {
	rules, _ := delegated(t, "name: r, match: [{uri: {prefix: /}}], mirror: {host: c.d}", to("name: l")+", "+to(""))
	if got := rules[0].Name + " " + rules[1].Name; got != "r-l r" {
		t.Errorf("names %s", got)
	}
	for i, r := range rules {
		want := mesh.Place{Field: fmt.Sprintf("spec.http[%d]", i), Line: 9}
		if r.Origin.Name != "leaf" || r.Place != want || r.Matches[0].Place != want ||
			r.Mirrors[0].Destination.Place != want {
			t.Errorf("rule %d is of %v, at %+v, %+v and %+v", i, r.Origin, r.Place, r.Matches[0].Place,
				r.Mirrors[0].Destination.Place)
		}
	}
}

func TestHostsOfADelegateAreNamesOfItsOwnNamespace(t *testing.T) {
	rules, _ := delegated(t, "", "{route: [{destination: {host: web}}], mirror: {host: web}}")
	if got := rules[0].Route[0].Host + rules[0].Mirrors[0].Destination.Host; got !=
		"web.team.svc.cluster.localweb.team.svc.cluster.local" {
		t.Errorf("hosts %s", got)
	}
}

func TestARedirectOrAnAnswerStandsForTheRoute(t *testing.T) {
	rules, _ := delegated(t, "directResponse: {status: 418}",
		to("")+", {redirect: {uri: /}}, {directResponse: {status: 200}}")
	var got []string
	for _, r := range rules {
		s := fmt.Sprint(len(r.Route), r.Redirect != nil, r.Direct != nil)
		if r.Direct != nil {
			s += fmt.Sprint(r.Direct.Status)
		}
		got = append(got, s)
	}
	if want := []string{"0 false true418", "0 true false", "0 false true200"}; !slices.Equal(got, want) {
		t.Errorf("rules %q, want %q", got, want)
	}
}

func TestADelegateThatIsNotThereTakesItsRuleAlong(t *testing.T) {
	f := func(delegate, leaf, want string, rules int) {
		t.Helper()
		config, _, problems := translateYAML(t, named("VirtualService", "root", "{hosts: [a.example], http: [{delegate: "+
			delegate+"}, {match: [{uri: {exact: /own}}], redirect: {uri: /}}]}")+leaf, Options{})
		if got := len(config.VirtualServices[0].Rules); got != rules {
			t.Errorf("%s: %d rules, want %d", delegate, got, rules)
		}
		if want != "" {
			says(t, problems, mesh.Unresolved, "VirtualService default/root: spec.http[0].delegate: ", want)
		}
	}
	const rule = "http: [{redirect: {uri: /}}]"
	f("{name: leaf}", named("VirtualService", "team/leaf", "{"+rule+"}"), "delegate virtual service default/leaf not "+
		`found: the rule is left out; did you mean "team/leaf"?`, 1)
	f("{name: leaf}", named("VirtualService", "leaf", "{hosts: [b.c], "+rule+"}"),
		"delegate virtual service default/leaf not found: the rule is left out; add a VirtualService of that name without "+
			"hosts", 1)
	f("{name: leaf, namespace: team}", named("VirtualService", "team/leaf", "{exportTo: [., other], "+rule+"}"),
		"delegate virtual service team/leaf is not exported to default: the rule is left out; add the namespace to "+
			"exportTo of VirtualService team/leaf", 1)
	f("{name: leaf, namespace: team}", named("VirtualService", "team/leaf", "{exportTo: [default], "+rule+"}"), "", 2)
	f("{name: leaf}", named("VirtualService", "leaf", "{exportTo: [.], "+rule+"}"), "", 2)
	f("{name: leaf}", named("VirtualService", "leaf", "{gateways: [g], "+rule+"}"), "", 1)
}

func TestDelegatesAreCheckedAsIstioDoes(t *testing.T) {
	f := func(spec string, want ...string) {
		t.Helper()
		wantErrors(t, istio("VirtualService", spec), want...)
	}
	f("{http: [{redirect: {uri: /}}], gateways: [g]}",
		"spec.gateways: delegate virtual service must have no gateways specified")
	f("{http: [{delegate: {name: x}, redirect: {uri: /}}]}",
		"spec.http[0].delegate: delegate HTTP route cannot contain delegate")
	f("{http: [{name: x}]}", "spec.http[0].route: HTTP route, redirect or direct_response is required")
	f("{tls: [{match: [{sniHosts: [a]}], route: [{destination: {host: a}}]}]}",
		"spec.tls[0]: tls is not implemented, and it decides where a connection goes: only requests of HTTP are routed yet",
		"spec.tls: delegate virtual service must have no tls route specified")
}

func TestARootWithoutRulesIsNotServed(t *testing.T) {
	config, _, problems := translateYAML(t, named("VirtualService", "root",
		"{hosts: [a.example], http: [{delegate: {name: gone}}]}")+
		named("VirtualService", "lonely", "{http: [{redirect: {uri: /}}]}"), Options{})
	if len(config.VirtualServices) != 0 {
		t.Errorf("virtual services %+v", config.VirtualServices)
	}
	wantProblems(t, problems,
		"4 unresolved spec.http[0].delegate: delegate virtual service default/gone not found: the rule is left out",
		"8 note metadata.name: has no hosts, and no virtual service delegates to it")
}

// Compile reuses what it made of a virtual service by its pointer.
func TestALinkedRootStaysThePointerItWasUntilItsDelegateChanges(t *testing.T) {
	load := func(in string) []*source.Resource {
		set, _, err := source.Load([]string{"-"}, source.Options{Stdin: strings.NewReader(in)})
		if err != nil {
			t.Fatal(err)
		}
		return set.Resources
	}
	first, changed := load(delegation("", to("")+", "+to("name: a"))), load(delegation("", to("name: b")))
	tr := New(Options{})
	get := func(resources []*source.Resource) *mesh.VirtualService {
		config, _, _ := tr.Translate(resources)
		return config.VirtualServices[0]
	}
	a, b := get(first), get(first)
	first[1] = changed[1]
	c, d := get(first), get(first)
	if a != b || c != d || a == c || len(a.Rules) != 2 || len(c.Rules) != 1 {
		t.Errorf("pointers %p %p %p %p, rules %d and %d", a, b, c, d, len(a.Rules), len(c.Rules))
	}
}
