// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// checkMesh compiles the mesh that a seed stands for, twice, and holds what is true of every mesh.
func checkMesh(t *testing.T, seed uint64) {
	t.Helper()
	config, endpoints := meshes{rand.New(rand.NewPCG(seed, 1))}.config()
	opts := meshes{rand.New(rand.NewPCG(seed, 2))}.options()
	first, problems := compile.Compile(config, endpoints, opts)
	second, again := compile.Compile(config, endpoints, opts)
	if first.Version != second.Version {
		t.Errorf("seed %d: two versions of one mesh:\n%s", seed, cmp.Diff(first, second, protocmp.Transform()))
	}
	if diff := cmp.Diff(problems, again); diff != "" {
		t.Errorf("seed %d: other problems the second time:\n%s", seed, diff)
	}
	if err := first.Validate(); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	for _, fault := range faults(first) {
		t.Errorf("seed %d: %s", seed, fault)
	}
}

// checkEdits follows a mesh through edits with one compiler and holds that nobody could tell it from a new one, and that
// what was published stays as it was.
func checkEdits(t *testing.T, seed uint64) {
	t.Helper()
	m := meshes{rand.New(rand.NewPCG(seed, 3))}
	config, endpoints := m.config()
	opts := m.options()
	compiler := compile.New(opts)
	for edit := range 12 {
		got, problems := compiler.Compile(config, endpoints)
		want, wantProblems := compile.Compile(config, endpoints, opts)
		if got.Version != want.Version {
			t.Fatalf("seed %d, edit %d: another result than a new compiler's (-new +reused):\n%s", seed, edit,
				cmp.Diff(want, got, protocmp.Transform()))
		}
		if diff := cmp.Diff(wantProblems, problems); diff != "" {
			t.Fatalf("seed %d, edit %d: other problems than a new compiler's (-new +reused):\n%s", seed, edit, diff)
		}
		config, endpoints = m.edit(config, endpoints)
		compiler.Compile(config, endpoints)
		if got.Seal(); got.Version != want.Version {
			t.Fatalf("seed %d, edit %d: what was published has changed", seed, edit)
		}
	}
}

func TestACompilerThatIsUsedAgainGivesWhatANewOneDoes(t *testing.T) {
	for seed := range uint64(300) {
		checkEdits(t, seed)
	}
}

func FuzzEdits(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(seed)
	}
	f.Fuzz(checkEdits)
}

// faults says what a proxy would refuse although each message is valid by itself: names and domains that are there
// twice, routes that nothing can reach, names that nothing stands behind.
func faults(r xds.Resources) []string {
	var out []string
	seen := map[string]bool{}
	once := func(kind, name string) {
		if seen[kind+name] {
			out = append(out, fmt.Sprintf("%s %q is there twice", kind, name))
		}
		seen[kind+name] = true
	}
	for _, l := range r.Listeners {
		once("listener", l.GetName())
	}
	if len(r.Listeners) != len(r.Routes) {
		out = append(out, fmt.Sprintf("%d listeners and %d route configurations", len(r.Listeners), len(r.Routes)))
	}
	for _, rc := range r.Routes {
		once("routes", rc.GetName())
		for _, h := range rc.GetVirtualHosts() {
			once("virtual host", rc.GetName()+" "+h.GetName())
			for _, d := range h.GetDomains() {
				once("domain", rc.GetName()+" "+d)
			}
		}
	}
	for _, c := range r.Clusters {
		once("cluster", c.GetName())
	}
	for _, a := range r.Endpoints {
		once("endpoints", a.GetClusterName())
		if !seen["cluster"+a.GetClusterName()] {
			out = append(out, fmt.Sprintf("endpoints %q are of no cluster", a.GetClusterName()))
		}
	}
	return out
}

func TestAnyMeshGivesOneValidSetOfResources(t *testing.T) {
	for seed := range uint64(300) {
		checkMesh(t, seed)
	}
}

func FuzzCompile(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(seed)
	}
	f.Fuzz(checkMesh)
}
