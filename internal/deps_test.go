// SPDX-License-Identifier: Apache-2.0

// Package internal_test holds the layers of this repository as text and checks the imports against it.
package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/umbra-mesh/umbra"

// layers is the law. A pattern is a package below internal/, or any other import path; it ends in /... for all below it.
//
//	noun  A, ...      A imports no other package of ours
//	wall  A, ... > B  A does not reach B, through any number of our packages, nor do A's own tests import it
//	never A, ... > B  as wall, but tests may: they feed a stage with the one before it
//	plain A, ... > B  A does not import B itself
//	only  A, ... > B  nobody but A imports B
//
// But for wall, a rule is about what is shipped.
const layers = `
# The nouns: what the verbs hand to each other.
noun  controlplane/mesh, dataplane/codec, dataplane/chunk, dataplane/format, dataplane/stats, dataplane/resolve, xds

# The wall: the two halves share the wire, and nothing else.
wall  dataplane/...    > controlplane/...
wall  controlplane/... > dataplane/...
never dataplane/..., controlplane/..., xds > app, cli, admin

# A configuration's way: each hop knows one dialect.
only  controlplane/translate > istio.io/...
only  controlplane/translate > k8s.io/...
only  controlplane/compile, xds, dataplane/build, admin, app > github.com/envoyproxy/...
never controlplane/source  > controlplane/translate, controlplane/compile
never controlplane/compile > controlplane/source, controlplane/translate
never controlplane/mesh    > go.yaml.in/..., google.golang.org/...

# A request's way: mechanisms do not know what they are used for.
never dataplane/codec/http1 > dataplane/loop, dataplane/listener
never dataplane/route       > dataplane/upstream, dataplane/mirror
never dataplane/upstream    > dataplane/mirror, dataplane/proxy, dataplane/build
never dataplane/mirror      > dataplane/proxy, dataplane/build
never dataplane/proxy       > dataplane/build
never dataplane/loop        > dataplane/codec/..., dataplane/upstream
never dataplane/relay       > dataplane/codec/..., dataplane/upstream, dataplane/proxy

# The hot path owes nothing to the standard HTTP stack (codec and filter take the status texts from it) and touches no
# counter but its own.
plain dataplane/chunk, dataplane/loop, dataplane/listener, dataplane/route > net/http
plain dataplane/upstream, dataplane/mirror, dataplane/proxy > net/http
only  dataplane/stats, admin, app > github.com/prometheus/...

# Libraries with one user.
only  cli               > github.com/spf13/...
only  controlplane/source > github.com/fsnotify/...
only  otlp              > go.opentelemetry.io/...
`

type pkg struct {
	imports []string // of what is shipped
	tests   []string // of test files
}

func TestImportsFollowTheLayers(t *testing.T) {
	packages := load(t)
	rules := parse(t, packages)
	for _, r := range rules {
		for _, complaint := range r.check(packages) {
			t.Errorf("%s\n\tthe law: %s", complaint, r.text)
		}
	}
}

// The checker itself: each rule, broken, must say so.
func TestBrokenLayersAreFound(t *testing.T) {
	packages := map[string]*pkg{
		"a":     {imports: []string{module + "/internal/b"}},
		"b":     {imports: []string{module + "/internal/c/d", "x.org/y/z"}},
		"c/d":   {tests: []string{module + "/internal/a"}},
		"other": {},
	}
	for _, line := range []string{
		"noun a",
		"never a > b",
		"never a > c/...",
		"never a, other > c/d",
		"wall a > b",
		"wall c/... > a",
		"never a > x.org/...",
		"plain b > x.org/y/z",
		"only a > x.org/...",
		"only other > b",
	} {
		if got := rule(t, line).check(packages); len(got) != 1 {
			t.Errorf("%s: got complaints %q, want one", line, got)
		}
	}
	for _, line := range []string{
		"noun c/d",
		"never b > a",
		"never c/d > a",
		"wall b > a",
		"plain c/d > a",
		"never c/d > x.org/...",
		"plain a > c/d",
		"only b > x.org/...",
		"only b, other > c/...",
		"only other > a",
	} {
		if got := rule(t, line).check(packages); len(got) != 0 {
			t.Errorf("%s: got complaints %q, want none", line, got)
		}
	}
}

