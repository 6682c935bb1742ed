// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// write puts files, given as name and content in turn, into a new folder.
func write(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		put(t, filepath.Join(dir, files[i]), files[i+1])
	}
	return dir
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func object(name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s}\n", name)
}

func load(t *testing.T, opts Options, inputs ...string) (Set, []mesh.Problem) {
	t.Helper()
	set, problems, err := Load(inputs, opts)
	if err != nil {
		t.Fatal(err)
	}
	return set, problems
}

func loadString(t *testing.T, in string) (Set, []mesh.Problem) {
	t.Helper()
	return load(t, Options{Stdin: strings.NewReader(in)}, "-")
}

func names(resources []*Resource) string {
	var s []string
	for _, r := range resources {
		s = append(s, r.Name)
	}
	return strings.Join(s, " ")
}

func wantProblems(t *testing.T, problems []mesh.Problem, want ...string) {
	t.Helper()
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), strings.Join(got, "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestAFolderIsReadByNameAndWithoutItsSubfolders(t *testing.T) {
	dir := write(t, "b.yml", object("b"), "a.yaml", object("a1")+"---\n"+object("a2"), "c.json",
		`{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c"}}`, "notes.txt", "not: [yaml", "sub/d.yaml",
		object("d"), ".hidden.yaml", "{", "..data/a.yaml", object("a1"))
	set, problems := load(t, Options{}, dir)
	wantProblems(t, problems)
	if got := names(set.Resources); got != "a1 a2 b c" {
		t.Errorf("resources %s", got)
	}
	set, _ = load(t, Options{Recursive: true}, dir)
	if got := names(set.Resources); got != "a1 a2 b c d" {
		t.Errorf("recursive: resources %s", got)
	}
	set, problems = load(t, Options{}, filepath.Join(dir, "b.yml"), dir, dir)
	wantProblems(t, problems)
	if got := names(set.Resources); got != "b a1 a2 c" {
		t.Errorf("a file named twice: resources %s", got)
	}
}

func TestAResourceKnowsWhereItStandsAndWhatItIs(t *testing.T) {
	set, problems := load(t, Options{Namespace: "apps", Stdin: strings.NewReader(`# comment
---
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: gw
  creationTimestamp: 2024-05-06T07:08:09Z
  labels: {a: "1"}
  annotations: {b: c}
spec:
  servers: []
`)}, "-")
	wantProblems(t, problems)
	r := set.Resources[0]
	if want := (mesh.Ref{Kind: "Gateway", Namespace: "apps", Name: "gw", File: "-", Line: 4}); r.Ref() != want {
		t.Errorf("ref %+v, want %+v", r.Ref(), want)
	}
	if want := (Key{"networking.istio.io", "Gateway", "apps", "gw"}); r.Key() != want {
		t.Errorf("key %+v, want %+v", r.Key(), want)
	}
	if !r.Created.Equal(time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)) || r.Labels["a"] != "1" || r.Annotations["b"] != "c" {
		t.Errorf("created %v, labels %v, annotations %v", r.Created, r.Labels, r.Annotations)
	}
	want := `{"apiVersion":"networking.istio.io/v1","kind":"Gateway","metadata":{"name":"gw",` +
		`"creationTimestamp":"2024-05-06T07:08:09Z","labels":{"a":"1"},"annotations":{"b":"c"}},"spec":{"servers":[]}}`
	if string(r.JSON()) != want {
		t.Errorf("JSON %s\nwant %s", r.JSON(), want)
	}
}

func TestListsAreReadItemByItem(t *testing.T) {
	set, problems := loadString(t, `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: a}
- {apiVersion: networking.istio.io/v1, kind: GatewayList, items: [{metadata: {name: b}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualServiceList
metadata: {resourceVersion: "1"}
items:
- metadata: {name: c, namespace: n}
---
{apiVersion: v1, kind: List, items: null}
---
apiVersion: example.com/v1
kind: AllowList
metadata: {name: d}
spec: {}
`)
	wantProblems(t, problems)
	var got []string
	for _, r := range set.Resources {
		got = append(got, fmt.Sprintf("%s %s line %d", r.APIVersion, r.Ref(), r.Line))
	}
	want := []string{
		"v1 Service default/a line 4", "networking.istio.io/v1 Gateway default/b line 7",
		"networking.istio.io/v1 VirtualService n/c line 13", "example.com/v1 AllowList default/d line 17",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}
}

