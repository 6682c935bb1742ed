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
	for _, rule := range []string{
		"match: [{headers: {'': {regex: '*'}, ':path': {}}, queryParams: {'': {}}}], redirect: {port: 0}",
		"delegate: {}, mirror: {host: a}, mirrorPercentage: {value: 1e300}", "directResponse: {body: {bytes: AA==}}",
		"fault: {delay: {percent: -1}, abort: {grpcStatus: OK}}, retries: {attempts: -1, retryOn: ','}",
		"rewrite: {uriRegexRewrite: {match: '(', rewrite: '\\'}}, headers: {request: {set: {a: '%A(\\'}}}",
		"corsPolicy: {allowOrigins: [{}], maxAge: -1s}, route: [{}]",
	} {
		f.Add([]byte(named("VirtualService", "leaf", "{http: [{"+rule+"}]}") + named("VirtualService", "root",
			"{hosts: ['*'], gateways: [g], http: [{"+rule+"}, {delegate: {name: leaf}, match: [{}, {uri: {}}]}]}")))
	}
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
		for _, r := range first.Resources {
			if !read(r, New(Options{}).opts).failed {
				likeJSON(t, r)
			}
		}
		config, endpoints, problems := Translate(first.Resources, Options{})
		// The second time by a Translator that has seen a part of it before: linking must not have changed what was read.
		again := New(Options{})
		again.Translate(second.Resources[:len(second.Resources)/2])
		again.Translate(second.Resources)
		config2, endpoints2, problems2 := again.Translate(second.Resources)
		if !cmp.Equal(config, config2) || !cmp.Equal(endpoints, endpoints2) || !cmp.Equal(problems, problems2) {
			t.Errorf("translating twice differs:\n%s%s%s", cmp.Diff(config, config2), cmp.Diff(endpoints, endpoints2),
				cmp.Diff(problems, problems2))
		}
	})
}
