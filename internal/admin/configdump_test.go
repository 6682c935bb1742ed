// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"encoding/json"
	"flag"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/admin"
)

var update = flag.Bool("update", false, "rewrite the goldens")

const mirrorCluster = "outbound|80||httpbin.mirror.cluster-b"

// accepted is a small mesh of which one listener had a refused update.
func accepted(t *testing.T) admin.Accepted {
	t.Helper()
	previous, err := anypb.New(&previoushostsv3.PreviousHostsPredicate{})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 8_999_999, time.UTC)
	one := func(m proto.Message) admin.Resources {
		return admin.Resources{Version: "7", List: []admin.Resource{{Message: m, Version: "6", LastUpdated: at}}}
	}
	a := admin.Accepted{
		Bootstrap:        &bootstrapv3.Bootstrap{Node: &corev3.Node{Id: "umbra", Cluster: "test"}},
		BootstrapUpdated: at.Add(-time.Hour),
		Clusters: one(&clusterv3.Cluster{
			Name: mirrorCluster, ConnectTimeout: durationpb.New(10 * time.Second),
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			LbPolicy:             clusterv3.Cluster_LEAST_REQUEST,
		}),
		Endpoints: one(&endpointv3.ClusterLoadAssignment{ClusterName: mirrorCluster}),
		Listeners: one(&listenerv3.Listener{Name: "0.0.0.0_80"}),
		Routes: one(&routev3.RouteConfiguration{
			Name: "http.80", ValidateClusters: wrapperspb.Bool(false),
			VirtualHosts: []*routev3.VirtualHost{{Name: "*:80", Domains: []string{"*"}, Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{
					PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/headers"}, CaseSensitive: wrapperspb.Bool(true),
				},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{
						Cluster: "outbound|8000|v1|httpbin.default.svc.cluster.local",
					},
					Timeout: durationpb.New(0),
					RetryPolicy: &routev3.RetryPolicy{
						RetryOn:    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
						NumRetries: wrapperspb.UInt32(2),
						RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
							Name:       "envoy.retry_host_predicates.previous_hosts",
							ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: previous},
						}},
						HostSelectionRetryMaxAttempts: 5,
						RetriableStatusCodes:          []uint32{503},
					},
					RequestMirrorPolicies: []*routev3.RouteAction_RequestMirrorPolicy{{
						Cluster: mirrorCluster,
						RuntimeFraction: &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
							Numerator: 500_000, Denominator: typev3.FractionalPercent_MILLION,
						}},
						TraceSampled: wrapperspb.Bool(false),
					}},
				}},
			}}}},
		}),
	}
	a.Listeners.List[0].Refused = &admin.Refusal{
		Message: &listenerv3.Listener{Name: "0.0.0.0_80", Freebind: wrapperspb.Bool(true)},
		Version: "7", At: at.Add(time.Minute), Details: "freebind: not implemented",
	}
	return a
}

func dumping(t *testing.T, a admin.Accepted) *client {
	return serve(t, admin.Deps{Dump: func() admin.Accepted { return a }})
}

