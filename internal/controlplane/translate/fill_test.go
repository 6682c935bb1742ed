// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

// specs makes an empty spec of each kind that is filled in.
var specs = map[string]func() proto.Message{
	"Gateway":         func() proto.Message { return new(networking.Gateway) },
	"VirtualService":  func() proto.Message { return new(networking.VirtualService) },
	"DestinationRule": func() proto.Message { return new(networking.DestinationRule) },
	"ServiceEntry":    func() proto.Message { return new(networking.ServiceEntry) },
	"WorkloadEntry":   func() proto.Message { return new(networking.WorkloadEntry) },
	"Sidecar":         func() proto.Message { return new(networking.Sidecar) },
}

// likeJSON holds that filling in from YAML gives what decoding JSON does. It tells whether the spec could be filled in.
func likeJSON(t *testing.T, r *source.Resource) bool {
	t.Helper()
	node := specNode(r.Node)
	if specs[r.Kind] == nil || node == nil {
		return false
	}
	filled, decoded := specs[r.Kind](), specs[r.Kind]()
	if err := fill(filled.ProtoReflect(), node); err != nil {
		return false
	}
	var object struct{ Spec json.RawMessage }
	if err := json.Unmarshal(r.JSON(), &object); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(object.Spec, decoded); err != nil {
		t.Errorf("filled in, but cannot be decoded: %v\n%s", err, r.JSON())
	} else if !proto.Equal(filled, decoded) {
		t.Errorf("filled in\n%v\ndecoded\n%v\nfrom %s", filled, decoded, r.JSON())
	}
	return true
}

func load(t *testing.T, in []byte) []*source.Resource {
	t.Helper()
	set, _, err := source.Load([]string{"-"}, source.Options{Stdin: bytes.NewReader(in)})
	if err != nil {
		t.Fatal(err)
	}
	return set.Resources
}

func TestFillingInIsDecodingJSONForEveryField(t *testing.T) {
	for _, k := range accepted {
		if specs[k.name] == nil {
			continue
		}
		spec := shapes()[k.name].members["spec"].shape
		for _, f := range fields(spec, step{path: "spec", pattern: "spec"}, func(v any) any { return v }, 0) {
			doc, err := yaml.Marshal(map[string]any{
				"apiVersion": k.group + "/v1", "kind": k.name, "metadata": map[string]any{"name": "x"}, "spec": f.value,
			})
			if err != nil {
				t.Fatal(err)
			}
			if r := load(t, doc)[0]; !likeJSON(t, r) && f.pattern != "spec.http[].directResponse.body.bytes" {
				t.Errorf("%s: %s is not filled in", k.name, f.pattern)
			}
		}
	}
}

func TestFillingInIsDecodingJSONForTheGoldens(t *testing.T) {
	n := 0
	for _, dir := range []string{"testdata", filepath.Join("..", "compile", "testdata")} {
		files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range load(t, section(t, archive, "in.yaml")) {
				if likeJSON(t, r) {
					n++
				}
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d resources were filled in", n)
	}
}

// What YAML spells in more ways than JSON either comes out the same or is left to JSON.
func TestFillingInKnowsWhatItCannotSpell(t *testing.T) {
	for _, spec := range []string{
		"{http: [{retries: {attempts: 010}}]}", "{http: [{retries: {attempts: 0x10}}]}",
		"{http: [{retries: {attempts: 1_0}}]}", "{http: [{retries: {attempts: +3}}]}", "{http: [{retries: {attempts: '3'}}]}",
		"{http: [{mirrorPercentage: {value: 1e1}}]}", "{http: [{mirrorPercentage: {value: 00.5}}]}",
		"{http: [{mirrorPercentage: {value: .5}}]}", "{http: [{timeout: 1h0.5s}]}", "{http: [{timeout: -1s}]}",
		"{http: [{directResponse: {body: {bytes: aGk=}}}]}", "{http: [{match: [{ignoreUriCase: True}]}]}",
		"{http: [{mirror_percent: 5, mirrorPercentage: null}]}", "{hosts: [!!str 5]}", "{http: [{mirrorPercent: -0}]}",
	} {
		for _, r := range load(t, []byte(istio("VirtualService", spec))) {
			likeJSON(t, r)
		}
	}
}
