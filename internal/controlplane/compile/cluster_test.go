// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/xds"
)

func clustersByName(r xds.Resources) map[string]*clusterv3.Cluster {
	out := map[string]*clusterv3.Cluster{}
	for _, c := range r.Clusters {
		out[c.GetName()] = c
	}
	return out
}

func assignments(r xds.Resources) map[string]*endpointv3.ClusterLoadAssignment {
	out := map[string]*endpointv3.ClusterLoadAssignment{}
	for _, a := range r.Endpoints {
		out[a.GetClusterName()] = a
	}
	return out
}

func twoVersions() (*mesh.Service, mesh.Endpoints) {
	s := service("a", "a.example", 80, 81)
	s.Subsets = []mesh.Subset{
		{Name: "v1", Labels: map[string]string{"version": "v1"}},
		{Name: "v2", Labels: map[string]string{"version": "v2"}},
	}
	return s, mesh.Endpoints{"a.example": versions("v1", "v2")}
}

func versions(list ...string) (out []mesh.Endpoint) {
	for i, v := range list {
		out = append(out, mesh.Endpoint{
			Address: fmt.Sprintf("10.0.0.%d", i+1),
			Ports:   map[uint32]uint32{80: 8080, 81: 8081},
			Labels:  map[string]string{"version": v},
		})
	}
	return out
}

func TestEndpointThatComesChangesOnlyItsAssignments(t *testing.T) {
	s, endpoints := twoVersions()
	b := compile.New(compile.Options{})
	config := mesh.Config{Services: []*mesh.Service{s}}
	first, _ := b.Compile(config, endpoints)

	again, _ := b.Compile(config, mesh.Endpoints{"a.example": versions("v1", "v2")})
	for name, a := range assignments(again) {
		if a != assignments(first)[name] {
			t.Errorf("%s: another message although nothing changed", name)
		}
	}

	next, _ := b.Compile(config, mesh.Endpoints{"a.example": versions("v1", "v2", "v2")})
	for name, a := range assignments(next) {
		changed := a != assignments(first)[name]
		if want := name != "outbound|80|v1|a.example" && name != "outbound|81|v1|a.example"; changed != want {
			t.Errorf("%s: changed is %v, want %v", name, changed, want)
		}
	}
	for name, c := range clustersByName(next) {
		if c != clustersByName(first)[name] {
			t.Errorf("cluster %s is another message although only endpoints changed", name)
		}
	}
}

func TestServiceThatIsReadAnewKeepsWhatIsEqual(t *testing.T) {
	s, endpoints := twoVersions()
	b := compile.New(compile.Options{})
	first, _ := b.Compile(mesh.Config{Services: []*mesh.Service{s}}, endpoints)
	other := *s
	other.Subsets = slices.Clone(s.Subsets[1:])
	other.Subsets[0].Policy = &mesh.TrafficPolicy{LoadBalancer: &mesh.LoadBalancer{Simple: mesh.Random}}
	next, _ := b.Compile(mesh.Config{Services: []*mesh.Service{&other}}, endpoints)
	same := map[string]bool{}
	for name, c := range clustersByName(next) {
		same[name] = c == clustersByName(first)[name]
	}
	want := map[string]bool{
		"outbound|80||a.example": true, "outbound|80|v2|a.example": false,
		"outbound|81||a.example": true, "outbound|81|v2|a.example": false,
	}
	if diff := cmp.Diff(want, same); diff != "" {
		t.Errorf("clusters that are the same message (-want +got):\n%s", diff)
	}
	if a := assignments(next)["outbound|80|v2|a.example"]; a != assignments(first)["outbound|80|v2|a.example"] {
		t.Error("the policy of a subset changed, and its endpoints with it")
	}
}

func TestNamesInAServiceOfAddressesAreLeftOut(t *testing.T) {
	s := service("a", "a.example", 80)
	r, _ := compile.Compile(mesh.Config{Services: []*mesh.Service{s}}, mesh.Endpoints{"a.example": {
		{Address: "name.example", Ports: map[uint32]uint32{80: 80}},
		{Address: "10.0.0.1", Ports: map[uint32]uint32{80: 70000}},
		{Address: "10.0.0.2", Ports: map[uint32]uint32{80: 80}, Unready: true},
		{Address: "10.0.0.3", Ports: map[uint32]uint32{80: 80}},
	}}, compile.Options{})
	var hosts []any
	for _, l := range localities(values(t, r.Endpoints)[0]) {
		hosts = append(hosts, l.(map[string]any)["hosts"])
	}
	if diff := cmp.Diff([]any{[]any{"10.0.0.2:80 UNHEALTHY", "10.0.0.3:80"}}, hosts); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}

// TestSharesOfLocalitiesNeverAddUpToNothing is about numbers at their ends: weights whose sum or product does not fit.
func TestSharesOfLocalitiesNeverAddUpToNothing(t *testing.T) {
	s := service("a", "a.example", 80)
	s.Policy = &mesh.TrafficPolicy{LoadBalancer: &mesh.LoadBalancer{Locality: &mesh.LocalityLB{
		Distribute: []mesh.Distribute{{From: "*", To: map[string]uint32{"r1": 99, "*": 1}}},
	}}}
	at := func(place string, weight uint32) mesh.Endpoint {
		return mesh.Endpoint{Address: "10.0.0.1", Ports: map[uint32]uint32{80: 80}, Locality: place, Weight: weight}
	}
	r, _ := compile.Compile(mesh.Config{Services: []*mesh.Service{s}}, mesh.Endpoints{"a.example": {
		at("r1/a", math.MaxUint32), at("r1/a", math.MaxUint32), at("r1/b", 1), at("r2", 7),
	}}, compile.Options{})
	got := map[string]uint32{}
	for _, l := range r.Endpoints[0].GetEndpoints() {
		got[l.GetLocality().GetRegion()+"/"+l.GetLocality().GetZone()] = l.GetLoadBalancingWeight().GetValue()
	}
	if diff := cmp.Diff(map[string]uint32{"r1/a": 99, "r1/b": 1, "r2/": 1}, got); diff != "" {
		t.Errorf("weights (-want +got):\n%s", diff)
	}
}

func TestProxyWithoutALocalityHasNoPriorities(t *testing.T) {
	s := service("a", "a.example", 80)
	s.Policy = &mesh.TrafficPolicy{OutlierDetection: &mesh.OutlierDetection{}}
	r, _ := compile.Compile(mesh.Config{Services: []*mesh.Service{s}}, mesh.Endpoints{"a.example": {
		{Address: "10.0.0.1", Ports: map[uint32]uint32{80: 80}},
		{Address: "10.0.0.2", Ports: map[uint32]uint32{80: 80}, Locality: "r1"},
	}}, compile.Options{})
	for _, l := range r.Endpoints[0].GetEndpoints() {
		if l.GetPriority() != 0 {
			t.Errorf("locality %v has priority %d, want 0", l.GetLocality(), l.GetPriority())
		}
	}
}