func TestASyntaxErrorBreaksItsFileOnly(t *testing.T) {
	dir := write(t, "a.yaml", object("a"), "b.yaml", object("b")+"---\nspec:\n  x: [1, 2\n", "c.yaml", object("c"))
	set, problems := load(t, Options{}, dir)
	b := filepath.Join(dir, "b.yaml")
	wantProblems(t, problems, b+":6: error: cannot be read as YAML: did not find expected ',' or ']'; "+
		"close the bracket that begins here or above, and put commas between its items; the file's resources are not read")
	if got := names(set.Resources); got != "a b c" || !set.Broken[b] || len(set.Broken) != 1 {
		t.Errorf("resources %s, broken %v", got, set.Broken)
	}
}

func TestASyntaxErrorSaysWhere(t *testing.T) {
	f := func(in string, line int, want string) {
		t.Helper()
		_, problems := loadString(t, in)
		if len(problems) != 1 || problems[0].Line != line || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%q: problems %v, want %q in line %d", in, problems, want, line)
		}
	}
	f("a: b\nc: [1, 2\nd: e\n", 2, "YAML: did not find expected ',' or ']'")
	f("a: 1\nb: 2\n- c\n", 3, "did not find expected key")
	f("a: 1\nb: }\n", 2, "did not find expected node content")
	f("a: 1\nb:\n  c:\n  - d: 1\n    e: 2\n- f: 3\ng: 4\n", 6, "did not find expected key")
	f("a: 1\nb:\n  c: 1\n d: 2\ne: 3\n", 4, "did not find expected key")
	f("a: 1\nb:\n\tc: 1\n", 3, "indent with spaces, not with tabs")
	f("a: [\n\n", 1, "did not find expected node content")
	f("a: 1\nb: @x\n", 2, "found character that cannot start any token")
	f("a: 1\nb: \"x\n", 2, "found unexpected end of stream")
	f("a: 1\nb: 2\nm:\n  x: 1\n    y: 2\n", 5, "mapping values are not allowed in this context")
	f("a: 1\n\tb: 2\n", 2, "tab")
	f("a: 1\nb:\n- c\n- *nobody\n", 4, "YAML: unknown anchor 'nobody' referenced")
	f("\x00", 1, "YAML: control characters are not allowed")
	f("a: 1\n{{- if .X }}\nb: 2\n{{- end }}\n", 2, "it looks like a template")
	f("apiVersion: v1\nkind: A\nmetadata: {name: a, namespace: {{ .N }}}\n", 3, "{{ }} is for a template")
}

func TestAByteOrderMarkIsNoContent(t *testing.T) {
	for _, in := range []string{object("a"), strings.ReplaceAll(object("a"), "\n", "\r\n"),
		`{"apiVersion": "v1", "kind": "A", "metadata": {"name": "a", "annotations": {"x": "\ud83d\ude00"}}}`} {
		set, problems := loadString(t, "\ufeff"+in)
		if names(set.Resources) != "a" || len(problems) != 0 {
			t.Errorf("%q: resources %s, problems %v", in, names(set.Resources), problems)
		}
	}
}

func TestAKustomizationIsAResourceWithoutAName(t *testing.T) {
	const k = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n"
	dir := write(t, "kustomization.yaml", k, "x/kustomization.yaml", k)
	set, problems := load(t, Options{Recursive: true}, dir)
	if len(set.Resources) != 2 || len(problems) != 0 || len(set.Broken) != 0 {
		t.Errorf("resources %s, problems %v, broken %v", names(set.Resources), problems, set.Broken)
	}
}

func TestADocumentThatIsNoResourceBreaksItsFile(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		set, problems := loadString(t, in)
		if len(problems) != 1 || !strings.HasPrefix(problems[0].String(), "-:"+want) || !set.Broken["-"] {
			t.Errorf("%q: problems %v, broken %v, want %s", in, problems, set.Broken, want)
		}
	}
	f("just text", "1: error: not a resource")
	f("- a", "1: error: not a resource")
	f("# x\nkind: A\nmetadata: {name: a}", "2: error: apiVersion: is missing in A a; every resource needs")
	f("apiVersion: v1\nmetadata: {name: a}", `1: error: kind: is missing in the resource named "a"; `)
	f("apiVersion: v1\nkind: A", "1: error: metadata.name: is missing in a A;")
	f("a: b", "1: error: apiVersion: is missing; every")
	f("apiVersion: v1\nkind: A\nmetadata: {name: [a]}", "1: error: metadata.name: is missing in a A")
	f("apiVersion: v1\nkind: List\nitems: {}", "1: error: items: is not a list")
	f("apiVersion: v1\nkind: List\nkind: List\nitems: []", `3: error: key "kind" is there twice`)
	f("a: \"\xff\"", "1: error: cannot be read as YAML")
}

