// SPDX-License-Identifier: Apache-2.0

package build

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"github.com/umbra-mesh/umbra/internal/xds"
)

func oneRefusal(t *testing.T, r *xds.Resources, what, path, reason string) {
	t.Helper()
	nacks := applied(r)
	if len(nacks) != 1 || nacks[0].Path != path || !strings.Contains(nacks[0].Reason, reason) {
		t.Errorf("%s: got %v, want %s: %s", what, nacks, path, reason)
	}
}

func TestRoutesRefusedForAValue(t *testing.T) {
	for _, c := range []struct{ route, path, reason string }{
		{`{match: {prefix: /}}`, "action", "required"},
		{`{match: {}, route: {cluster: a}}`, "match.path_specifier", "required"},
		{`{match: {safe_regex: {regex: "a)(b"}}, route: {cluster: a}}`, "match.safe_regex.regex", "unexpected )"},
		{`{match: {prefix: /, headers: [{name: ":scheme", present_match: true}]}, route: {cluster: a}}`,
			"match.headers[0].name", ":scheme is not implemented"},
		{`{match: {prefix: /, headers: [{name: a, string_match: {safe_regex: {regex: "["}}}]}, route: {cluster: a}}`,
			"match.headers[0].string_match.safe_regex.regex", "missing closing ]"},
		{`{match: {prefix: /, headers: [{name: a, exact_match: b}]}, route: {cluster: a}}`,
			"match.headers[0].exact_match", "not implemented"},
		{`{match: {prefix: /}, redirect: {}}`, "redirect", "not implemented"},
		{`{match: {prefix: /}, route: {cluster_header: x}}`, "route.cluster_header", "not implemented"},
		{`{match: {prefix: /}, route: {}}`, "route.cluster_specifier", "required"},
		{`{match: {prefix: /}, route: {cluster: ""}}`, "route.cluster", "at least 1"},
		{`{match: {prefix: /}, route: {cluster: a, timeout: -1s}}`, "route.timeout", "-1s is negative"},
		{`{match: {prefix: /}, route: {cluster: a, timeout: 315576000000s}}`, "route.timeout", "more than can be counted"},
		{`{match: {prefix: /}, route: {cluster: a, max_grpc_timeout: 0s}}`, "route.max_grpc_timeout", "not implemented"},
		{`{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a}]}}}`,
			"route.weighted_clusters.clusters[0].weight", "missing"},
		{`{match: {prefix: /}, route: {weighted_clusters: {clusters: [{weight: 1}]}}}`,
			"route.weighted_clusters.clusters[0].name", "missing"},
		{`{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a, weight: 0}]}}}`,
			"route.weighted_clusters.clusters", "is 0"},
		{`{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a, weight: 4294967295}, ` +
			`{name: b, weight: 1}]}}}`,
			"route.weighted_clusters.clusters", "is 4294967296"},
		{`{match: {prefix: /}, route: {cluster: a, retry_policy: {retry_on: "connect-failure,5xx"}}}`,
			"route.retry_policy.retry_on", "5xx is not implemented"},
		{`{match: {prefix: /}, route: {cluster: a, retry_policy: {per_try_timeout: -1s}}}`,
			"route.retry_policy.per_try_timeout", "negative"},
		{`{match: {prefix: /}, route: {cluster: a, retry_policy: {retry_back_off: {base_interval: 1s, max_interval: 0.5s}}}}`,
			"route.retry_policy.retry_back_off.max_interval", "less than base_interval"},
		{`{match: {prefix: /}, route: {cluster: a, retry_policy: {retry_host_predicate: [{name: previous}]}}}`,
			"route.retry_policy.retry_host_predicate[0].typed_config", "only PreviousHostsPredicate"},
		{`{match: {prefix: /}, route: {cluster: a, request_mirror_policies: [{cluster: b, cluster_header: c}]}}`,
			"route.request_mirror_policies[0].cluster_header", "not implemented"},
		{`{match: {prefix: /}, route: {cluster: a, request_mirror_policies: [{}]}}`,
			"route.request_mirror_policies[0].cluster", "missing"},
		{`{match: {prefix: /}, route: {cluster: a, request_mirror_policies: [{cluster: b, runtime_fraction: {}}]}}`,
			"route.request_mirror_policies[0].runtime_fraction.default_value", "required"},
		{`{match: {prefix: /}, route: {cluster: a, request_mirror_policies: [{cluster: b, ` +
			`runtime_fraction: {default_value: {}, runtime_key: k}}]}}`,
			"route.request_mirror_policies[0].runtime_fraction.runtime_key", "not implemented"},
		{`{match: {prefix: /}, direct_response: {status: 99}}`, "direct_response.status", "range"},
	} {
		r := resourcesOf(t, minimal)
		j, err := yaml.YAMLToJSON([]byte(c.route))
		if err != nil {
			t.Fatalf("%s: %v", c.route, err)
		}
		rt := r.Routes[0].VirtualHosts[0].Routes[0]
		if err := protojson.Unmarshal(j, rt); err != nil {
			t.Fatalf("%s: %v", c.route, err)
		}
		oneRefusal(t, r, c.route, "virtual_hosts[0].routes[0]."+c.path, c.reason)
	}
}