type layerRule struct {
	text, verb string
	from, to   []string
}

func rule(t *testing.T, line string) layerRule {
	t.Helper()
	r := layerRule{text: strings.Join(strings.Fields(line), " ")}
	verb, rest, _ := strings.Cut(r.text, " ")
	from, to, arrow := strings.Cut(rest, " > ")
	r.verb, r.from = verb, strings.Split(from, ", ")
	if arrow {
		r.to = strings.Split(to, ", ")
	}
	if !slices.Contains([]string{"noun", "wall", "never", "plain", "only"}, verb) || arrow == (verb == "noun") {
		t.Fatalf("not a rule: %q", line)
	}
	return r
}

// parse reads the law. A name of ours that no package has is a typing error, and would be a rule without force.
func parse(t *testing.T, packages map[string]*pkg) []layerRule {
	t.Helper()
	var rules []layerRule
	for line := range strings.Lines(layers) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		r := rule(t, line)
		for _, pattern := range append(slices.Clone(r.from), r.to...) {
			if pattern == "net/http" || strings.Contains(strings.TrimSuffix(pattern, "/..."), ".") {
				continue // not ours
			}
			found := false
			for name := range packages {
				found = found || matches(pattern, name)
			}
			if !found {
				t.Errorf("%s: no package is called %s", r.text, pattern)
			}
		}
		rules = append(rules, r)
	}
	return rules
}

func (r layerRule) check(packages map[string]*pkg) []string {
	var complaints []string
	for name, p := range packages {
		mine := anyMatches(r.from, name)
		switch r.verb {
		case "noun":
			for _, to := range p.imports {
				if mine && strings.HasPrefix(to, module+"/") {
					complaints = append(complaints, name+" imports "+to)
				}
			}
		case "only":
			for _, to := range p.imports {
				if !mine && anyMatches(r.to, short(to)) {
					complaints = append(complaints, name+" imports "+to)
				}
			}
		case "wall", "never", "plain":
			if !mine {
				continue
			}
			seen := map[string]bool{}
			for _, to := range p.imports {
				if way := r.reach(packages, to, r.verb != "plain", seen); way != "" {
					complaints = append(complaints, name+" imports "+way)
				}
			}
			for _, to := range p.tests {
				if r.verb == "wall" && anyMatches(r.to, short(to)) {
					complaints = append(complaints, "a test of "+name+" imports "+to)
				}
			}
		}
	}
	slices.Sort(complaints)
	return complaints
}

// reach returns the way from an import to what the rule forbids, if there is one.
func (r layerRule) reach(packages map[string]*pkg, to string, deep bool, seen map[string]bool) string {
	if anyMatches(r.to, short(to)) {
		return to
	}
	p := packages[short(to)]
	if !deep || p == nil || seen[to] {
		return ""
	}
	seen[to] = true
	for _, next := range p.imports {
		if way := r.reach(packages, next, deep, seen); way != "" {
			return to + ", which imports " + way
		}
	}
	return ""
}

func anyMatches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func matches(pattern, name string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == below || strings.HasPrefix(name, below+"/")
	}
	return name == pattern
}

// short is an import path as the law writes it.
func short(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module+"/"), "internal/")
}

// load reads the import clauses of the whole module. It opens the files itself, on purpose: so the test's cached result
// ends when one of them changes, and files of every platform count.
func load(t *testing.T) map[string]*pkg {
	t.Helper()
	packages := map[string]*pkg{}
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if file == ".." {
				return nil
			}
			if _, err := os.Stat(filepath.Join(file, "go.mod")); err == nil || d.Name() == "testdata" || d.Name()[0] == '.' {
				return fs.SkipDir // another module, or none
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		source, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel("..", filepath.Dir(file))
		if err != nil {
			return err
		}
		name := short(path.Join(module, filepath.ToSlash(dir)))
		p := packages[name]
		if p == nil {
			p = new(pkg)
			packages[name] = p
		}
		for _, spec := range f.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			list := &p.imports
			if strings.HasSuffix(file, "_test.go") {
				list = &p.tests
			}
			if !slices.Contains(*list, to) && to != path.Join(module, filepath.ToSlash(dir)) {
				*list = append(*list, to)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages
}
