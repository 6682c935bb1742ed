// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
	"github.com/umbra-mesh/umbra/internal/controlplane/translate"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// Sections in brief are never rewritten: they were written from docs/semantics.md, by hand.
var update = flag.Bool("update", false, "rewrite want.yaml and problems.txt of the goldens")

func goldens(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	return files
}

// golden is one file: the whole input, flags as on the command line, and what comes out.
type golden struct {
	file    string
	archive *txtar.Archive
}

func read(t testing.TB, file string) *golden {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return &golden{file, a}
}

func (g *golden) section(name string) []byte {
	for _, f := range g.archive.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

// set replaces a section; one that is empty goes.
func (g *golden) set(name string, data []byte) {
	i := slices.IndexFunc(g.archive.Files, func(f txtar.File) bool { return f.Name == name })
	switch {
	case i < 0 && len(data) > 0:
		g.archive.Files = append(g.archive.Files, txtar.File{Name: name, Data: data})
	case i >= 0 && len(data) > 0:
		g.archive.Files[i].Data = data
	case i >= 0:
		g.archive.Files = slices.Delete(g.archive.Files, i, i+1)
	}
}

// run takes the input all the way from YAML to resources.
func (g *golden) run(t *testing.T) (xds.Resources, []mesh.Problem) {
	t.Helper()
	var opts compile.Options
	var labels map[string]string
	flags := flag.NewFlagSet(g.file, flag.ContinueOnError)
	flags.StringVar(&opts.Bind, "bind", "", "")
	flags.StringVar(&opts.Namespace, "namespace", "", "")
	flags.StringVar(&opts.Locality, "locality", "", "")
	flags.Func("outbound-policy", "", func(s string) error {
		policies := map[string]mesh.OutboundPolicy{"allow-any": mesh.AllowAny, "registry-only": mesh.RegistryOnly}
		p, ok := policies[s]
		if !ok {
			return fmt.Errorf("policy %q", s)
		}
		opts.OutboundPolicy = p
		return nil
	})
	flags.Func("path-normalization", "", func(s string) error {
		opts.Paths = map[string]compile.PathNormalization{
			"NONE": compile.NormalizeNone, "MERGE_SLASHES": compile.NormalizeMergeSlashes,
			"DECODE_AND_MERGE_SLASHES": compile.NormalizeDecodedSlashes,
		}[s]
		return nil
	})
	flags.Func("profile", "", func(s string) error {
		profiles := map[string]compile.Profile{"asm": compile.ASM, "istio": compile.Istio}
		p, ok := profiles[s]
		if !ok {
			return fmt.Errorf("profile %q", s)
		}
		opts.Profile = p
		return nil
	})
	flags.Func("outbound", "", func(s string) (err error) {
		opts.Outbound, err = netip.ParseAddrPort(s)
		return err
	})
	flags.Func("port", "", func(s string) error {
		from, to, _ := strings.Cut(s, "=")
		a, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return err
		}
		b, err := strconv.ParseUint(to, 10, 16)
		if err != nil {
			return err
		}
		if opts.Ports == nil {
			opts.Ports = map[uint32]uint32{}
		}
		opts.Ports[uint32(a)] = uint32(b)
		return nil
	})
	flags.Func("labels", "", func(s string) error {
		labels = map[string]string{}
		for _, pair := range strings.Split(s, ",") {
			name, value, _ := strings.Cut(pair, "=")
			labels[name] = value
		}
		return nil
	})
	if err := flags.Parse(strings.Fields(string(g.section("options.txt")))); err != nil {
		t.Fatalf("options.txt: %v", err)
	}
	opts.Labels = labels
	return fromYAML(t, g.section("in.yaml"), labels, opts)
}

func fromYAML(t *testing.T, in []byte, labels map[string]string, opts compile.Options) (xds.Resources, []mesh.Problem) {
	t.Helper()
	set, problems, err := source.Load([]string{source.Stdin}, source.Options{
		Namespace: opts.Namespace,
		Stdin:     bytes.NewReader(in),
	})
	if err != nil {
		t.Fatal(err)
	}
	config, endpoints, more := translate.Translate(set.Resources, translate.Options{
		Namespace: opts.Namespace,
		Labels:    labels,
	})
	resources, rest := compile.Compile(config, endpoints, opts)
	return resources, append(append(problems, more...), rest...)
}