func TestDumpHasEnvoysShapeAndOrder(t *testing.T) {
	got := dumping(t, accepted(t)).get("/config_dump?include_eds")
	const golden = "testdata/config_dump.json"
	if *update {
		if err := os.WriteFile(golden, []byte(got.body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.body); diff != "" || got.status != 200 {
		t.Errorf("%d (-want +got):\n%s", got.status, diff)
	}
}

// dump decodes an answer's configs by the last word of their type.
func dump(t *testing.T, a answer) (types []string, configs []map[string]any) {
	t.Helper()
	var d struct{ Configs []map[string]any }
	if err := json.Unmarshal([]byte(a.body), &d); err != nil || a.status != 200 {
		t.Fatalf("%d %q: %v", a.status, a.body, err)
	}
	for _, c := range d.Configs {
		name, _ := c["@type"].(string)
		types = append(types, strings.TrimPrefix(name, "type.googleapis.com/envoy.admin.v3."))
	}
	return types, d.Configs
}

func TestEndpointsAreInTheDumpOnlyWhenAskedFor(t *testing.T) {
	c := dumping(t, accepted(t))
	without, _ := dump(t, c.get("/config_dump"))
	want := []string{"BootstrapConfigDump", "ClustersConfigDump", "ListenersConfigDump", "RoutesConfigDump"}
	if diff := cmp.Diff(want, without); diff != "" {
		t.Error(diff)
	}
	with, _ := dump(t, c.get("/config_dump?include_eds"))
	want = []string{want[0], want[1], "EndpointsConfigDump", want[2], want[3]}
	if diff := cmp.Diff(want, with); diff != "" {
		t.Error(diff)
	}
}

func TestResourceGivesTheElementsOfOneField(t *testing.T) {
	c := dumping(t, accepted(t))
	types, configs := dump(t, c.get("/config_dump?resource=dynamic_route_configs"))
	if diff := cmp.Diff([]string{"RoutesConfigDump.DynamicRouteConfig"}, types); diff != "" {
		t.Fatal(diff)
	}
	if got := configs[0]["route_config"].(map[string]any)["name"]; got != "http.80" {
		t.Errorf("route configuration %v", got)
	}
	types, _ = dump(t, c.get("/config_dump?resource=static_clusters"))
	if len(types) != 0 {
		t.Errorf("static clusters %v", types)
	}
	c.want(c.get("/config_dump?resource=nothing"), 404, "nothing not found in config dump\n")
	c.want(c.get("/config_dump?resource=dynamic_endpoint_configs"), 404,
		"dynamic_endpoint_configs not found in config dump\n")
	c.want(c.get("/config_dump?resource=bootstrap"), 400,
		"bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field\n")
}

func TestNameRegexKeepsWhatItMatchesWhole(t *testing.T) {
	c := dumping(t, accepted(t))
	count := func(resource, expr string) int {
		types, _ := dump(t, c.get("/config_dump?include_eds&resource="+resource+"&name_regex="+url.QueryEscape(expr)))
		return len(types)
	}
	for _, q := range []struct {
		resource, expr string
		want           int
	}{
		{"dynamic_route_configs", `http\.80`, 1},
		{"dynamic_route_configs", `http`, 0},
		{"dynamic_route_configs", `x|http.*`, 1},
		{"dynamic_active_clusters", `.*cluster-b`, 1},
		{"dynamic_endpoint_configs", `.*cluster-b`, 1},
		{"dynamic_listeners", `0\.0\.0\.0_80`, 1},
		{"dynamic_listeners", `outbound.*`, 0},
	} {
		if got := count(q.resource, q.expr); got != q.want {
			t.Errorf("%s with %s: %d, want %d", q.resource, q.expr, got, q.want)
		}
	}
	a := c.get("/config_dump?name_regex=(")
	if a.status != 400 || !strings.HasPrefix(a.body, "Error while parsing name_regex from (: ") {
		t.Errorf("%d %q", a.status, a.body)
	}
}

func TestMaskKeepsTheFieldsNamed(t *testing.T) {
	a := accepted(t)
	c := dumping(t, a)
	const clusters = "/config_dump?resource=dynamic_active_clusters&mask="
	_, configs := dump(t, c.get(clusters+"cluster.name,cluster.lb_policy,version_info"))
	want := []map[string]any{{
		"@type":        "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster",
		"version_info": "6",
		"cluster": map[string]any{
			"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": mirrorCluster, "lb_policy": "LEAST_REQUEST",
		},
	}}
	if diff := cmp.Diff(want, configs); diff != "" {
		t.Error(diff)
	}
	_, configs = dump(t, c.get("/config_dump?mask=bootstrap.node.id"))
	want = []map[string]any{{
		"@type":     "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
		"bootstrap": map[string]any{"node": map[string]any{"id": "umbra"}},
	}}
	if diff := cmp.Diff(want, configs); diff != "" {
		t.Error(diff)
	}
	if a.Bootstrap.GetNode().GetCluster() != "test" {
		t.Error("the mask cut the configuration itself")
	}
	c.want(c.get("/config_dump?mask=nothing"), 400,
		"FieldMask nothing could not be successfully applied to any configs.\n")
	for _, mask := range []string{"nothing", "cluster.nothing", "version_info.x"} {
		c.want(c.get(clusters+mask), 400,
			"FieldMask "+mask+" could not be successfully used.\n")
	}
}

func TestAnUnknownTypeDoesNotCostTheDump(t *testing.T) {
	a := accepted(t)
	unknown := &anypb.Any{TypeUrl: "x/unknown.Type", Value: []byte("v")}
	known, err := anypb.New(&clusterv3.Filter{Name: "inner", TypedConfig: unknown})
	if err != nil {
		t.Fatal(err)
	}
	a.Clusters.List[0].Message = &clusterv3.Cluster{
		Name: "c", TypedExtensionProtocolOptions: map[string]*anypb.Any{"k": known},
	}
	_, configs := dump(t, dumping(t, a).get("/config_dump?resource=dynamic_active_clusters&mask=cluster"))
	want := []map[string]any{{
		"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster",
		"cluster": map[string]any{
			"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "c",
			"typed_extension_protocol_options": map[string]any{"k": map[string]any{
				"@type": "type.googleapis.com/envoy.config.cluster.v3.Filter", "name": "inner",
				"typed_config": map[string]any{
					"@type": "type.googleapis.com/google.protobuf.Struct",
					"value": map[string]any{"type_url": "x/unknown.Type", "value": "dg=="},
				},
			}},
		},
	}}
	if diff := cmp.Diff(want, configs); diff != "" {
		t.Error(diff)
	}
}

func TestAnEmptyProcessHasAnEmptyDump(t *testing.T) {
	types, _ := dump(t, serve(t, admin.Deps{}).get("/config_dump"))
	if len(types) != 4 {
		t.Errorf("sections %v", types)
	}
}

func TestAResourceNeverAcceptedShowsWhatWasRefused(t *testing.T) {
	a := admin.Accepted{Listeners: admin.Resources{List: []admin.Resource{{Refused: &admin.Refusal{
		Message: &listenerv3.Listener{Name: "bad"}, Version: "1", Details: "why",
	}}}}}
	_, configs := dump(t, dumping(t, a).get("/config_dump?resource=dynamic_listeners&name_regex=bad"))
	want := []map[string]any{{
		"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener",
		"name":  "bad",
		"error_state": map[string]any{
			"failed_configuration": map[string]any{
				"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "bad",
			},
			"details": "why", "version_info": "1",
		},
		"client_status": "NACKED",
	}}
	if diff := cmp.Diff(want, configs); diff != "" {
		t.Error(diff)
	}
}
