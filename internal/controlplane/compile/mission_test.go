// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"testing"
)

// TestCrossClusterScenarioIsDumpedAsDocumented holds that the routes of the cross-cluster scenario contain what
// operators know from Envoy's config dump.
func TestCrossClusterScenarioIsDumpedAsDocumented(t *testing.T) {
	text, err := os.ReadFile("testdata/mission-excerpt.json")
	if err != nil {
		t.Fatal(err)
	}
	var want any
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	resources, _ := read(t, "testdata/mission-cross-cluster.txtar").run(t)
	routes := values(t, resources.Routes)
	if len(routes) != 1 {
		t.Fatalf("got %d route configurations, want 1", len(routes))
	}
	hosts, ok := routes[0].(map[string]any)["virtual_hosts"].([]any)
	if !ok || len(hosts) != 1 {
		t.Fatalf("got virtual hosts %v, want one", hosts)
	}
	for _, missing := range lacks("", want, hosts[0]) {
		t.Error(missing)
	}
}

// lacks says what of want is not in got: objects may have more keys, lists are as long and in order.
func lacks(path string, want, got any) []string {
	var out []string
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s: got %v, want an object", path, got)}
		}
		for name, value := range want {
			out = append(out, lacks(path+"."+name, value, object[name])...)
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return []string{fmt.Sprintf("%s: got %v, want %d elements", path, got, len(want))}
		}
		for i := range want {
			out = append(out, lacks(fmt.Sprintf("%s[%d]", path, i), want[i], list[i])...)
		}
	default:
		if !reflect.DeepEqual(want, got) {
			out = append(out, fmt.Sprintf("%s: got %v, want %v", path, got, want))
		}
	}
	return out
}

func TestLacksFindsWhatIsMissing(t *testing.T) {
	got := map[string]any{"a": []any{map[string]any{"b": 1.0, "c": false}}, "d": "x"}
	for _, want := range []any{
		map[string]any{"e": 1.0},
		map[string]any{"d": "y"},
		map[string]any{"a": []any{}},
		map[string]any{"a": []any{map[string]any{"c": nil, "b": 2.0}}},
		map[string]any{"d": map[string]any{}},
	} {
		if len(lacks("", want, got)) == 0 {
			t.Errorf("%v: not missed in %v", want, got)
		}
	}
	if missing := lacks("", map[string]any{"a": []any{map[string]any{"c": false}}}, got); missing != nil {
		t.Errorf("got %v, want nothing missing", missing)
	}
}