// TestGoldens compares what each golden wants, whole (want.yaml) or in brief, and all problems.
func TestGoldens(t *testing.T) {
	for _, file := range goldens(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			g := read(t, file)
			resources, problems := g.run(t)
			got, gotProblems := sections(t, resources), problemText(problems)
			compared := 0
			for _, f := range g.archive.Files {
				view, ok := briefs[f.Name]
				if !ok && f.Name != "want.yaml" {
					continue
				}
				compared++
				var want map[string]any
				if err := yaml.Unmarshal(f.Data, &want); err != nil {
					t.Fatalf("%s: %v", f.Name, err)
				}
				have := maps.Clone(got)
				if ok {
					have = view(brief{want, g.profile()}, got)
				} else {
					maps.DeleteFunc(have, func(name string, _ any) bool { _, ok := want[name]; return !ok })
					if len(want) == 0 {
						t.Fatal("want.yaml lists no section")
					}
				}
				diff := cmp.Diff(want, have)
				if diff != "" && *update && !ok {
					g.rewrite(t, f.Name, marshal(t, have))
					continue
				}
				if diff != "" {
					t.Errorf("%s (-want +got):\n%s", f.Name, diff)
				}
			}
			if compared == 0 {
				t.Fatal("the golden wants nothing")
			}
			problemDiff := cmp.Diff(string(g.section("problems.txt")), gotProblems)
			if *update && problemDiff != "" {
				g.rewrite(t, "problems.txt", []byte(gotProblems))
				return
			}
			if problemDiff != "" {
				t.Errorf("problems (-want +got):\n%s", problemDiff)
			}
		})
	}
}

func (g *golden) profile() string {
	_, after, _ := strings.Cut(string(g.section("options.txt")), "--profile ")
	name, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	return name
}

func marshal(t *testing.T, sections map[string]any) []byte {
	t.Helper()
	text, err := yaml.Marshal(sections)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (g *golden) rewrite(t *testing.T, section string, data []byte) {
	t.Helper()
	g.set(section, data)
	if err := os.WriteFile(g.file, txtar.Format(g.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sections are the resources as JSON values, by the names that want.yaml uses.
func sections(t *testing.T, r xds.Resources) map[string]any {
	t.Helper()
	return map[string]any{
		"listeners": values(t, r.Listeners),
		"routes":    values(t, r.Routes),
		"clusters":  values(t, r.Clusters),
		"endpoints": values(t, r.Endpoints),
	}
}

func values[M proto.Message](t *testing.T, list []M) []any {
	t.Helper()
	out := []any{}
	for _, m := range list {
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

// problemText leaves notes out: remarks on input that is right.
func problemText(problems []mesh.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		if p.Severity == mesh.Note {
			continue
		}
		fmt.Fprintln(&b, strings.Replace(p.String(), source.Stdin+":", "in.yaml:", 1))
	}
	return b.String()
}

func TestGoldenResourcesPassEnvoysOwnValidation(t *testing.T) {
	for _, file := range goldens(t) {
		resources, _ := read(t, file).run(t)
		if err := resources.Validate(); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestGoldensCiteTheirFacts holds that every golden says what it shows and where the fact is written down, and that
// every fact has a golden.
func TestGoldensCiteTheirFacts(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/semantics.md")
	if err != nil {
		t.Fatal(err)
	}
	cited := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^## (M\d+) `).FindAllSubmatch(doc, -1) {
		cited[string(m[1])] = false
	}
	head := regexp.MustCompile(`^# .+\n# docs/semantics\.md (M\d+(?:(?:-|, )M\d+)*)\n$`)
	for _, file := range goldens(t) {
		m := head.FindSubmatch(read(t, file).archive.Comment)
		if m == nil {
			t.Errorf("%s: the comment is not a line of what it shows and a line with its sections", file)
			continue
		}
		for _, list := range strings.Split(string(m[1]), ", ") {
			first, last, isRange := strings.Cut(list, "-")
			if !isRange {
				last = first
			}
			for n := number(t, first); n <= number(t, last); n++ {
				name := fmt.Sprintf("M%d", n)
				if _, ok := cited[name]; !ok {
					t.Errorf("%s: docs/semantics.md has no section %s", file, name)
				}
				cited[name] = true
			}
		}
	}
	for name, ok := range cited {
		if !ok {
			t.Errorf("docs/semantics.md %s: no golden shows it", name)
		}
	}
}

func number(t *testing.T, section string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimPrefix(section, "M"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
