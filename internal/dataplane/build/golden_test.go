// SPDX-License-Identifier: Apache-2.0

package build

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3" // a type that is not implemented
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"sigs.k8s.io/yaml"

	"github.com/umbra-mesh/umbra/internal/xds"
)

var updateGoldens = flag.Bool("update", false, "rewrite the goldens' want.txt and testdata/refused.txt")

// TestGoldens: in.yaml is a set of resources, want.txt what it comes to.
func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a := golden(t, file)
			if strings.TrimSpace(string(a.Comment)) == "" {
				t.Error("no line that says what it shows")
			}
			got := printed(resourcesOf(t, section(a, "in.yaml")))
			if *updateGoldens {
				a.Files = []txtar.File{a.Files[0], {Name: "want.txt", Data: []byte(got)}}
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(section(a, "want.txt"), got); diff != "" {
				t.Errorf("want.txt (-), got (+):\n%s", diff)
			}
		})
	}
}

func golden(t testing.TB, file string) *txtar.Archive {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func section(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// resourcesOf reads lists of resources in YAML, by their original names.
func resourcesOf(t testing.TB, text string) *xds.Resources {
	t.Helper()
	var lists map[string][]json.RawMessage
	if err := yaml.UnmarshalStrict([]byte(text), &lists); err != nil {
		t.Fatal(err)
	}
	r := &xds.Resources{
		Version:   "1",
		Listeners: readAll[listenerv3.Listener](t, lists["listeners"]),
		Routes:    readAll[routev3.RouteConfiguration](t, lists["routes"]),
		Clusters:  readAll[clusterv3.Cluster](t, lists["clusters"]),
		Endpoints: readAll[endpointv3.ClusterLoadAssignment](t, lists["endpoints"]),
	}
	for key := range lists {
		if !strings.Contains("listeners routes clusters endpoints", key) {
			t.Fatalf("no such list of resources: %s", key)
		}
	}
	return r
}

func readAll[T any, M interface {
	*T
	proto.Message
}](t testing.TB, list []json.RawMessage) []M {
	t.Helper()
	var all []M
	for _, raw := range list {
		m := M(new(T))
		if err := protojson.Unmarshal(raw, m); err != nil {
			t.Fatalf("%v in %s", err, raw)
		}
		all = append(all, m)
	}
	return all
}

// TestControlPlaneGoldensAreAccepted holds the two halves together: what compile's goldens say it emits is executed.
func TestControlPlaneGoldensAreAccepted(t *testing.T) {
	files, err := filepath.Glob("../../controlplane/compile/testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens of compile: %v", err)
	}
	accepted := 0
	for _, file := range files {
		_, b := newFar()
		a := golden(t, file)
		for _, nack := range b.Apply(resourcesOf(t, section(a, "want.yaml"))) {
			t.Errorf("%s: %v", filepath.Base(file), nack)
		}
		accepted += len(b.Accepted().Routes)
		_, b = newFar()
		r := &xds.Resources{
			Routes: briefRoutes(t, section(a, "routes.yaml")), Clusters: briefClusters(t, section(a, "clusters.yaml")),
		}
		for _, nack := range b.Apply(r) {
			t.Errorf("%s: %v", filepath.Base(file), nack)
		}
		accepted += len(b.Accepted().Routes) + len(b.Accepted().Clusters)
	}
	if accepted < len(files)/2 {
		t.Errorf("only %d resources in %d goldens", accepted, len(files))
	}
}

// briefRoutes reads a golden's section of virtual host -> routes.
func briefRoutes(t *testing.T, text string) []*routev3.RouteConfiguration {
	var hosts map[string][]json.RawMessage
	if err := yaml.Unmarshal([]byte(text), &hosts); err != nil {
		t.Fatal(err)
	}
	rc := &routev3.RouteConfiguration{
		Name: "r", MaxDirectResponseBodySizeBytes: wrapperspb.UInt32(1 << 20),
	}
	for name, routes := range hosts {
		rc.VirtualHosts = append(rc.VirtualHosts, &routev3.VirtualHost{
			Name: name, Domains: []string{name}, Routes: readAll[routev3.Route](t, routes),
		})
	}
	if len(hosts) == 0 {
		return nil
	}
	return []*routev3.RouteConfiguration{rc}
}

// briefClusters reads a golden's section of cluster -> what is not as in all of them.
func briefClusters(t *testing.T, text string) []*clusterv3.Cluster {
	var all map[string]map[string]any
	if err := yaml.Unmarshal([]byte(text), &all); err != nil {
		t.Fatal(err)
	}
	var list []json.RawMessage
	for name, c := range all {
		if c == nil {
			c = map[string]any{}
		}
		c["name"] = name
		if _, ok := c["lb_policy"]; !ok {
			c["lb_policy"] = "LEAST_REQUEST"
		}
		if _, ok := c["type"]; !ok {
			c["type"], c["eds_cluster_config"] = "EDS", map[string]any{"eds_config": map[string]any{"ads": map[string]any{}}}
		}
		if c["load_assignment"] != nil { // in a form of its own
			c["load_assignment"] = map[string]any{"cluster_name": name, "endpoints": []any{map[string]any{"lb_endpoints": []any{
				map[string]any{"endpoint": map[string]any{"address": map[string]any{"socket_address": map[string]any{
					"address": "10.0.0.1", "port_value": 80,
				}}}},
			}}}}
		}
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, raw)
	}
	return readAll[clusterv3.Cluster](t, list)
}
