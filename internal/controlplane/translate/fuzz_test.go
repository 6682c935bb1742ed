// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

// FuzzTranslate holds that no input makes the way from bytes to the mesh panic, and that it gives equal values twice.
func FuzzTranslate(f *testing.F) {
	for _, dir := range []string{"testdata", filepath.Join("..", "compile", "testdata")} {
		files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				f.Fatal(err)
			}
			for _, part := range archive.Files {
				if part.Name == "in.yaml" {
					f.Add(part.Data)
				}
			}
		}
	}
	f.Add([]byte("{\"kind\": \"List\", \"items\": [{\"kind\": \"Service\"}]}"))
	f.Add([]byte("a: &a [*a, *a]\n<<: *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		load := func() source.Set {
			set, _, err := source.Load([]string{"-"}, source.Options{Stdin: bytes.NewReader(data)})
			if err != nil {
				t.Fatal(err)
			}
			return set
		}
		first, second := load(), load()
		if diff := cmp.Diff(len(first.Resources), len(second.Resources)); diff != "" {
			t.Fatalf("loading twice differs: %s", diff)
		}
		config, endpoints, problems := Translate(first.Resources, Options{})
		config2, endpoints2, problems2 := Translate(second.Resources, Options{})
		if !cmp.Equal(config, config2) || !cmp.Equal(endpoints, endpoints2) || !cmp.Equal(problems, problems2) {
			t.Errorf("translating twice differs:\n%s%s%s", cmp.Diff(config, config2), cmp.Diff(endpoints, endpoints2),
				cmp.Diff(problems, problems2))
		}
	})
}