func TestClustersRefusedForAValue(t *testing.T) {
	const eds = "name: a, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}"
	for _, c := range []struct{ cluster, path, reason string }{
		{"name: a, type: STRICT_DNS", "type", "STRICT_DNS is not implemented, only STATIC, EDS"},
		{eds + ", lb_policy: RING_HASH", "lb_policy", "RING_HASH is not implemented"},
		{"name: a, type: EDS", "eds_cluster_config.eds_config.ads", "missing"},
		{eds + ", load_assignment: {cluster_name: a}", "load_assignment", "not for a cluster of type EDS"},
		{"name: a, eds_cluster_config: {eds_config: {ads: {}}}", "eds_cluster_config", "only for a cluster of type EDS"},
		{eds + ", connect_timeout: 0s", "connect_timeout", "greater than 0s"},
		{eds + ", circuit_breakers: {thresholds: [{priority: HIGH}]}",
			"circuit_breakers.thresholds[0].priority", "not implemented"},
		{eds + ", circuit_breakers: {thresholds: [{}, {}]}", "circuit_breakers.thresholds[1]", "a second one"},
	} {
		oneRefusal(t, resourcesOf(t, "clusters: [{"+c.cluster+"}]"), c.cluster, c.path, c.reason)
	}
}

func TestEndpointsRefusedForAValue(t *testing.T) {
	const at = "endpoints[0].lb_endpoints[0].endpoint.address.socket_address"
	for _, c := range []struct{ host, path, reason string }{
		{`{endpoint: {address: {socket_address: {address: h, port_value: 1}}}}`, ".address", `"h" is not an IP address`},
		{`{endpoint: {address: {socket_address: {address: "::1", port_value: 0}}}}`, ".port_value", "missing"},
		{`{endpoint: {address: {socket_address: {address: "::1", port_value: 65536}}}}`, ".port_value", "65535"},
		{`{endpoint: {address: {socket_address: {address: "::1", named_port: http}}}}`, ".named_port", "not implemented"},
		{`{}`, "", "missing"},
	} {
		assignment := "{cluster_name: a, endpoints: [{lb_endpoints: [" + c.host + "]}]}"
		oneRefusal(t, resourcesOf(t, "endpoints: ["+assignment+"]"), c.host, at+c.path, c.reason)
		oneRefusal(t, resourcesOf(t, "clusters: [{name: a, load_assignment: "+assignment+"}]"), c.host,
			"load_assignment."+at+c.path, c.reason)
	}
}

func TestConnectionManagersRefusedForAValue(t *testing.T) {
	const (
		types   = "type.googleapis.com/envoy.extensions.filters."
		router  = `{name: r, typed_config: {"@type": ` + types + `http.router.v3.Router}}`
		cors    = `{name: c, typed_config: {"@type": ` + types + `http.cors.v3.Cors}}`
		rds     = "rds: {config_source: {ads: {}}, route_config_name: r}"
		filters = "http_filters: [" + router + "]"
		at      = "filter_chains[0].filters[0].typed_config."
		before  = `listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 80}}, ` +
			`filter_chains: [{filters: [{name: h, typed_config: ` +
			`{"@type": ` + types + `network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: s, `
		after = "}}]}]}]"
	)
	for _, c := range []struct{ manager, path, reason string }{
		{rds, "http_filters", "must be the router"},
		{rds + ", http_filters: [" + router + ", " + router + "]", "http_filters", "once"},
		{rds + ", http_filters: [" + cors + ", " + router + "]", "http_filters[0].typed_config",
			"envoy.extensions.filters.http.cors.v3.Cors is not implemented"},
		{filters, "route_specifier", "required"},
		{filters + ", rds: {config_source: {}, route_config_name: r}",
			"rds.config_source.config_source_specifier", "required"},
		{filters + ", rds: {config_source: {ads: {}}}", "rds.route_config_name", "missing"},
		{filters + "," + rds + ", codec_type: HTTP2", "codec_type", "HTTP2 is not implemented, only AUTO, HTTP1"},
		{filters + "," + rds + ", normalize_path: true", "normalize_path", "true is not implemented, only false"},
		{filters + "," + rds + ", stream_idle_timeout: -1s", "stream_idle_timeout", "negative"},
		{filters + "," + rds + ", request_headers_timeout: -1s", "request_headers_timeout", "0s"},
		{filters + "," + rds + ", common_http_protocol_options: {idle_timeout: -1s}",
			"common_http_protocol_options.idle_timeout", "negative"},
		{filters + "," + rds + ", max_request_headers_kb: 9000", "max_request_headers_kb", "8192"},
		{filters + ", route_config: {name: i, virtual_hosts: [{name: v, domains: [a, a]}]}",
			"route_config.virtual_hosts", "duplicate domain a"},
		{filters + ", route_config: {name: i, vhds: {}}", "route_config.vhds", "not implemented"},
	} {
		oneRefusal(t, resourcesOf(t, before+c.manager+after), c.manager, at+c.path, c.reason)
	}
}

func TestListenersRefusedForAValue(t *testing.T) {
	const addressed = "name: l, address: {socket_address: {address: 127.0.0.1, port_value: 80}}"
	for listener, path := range map[string]string{
		"name: l":                              "address.socket_address",
		"name: l, address: {pipe: {path: /x}}": "address.pipe",
		"name: l, address: {socket_address: {address: localhost, port_value: 80}}": "address.socket_address.address",
		"name: l, address: {socket_address: {address: 127.0.0.1, protocol: UDP}}":  "address.socket_address.protocol",
		addressed:                                               "filter_chains",
		addressed + ", default_filter_chain: {}":                "default_filter_chain",
		addressed + ", filter_chains: [{}, {}]":                 "filter_chains",
		addressed + ", filter_chains: [{}]":                     "filter_chains[0].filters",
		addressed + ", filter_chains: [{filters: [{name: x}]}]": "filter_chains[0].filters[0].typed_config",
	} {
		oneRefusal(t, resourcesOf(t, "listeners: [{"+listener+"}]"), listener, path, "")
	}
}
