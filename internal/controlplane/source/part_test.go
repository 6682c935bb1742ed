// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func loadFolder(t *testing.T, l *Loader) Set {
	t.Helper()
	set, _, err := l.Load()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func doc(name string, extra int) string {
	return "apiVersion: v1\nkind: A\nmetadata: {name: " + name + "}\nspec: {a: " + fmt.Sprint(extra) + "}\n"
}

func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDocumentsThatAreAsTheyWereAreTheSameResources(t *testing.T) {
	dir := t.TempDir()
	many, one, list := filepath.Join(dir, "many.yaml"), filepath.Join(dir, "one.yaml"), filepath.Join(dir, "list.yaml")
	rewrite(t, many, doc("a", 1)+"---\n"+doc("b", 1)+"---\n"+doc("c", 1))
	rewrite(t, one, doc("d", 1))
	item := func(name string, extra int) string {
		return fmt.Sprintf("- apiVersion: v1\n  kind: A\n  metadata: {name: %s}\n  spec: {a: %d}\n", name, extra)
	}
	rewrite(t, list, "apiVersion: v1\nkind: List\nitems:\n"+item("e", 1)+item("f", 1))
	l := New([]string{dir}, Options{})
	before := map[string]*Resource{}
	for _, r := range loadFolder(t, l).Resources {
		before[r.Name] = r
	}
	rewrite(t, many, doc("a", 1)+"---\n"+doc("b", 2)+"---\n"+doc("c", 1))
	rewrite(t, list, "apiVersion: v1\nkind: List\nitems:\n"+item("e", 1)+item("f", 2))
	same := map[string]bool{}
	for _, r := range loadFolder(t, l).Resources {
		same[r.Name] = r == before[r.Name]
	}
	want := map[string]bool{"a": true, "b": false, "c": true, "d": true, "e": true, "f": false}
	if diff := cmp.Diff(want, same); diff != "" {
		t.Errorf("same as before (-want +got):\n%s", diff)
	}
	// What moved has other lines, and problems tell lines.
	rewrite(t, many, "# a comment\n"+doc("a", 1)+"---\n"+doc("b", 2)+"---\n"+doc("c", 1))
	for _, r := range loadFolder(t, l).Resources {
		if r.Name == "c" && (r == before["c"] || r.Line != 12) {
			t.Errorf("c is at line %d", r.Line)
		}
	}
	rewrite(t, many, doc("a", 1))
	loadFolder(t, l)
	if many := l.last[many].parts; len(l.last) != 3 || len(many) != 1 {
		t.Errorf("remembered are %d files of 3, and %d documents of 1", len(l.last), len(many))
	}
}

// TestALoaderReadsAsAFreshOne: whatever was read before, a reading is what a first one would be.
func TestALoaderReadsAsAFreshOne(t *testing.T) {
	pieces := []string{
		doc("a", 1), doc("b", 1), doc("b", 2), doc("c", 1), "# nothing\n", "a: [\n", "kind: A\n", "text\n",
		"apiVersion: v1\nkind: A\nmetadata: {name: t}\nspec:\n  text: |\n    ---\n    %a\n", "...\n", "%YAML 1.2\n",
		"apiVersion: v1\nkind: A\nmetadata: {name: x, labels: {a: 1}}\n", "a: &x 1\nb: *y\n", "{{ template }}\n",
	}
	dir := t.TempDir()
	l := New([]string{dir}, Options{})
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var text strings.Builder
		for i := range rnd.IntN(6) {
			if i > 0 {
				text.WriteString([]string{"---\n", "--- # a comment\n", "---\r\n", "\n"}[rnd.IntN(4)])
			}
			text.WriteString(pieces[rnd.IntN(len(pieces))])
		}
		rewrite(t, filepath.Join(dir, fmt.Sprint(rnd.IntN(3), ".yaml")), text.String())
		got, gotProblems, err := l.Load()
		if err != nil {
			t.Fatal(err)
		}
		want, wantProblems, err := Load([]string{dir}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wantProblems, gotProblems); diff != "" {
			t.Fatalf("seed %d: problems of a fresh one (-), got (+):\n%s", seed, diff)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d: a fresh one (-), got (+):\n%s", seed, diff)
		}
	}
}

// TestAFileInPartsReadsAsOneInAll holds the cutting against the parser's own idea of documents.
func TestAFileInPartsReadsAsOneInAll(t *testing.T) {
	for _, text := range []string{
		doc("a", 1) + "---\n" + doc("b", 1), "---\n" + doc("a", 1), "# c\n---\n\n" + doc("a", 1) + "--- # d\n" + doc("b", 1),
		"\ufeff---\n" + doc("a", 1), doc("a", 1) + "---\r\n" + doc("b", 1), doc("a", 1) + "...\n---\n" + doc("b", 1),
		"%YAML 1.2\n---\n" + doc("a", 1), doc("a", 1) + "---", "--- {apiVersion: v1, kind: A, metadata: {name: a}}\n---\n---\n",
		"apiVersion: v1\nkind: A\nmetadata: {name: t}\nspec:\n  text: |\n    x\n   ---\n  y: ---\n---a: b\n",
	} {
		whole := readPart("f", "default", part{text: []byte(strings.TrimPrefix(text, "\ufeff"))})
		joined := &read{}
		for _, p := range parts([]byte(text)) {
			r := readPart("f", "default", p)
			joined.resources = append(joined.resources, r.resources...)
			joined.broken = joined.broken || r.broken
		}
		if diff := cmp.Diff(whole.resources, joined.resources); diff != "" || whole.broken != joined.broken {
			t.Errorf("%q: broken %v, in parts %v; in one (-), in parts (+):\n%s", text, whole.broken, joined.broken, diff)
		}
	}
}

func TestManyNewDocumentsAreReadSideBySideAsInTurn(t *testing.T) {
	dir := t.TempDir()
	for f := range 4 {
		var text strings.Builder
		for i := range 2 * fewParts {
			fmt.Fprintf(&text, "---\n%s", doc(fmt.Sprint("r", f, "-", i), i))
			if i%10 == 0 {
				text.WriteString("---\nkind: A\n") // without a name
			}
		}
		if f == 3 {
			text.WriteString("---\na: [\n---\n" + doc("after", 1))
		}
		rewrite(t, filepath.Join(dir, fmt.Sprint(f, ".yaml")), text.String())
	}
	set, problems, err := Load([]string{dir}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := 4 * 2 * fewParts; len(set.Resources) != want || set.Resources[want-1].Name != fmt.Sprint("r3-", 2*fewParts-1) {
		t.Errorf("%d resources, want %d", len(set.Resources), want)
	}
	if len(problems) != 4*7+1 || !strings.Contains(problems[len(problems)-1].Message, "cannot be read as YAML") {
		t.Errorf("%d problems", len(problems))
	}
}
