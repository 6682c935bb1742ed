// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

// step is one field of a schema with a value for it: the keys and brackets of its path, and the same as a pattern.
type step struct {
	path, pattern string
	value         any // what encoding/json makes of YAML
}

// fields lists every field below a shape, each with a document that sets it alone: lists have one element, mappings one
// entry, each arm of a oneof is a field of its own.
func fields(s *shape, at step, build func(any) any, depth int) []step {
	var all []step
	add := func(v any) { all = append(all, step{at.path, at.pattern, build(v)}) }
	if depth > 12 {
		return nil
	}
	switch s.form {
	case message:
		add(map[string]any{})
		for _, name := range s.names() {
			next := step{path: at.path + "." + name, pattern: at.pattern + "." + name}
			all = append(all, fields(s.members[name].shape, next, func(v any) any {
				return build(map[string]any{name: v})
			}, depth+1)...)
		}
	case list:
		if s.leaf() {
			add([]any{sample(s.elem)})
			break
		}
		next := step{path: at.path + "[0]", pattern: at.pattern + "[]"}
		all = append(all, fields(s.elem, next, func(v any) any { return build([]any{v}) }, depth+1)...)
	case dict:
		if s.leaf() {
			add(map[string]any{"k": sample(s.elem)})
			break
		}
		next := step{path: at.path + "[k]", pattern: at.pattern + "{}"}
		all = append(all, fields(s.elem, next, func(v any) any { return build(map[string]any{"k": v}) }, depth+1)...)
	default:
		add(sample(s))
	}
	return all
}

// fieldsOf lists every field of a kind but those that all kinds have; the values are documents without these.
func fieldsOf(k kind) []step {
	var all []step
	s := shapes()[k.name]
	for _, name := range s.names() {
		if _, ok := metadataRules[name]; ok {
			continue
		}
		all = append(all, fields(s.members[name].shape, step{path: name, pattern: name}, func(v any) any {
			return map[string]any{name: v}
		}, 0)...)
	}
	return all
}

// sample is a value that is not the type's zero, and not one that asks for what is done anyway.
func sample(s *shape) any {
	switch s.form {
	case integer, intOrString:
		return 7
	case number:
		return 7.5
	case boolean:
		return true
	case enum:
		return s.values[len(s.values)-1]
	case duration:
		return "7s"
	case opaque:
		return map[string]any{"anything": true}
	default:
		return "seven"
	}
}

func TestEveryFieldIsImplementedOrGivesAProblemWithItsPath(t *testing.T) {
	for _, k := range accepted {
		all := fieldsOf(k)
		if len(all) < 7 && k.name != "Pod" {
			t.Fatalf("%s: only %d fields found", k.name, len(all))
		}
		for _, f := range all {
			if _, ok := implemented[k.name][f.pattern]; ok || isAbove(k.name, f.pattern) || isInert(k.name, f.pattern) {
				continue
			}
			problems := withField(t, k, f.value)
			if !slices.ContainsFunc(problems, func(p mesh.Problem) bool { return p.Field == f.path }) {
				t.Errorf("%s: %s set alone gives no problem with that path; problems: %v", k.name, f.path, problems)
			}
		}
	}
}

func withField(t *testing.T, k kind, value any) []mesh.Problem {
	t.Helper()
	apiVersion := strings.TrimPrefix(k.group+"/"+k.versions[0], "/")
	object := map[string]any{"apiVersion": apiVersion, "kind": k.name, "metadata": map[string]any{"name": "x"}}
	maps.Copy(object, value.(map[string]any))
	doc, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	_, _, problems := translateYAML(t, string(doc), Options{})
	return problems
}

// isAbove tells whether a pattern stands for a message that is descended into.
func isAbove(kind, pattern string) bool {
	below := func(p string) bool {
		return strings.HasPrefix(p, pattern) && len(p) > len(pattern) && strings.IndexByte(".[{", p[len(pattern)]) >= 0
	}
	for p := range implemented[kind] {
		if below(p) {
			return true
		}
	}
	for p := range rules[kind] {
		if below(p) {
			return true
		}
	}
	return pattern == "spec"
}

func isInert(kind, pattern string) bool {
	for p, r := range rules[kind] {
		if r.verdict == inert && (pattern == p || strings.HasPrefix(pattern, p+".") || strings.HasPrefix(pattern, p+"[")) {
			return true
		}
	}
	return false
}

func TestEveryFieldIsOnExactlyOneList(t *testing.T) {
	for _, k := range accepted {
		used := map[string]bool{}
		for _, f := range fieldsOf(k) {
			var on []string
			for p := range implemented[k.name] {
				if p == f.pattern {
					on = append(on, p)
				}
			}
			for p := range rules[k.name] {
				if p == f.pattern || strings.HasPrefix(f.pattern, p+".") || strings.HasPrefix(f.pattern, p+"[") ||
					strings.HasPrefix(f.pattern, p+"{") {
					on = append(on, p)
				}
			}
			for _, p := range on {
				used[p] = true
			}
			if len(on) != 1 && !isAbove(k.name, f.pattern) {
				t.Errorf("%s: %s is on %d lists: %v", k.name, f.pattern, len(on), on)
			}
		}
		for p := range implemented[k.name] {
			if !used[p] {
				t.Errorf("%s: implemented field %s is not in the schema", k.name, p)
			}
		}
		for p, r := range rules[k.name] {
			if !used[p] {
				t.Errorf("%s: listed field %s is not in the schema", k.name, p)
			}
			if r.says == "" {
				t.Errorf("%s: %s says nothing", k.name, p)
			}
		}
	}
}