func TestTwoResourcesOfOneNameAreAProblemNamingBoth(t *testing.T) {
	dir := write(t, "a.yaml", object("x"), "b.yaml", "\n"+object("y")+"---\n"+object("x"))
	set, problems := load(t, Options{}, dir)
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	wantProblems(t, problems, b+":6: error: Service default/x: metadata.name: there are two: the first is at "+a+":1; "+
		"remove one; the first is used")
	if got := names(set.Resources); got != "x y" || set.Resources[0].File != a {
		t.Errorf("resources %s", got)
	}
}

func TestTheSameNameInAnotherGroupIsAnotherResource(t *testing.T) {
	_, problems := loadString(t, "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a}}\n---\n"+
		"{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: a}}")
	wantProblems(t, problems)
	_, problems = loadString(t, "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a}}\n---\n"+
		"{apiVersion: networking.istio.io/v1beta1, kind: Gateway, metadata: {name: a}}")
	if len(problems) != 1 {
		t.Errorf("two versions of one resource: problems %v", problems)
	}
}

func TestInputThatCannotBeReadIsAnError(t *testing.T) {
	f := func(want string, inputs ...string) {
		t.Helper()
		_, _, err := Load(inputs, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("inputs %q: error %v, want %s", inputs, err, want)
		}
	}
	f("no input")
	f("no such file or directory", filepath.Join(t.TempDir(), "gone.yaml"))
	f("no .yaml, .yml or .json file in folder", t.TempDir())
	f("those of its subfolders are read with -R", write(t, "below/a.yaml", object("a")))
	f("the path is empty", "")
	f("no standard input", "-")
	dangling := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(dangling, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	f("no such file or directory", dangling)
}

func TestAFileOverTheBoundIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big.yaml")
	put(t, path, "a: b\n")
	if err := os.Truncate(path, MaxFileBytes+1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load([]string{path}, Options{}); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("error %v", err)
	}
}

func TestStandardInputIsReadOnceAndRemembered(t *testing.T) {
	dir := write(t, "a.yaml", object("a"))
	l := New([]string{dir, "-"}, Options{Stdin: strings.NewReader(object("b"))})
	for range 2 {
		set, _, err := l.Load()
		if got := names(set.Resources); err != nil || got != "a b" {
			t.Errorf("resources %s, error %v", got, err)
		}
	}
}

func TestMetadataOfTheWrongTypeIsAProblem(t *testing.T) {
	set, problems := loadString(t, `apiVersion: v1
kind: Service
metadata:
  name: a
  creationTimestamp: yesterday
  labels: {version: 1, x: null}
  annotations: [a]
`)
	wantProblems(t, problems,
		"-:6: error: Service default/a: metadata.labels[version]: is not a string; put the value in quotes",
		"-:7: error: Service default/a: metadata.annotations: is not a mapping; write key: value pairs",
		`-:5: error: Service default/a: metadata.creationTimestamp: "yesterday" is no RFC 3339 time; `+
			"write it as 2006-01-02T15:04:05Z, or leave it out")
	if want := map[string]string{"x": ""}; !cmp.Equal(set.Resources[0].Labels, want) {
		t.Errorf("labels %v, want %v", set.Resources[0].Labels, want)
	}
}

func TestInputWithoutAResourceIsWarnedOf(t *testing.T) {
	const nothing = ": warning: holds no resource, and no other file does; write a document with apiVersion, kind and metadata"
	for _, in := range []string{"# only a comment\n", "---\n---\n", "null", "{apiVersion: v1, kind: List, items: []}"} {
		_, problems := loadString(t, in)
		wantProblems(t, problems, "-:1"+nothing)
	}
	dir := write(t, "a.yaml", "# off\n", "b.yaml", object("b"))
	_, problems := load(t, Options{}, dir)
	wantProblems(t, problems)
	_, problems = loadString(t, " \n")
	wantProblems(t, problems, "-:1: warning: standard input is empty; pipe resources into it, as from kubectl get -o yaml")
}
