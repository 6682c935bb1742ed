// SPDX-License-Identifier: Apache-2.0

// Package umbra_test holds that the documents tell what is there: what they link to, name and show exists and works.
package umbra_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/cli"
)

// files are the paths of this module's files for which keep holds.
func files(t *testing.T, keep func(path string) bool) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && path != ".ci" && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case !d.IsDir() && keep(path):
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatal("no file to check")
	}
	return found
}

func documents(t *testing.T) []string {
	t.Helper()
	return files(t, func(path string) bool { return strings.HasSuffix(path, ".md") })
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	function = regexp.MustCompile("`([\\w.]+)` in \\[[^\\]]*\\]\\(([^)]+\\.go)\\)")
	inText   = regexp.MustCompile("`((?:internal|examples|docs|test|bench|tools|cmd)/[\\w./-]+)`")
	fence    = regexp.MustCompile("(?ms)^ *```ya?ml\n(.*?)^ *```")
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

func TestEveryLinkedAndNamedFileIsThere(t *testing.T) {
	for _, doc := range documents(t) {
		text := read(t, doc)
		exists := func(path, what string) {
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %s is not there", doc, what)
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := doc
			if target != "" {
				path = filepath.Join(filepath.Dir(doc), target)
			}
			exists(path, m[1])
			if anchor != "" && !hasAnchor(t, path, anchor) {
				t.Errorf("%s: %s has no such heading", doc, m[1])
			}
		}
		for _, m := range inText.FindAllStringSubmatch(text, -1) {
			exists(m[1], m[1])
		}
	}
}

// hasAnchor reports whether a heading of the document gives the anchor, by GitHub's rule.
func hasAnchor(t *testing.T, doc, anchor string) bool {
	t.Helper()
	drop := regexp.MustCompile(`[^\w\- ]`)
	for _, m := range heading.FindAllStringSubmatch(read(t, doc), -1) {
		if strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-") == anchor {
			return true
		}
	}
	return false
}

func TestFunctionsAreWhereTheDocumentsSay(t *testing.T) {
	seen := 0
	for _, doc := range documents(t) {
		for _, m := range function.FindAllStringSubmatch(read(t, doc), -1) {
			seen++
			code := read(t, filepath.Join(filepath.Dir(doc), m[2]))
			declared := regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + regexp.QuoteMeta(m[1]) + `[(\[]`)
			if !declared.MatchString(code) {
				t.Errorf("%s: %s is not in %s", doc, m[1], m[2])
			}
		}
	}
	if seen == 0 {
		t.Error("the documents name no function")
	}
}

func TestEveryYAMLInTheDocumentsIsGoodInput(t *testing.T) {
	for _, doc := range documents(t) {
		for _, m := range fence.FindAllStringSubmatch(read(t, doc), -1) {
			var out bytes.Buffer
			none := func(string) (string, bool) { return "", false }
			if code := cli.Main([]string{"check", "-f", "-"}, strings.NewReader(m[1]), &out, &out, none); code != 0 {
				t.Errorf("%s: exit code %d for\n%s\n%s", doc, code, m[1], out.String())
			}
		}
	}
}

// The examples are what README and their own pages start, and what demo runs.
func TestExamplesPassTheCheck(t *testing.T) {
	for _, path := range files(t, func(path string) bool {
		return strings.HasPrefix(path, "examples/") && strings.HasSuffix(path, ".yaml")
	}) {
		var out bytes.Buffer
		args := []string{"check", "--strict", "-f", path, "--outbound", "127.0.0.1:15080"}
		none := func(string) (string, bool) { return "", false }
		if code := cli.Main(args, strings.NewReader(""), &out, &out, none); code != 0 {
			t.Errorf("%s: exit code %d\n%s", path, code, out.String())
		}
	}
}

func TestEverySectionThatIsCitedIsThere(t *testing.T) {
	sections := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(read(t, "docs/semantics.md"), -1) {
		number, _, _ := strings.Cut(m[1], " ")
		sections[number] = true
	}
	cited := regexp.MustCompile(`docs/semantics\.md((?:,? (?:and )?M\d+)+)`)
	inPage := regexp.MustCompile(`\(M\d+\)|\bof M\d+\b`)
	number := regexp.MustCompile(`M\d+`)
	seen := 0
	for _, path := range files(t, func(path string) bool {
		return strings.HasSuffix(path, ".txtar") || strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".md")
	}) {
		text := read(t, path)
		citations := cited.FindAllString(text, -1)
		if path == filepath.Join("docs", "semantics.md") {
			citations = inPage.FindAllString(text, -1)
		}
		for _, c := range citations {
			for _, m := range number.FindAllString(c, -1) {
				seen++
				if !sections[m] {
					t.Errorf("%s cites docs/semantics.md %s, which is not there", path, m)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("nothing cites docs/semantics.md")
	}
}

func TestCIRunsTheTwoCommandsOfTheREADME(t *testing.T) {
	_, after, _ := strings.Cut(read(t, "README.md"), "## Two commands")
	section, _, _ := strings.Cut(after, "\n## ")
	commands := regexp.MustCompile(`(?m)^    (go .*)$`).FindAllStringSubmatch(section, -1)
	if len(commands) != 2 {
		t.Fatalf("README has %d commands, want 2", len(commands))
	}
	ci := read(t, ".ci/run")
	for _, m := range commands {
		if !strings.Contains(ci, m[1]) {
			t.Errorf(".ci/run does not run %q", m[1])
		}
	}
}
