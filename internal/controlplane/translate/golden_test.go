// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// A golden is in.yaml, the whole input, and mesh.yaml, what becomes of it, without where it came from. problems.txt has
// the problems that are not notes; without it there are none. In place of mesh.yaml, virtualServices.yaml wants only these
// of it. The expectation is written by hand.
func TestGoldens(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			type result struct {
				mesh.Config
				Endpoints mesh.Endpoints
			}
			var want, got result
			part := section(t, archive, "virtualServices.yaml")
			if err := yaml.UnmarshalStrict(section(t, archive, "mesh.yaml"), &want); err != nil {
				t.Fatal(err)
			}
			if err := yaml.UnmarshalStrict(part, &want.VirtualServices); err != nil {
				t.Fatal(err)
			}
			var problems []mesh.Problem
			got.Config, got.Endpoints, problems = translateYAML(t, string(section(t, archive, "in.yaml")), Options{})
			if len(part) > 0 {
				got = result{Config: mesh.Config{VirtualServices: got.VirtualServices}}
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreTypes(mesh.Ref{}, mesh.Place{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("mesh (-want +got):\n%s", diff)
			}
			var text strings.Builder
			for _, p := range problems {
				if p.Severity != mesh.Note {
					text.WriteString(p.String() + "\n")
				}
			}
			if diff := cmp.Diff(string(section(t, archive, "problems.txt")), text.String()); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// section is a file of an archive, empty if it is not there.
func section(t *testing.T, archive *txtar.Archive, name string) []byte {
	t.Helper()
	for _, f := range archive.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}