func TestEveryImplementedFieldNamesAGoldenThatSetsIt(t *testing.T) {
	sets := map[string]map[string]bool{} // by golden: kind and pattern
	for kind, patterns := range implemented {
		for pattern, golden := range patterns {
			if sets[golden] == nil {
				sets[golden] = fieldsSetBy(t, golden)
			}
			if !sets[golden][kind+" "+pattern] {
				t.Errorf("%s: golden %s does not set %s", kind, golden, pattern)
			}
		}
	}
}

var (
	items   = regexp.MustCompile(`\[[0-9]+\]`)
	entries = regexp.MustCompile(`\[[^]]+\]`) // after items
)

// fieldsSetBy is what the input of a golden sets: one of package compile, or one of ours.
func fieldsSetBy(t *testing.T, golden string) map[string]bool {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", golden+".txtar"))
	if err != nil {
		archive, err = txtar.ParseFile(filepath.Join("..", "compile", "testdata", golden+".txtar"))
	}
	if err != nil {
		t.Error(err)
		return map[string]bool{}
	}
	set, _, err := source.Load([]string{"-"}, source.Options{Stdin: bytes.NewReader(section(t, archive, "in.yaml"))})
	if err != nil {
		t.Fatal(err)
	}
	patterns := map[string]bool{}
	for _, r := range set.Resources {
		k, _ := classify(r, Options{})
		if k == nil {
			continue
		}
		(&walker{report: newReport(r, nil, Options{}), visit: func(path string) {
			patterns[k.name+" "+entries.ReplaceAllString(items.ReplaceAllString(path, "[]"), "{}")] = true
		}}).walk(k.name, r.Node, shapes()[k.name])
	}
	return patterns
}

func TestMetadataThatTheAPIServerWritesIsNoProblem(t *testing.T) {
	_, _, problems := translateYAML(t, `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: a
  uid: 3f0c
  generation: 4
  resourceVersion: "12"
  creationTimestamp: "2024-01-01T00:00:00Z"
  annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}", foreign/thing: "1"}
  labels: {x: y}
  finalizers: [a/b]
  ownerReferences: [{apiVersion: v1, kind: X, name: y, uid: z}]
  managedFields: [{manager: kubectl, operation: Update, fieldsV1: {"f:spec": {}}}]
spec: {host: a}
status: {validationMessages: []}
`, Options{})
	wantProblems(t, problems,
		"14 warning spec.host: applies to no service: none has the host a.default.svc.cluster.local, "+
			"or other rules for it come first")
}

func TestUnknownFieldNamesItsLineAndTheNearestKnownOne(t *testing.T) {
	_, _, problems := translateYAML(t, `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, label: {}}
spec:
  hosts: [a.example.com]
  http:
  - route: [{destination: {host: a}}]
    miror: {host: b}
    retries: {attemps: 3}
    appendHeaders: {}
spce: {}
`, Options{})
	want := []string{
		`-:3: error: VirtualService default/a: metadata.label: unknown field "label"; did you mean "labels"?`,
		`-:8: error: VirtualService default/a: spec.http[0].miror: unknown field "miror"; did you mean "mirror"?`,
		`-:9: error: VirtualService default/a: spec.http[0].retries.attemps: unknown field "attemps"; ` +
			`did you mean "attempts"?`,
		`-:10: error: VirtualService default/a: spec.http[0].appendHeaders: unknown field "appendHeaders"; remove it, or`,
		`-:11: error: VirtualService default/a: spce: unknown field "spce"; did you mean "spec"?`,
	}
	for _, w := range want {
		if !slices.ContainsFunc(problems, func(p mesh.Problem) bool { return strings.HasPrefix(p.String(), w) }) {
			t.Errorf("missing: %s\nin: %v", w, problems)
		}
	}
}

func TestAFieldThatIsNewerThanTheListsIsRefused(t *testing.T) {
	s := resource(&shape{form: message, members: map[string]*member{"news": {name: "news", shape: &shape{form: text}}}})
	set, _, err := source.Load([]string{"-"}, source.Options{Stdin: strings.NewReader(
		"{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a}, spec: {news: x}}")})
	if err != nil {
		t.Fatal(err)
	}
	p := newReport(set.Resources[0], s, Options{})
	(&walker{report: p}).walk("Gateway", set.Resources[0].Node, s)
	wantProblems(t, p.problems, "1 error spec.news: is not implemented")
}

func TestBothSpellingsOfAFieldAreRead(t *testing.T) {
	f := func(field string, want uint32) {
		t.Helper()
		config, _, _ := translateYAML(t, fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.example.com]
  http: [{route: [{destination: {host: a}}], mirror: {host: b}, %s}]
`, field), Options{})
		if got := config.VirtualServices[0].Rules[0].Mirrors[0].Numerator; got != want {
			t.Errorf("%s: numerator %d, want %d", field, got, want)
		}
	}
	f("mirrorPercentage: {value: 5}", 50_000)
	f("mirror_percentage: {value: 5}", 50_000)
	f("mirrorPercent: 5", 5)
	f("mirror_percent: 5", 5)
}
