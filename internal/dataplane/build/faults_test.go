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
		{`{match: {prefix: /, headers: [{name: ":status", present_match: true}]}, route: {cluster: a}}`,
			"match.headers[0].name", ":status is not implemented"},
		{`{match: {prefix: /, headers: [{name: a, string_match: {safe_regex: {regex: "["}}}]}, route: {cluster: a}}`,
			"match.headers[0].string_match.safe_regex.regex", "missing closing ]"},
		{`{match: {prefix: /, headers: [{name: a, range_match: {start: 1, end: 2}}]}, route: {cluster: a}}`,
			"match.headers[0].range_match", "not implemented"},
		{`{match: {prefix: /, query_parameters: [{name: a, string_match: {safe_regex: {regex: "["}}}]}, route: {cluster: a}}`,
			"match.query_parameters[0].string_match.safe_regex.regex", "missing closing ]"},
		{`{match: {prefix: /}, redirect: {regex_rewrite: {pattern: {regex: "a"}, substitution: '\1'}}}`,
			"redirect.regex_rewrite.substitution", "has 0 groups"},
		{`{match: {prefix: /}, redirect: {regex_rewrite: {pattern: {regex: "a"}, substitution: '\a'}}}`,
			"redirect.regex_rewrite.substitution", "neither a group"},
		{`{match: {prefix: /}, redirect: {regex_rewrite: {pattern: {regex: "a"}, substitution: '\'}}}`,
			"redirect.regex_rewrite.substitution", "ends in a backslash"},
		{`{match: {prefix: /}, route: {cluster: a, prefix_rewrite: /, regex_rewrite: {pattern: {regex: "a"}}}}`,
			"route.regex_rewrite", "Specify only one of prefix_rewrite"},
		{`{match: {prefix: /}, route: {cluster: a, hash_policy: [{cookie: {name: "a\r\nb: c"}}]}}`,
			"route.hash_policy[0].cookie.name", "no name of a cookie"},
		{`{match: {prefix: /}, route: {cluster: a, hash_policy: [{cookie: {name: a, path: "/; Secure"}}]}}`,
			"route.hash_policy[0].cookie.path", "no path of a cookie"},
		{`{match: {prefix: /}, route: {cluster: a}, typed_per_filter_config: {envoy.filters.http.cors: ` +
			`{"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, max_age: "1\r\nx: y"}}}`,
			"typed_per_filter_config[envoy.filters.http.cors].max_age", "cannot stand in a field"},
		{`{match: {prefix: /}, route: {cluster: a, hash_policy: [{filter_state: {key: a}}]}}`,
			"route.hash_policy[0].filter_state", "not implemented"},
		{`{match: {prefix: /}, route: {cluster: a}, request_headers_to_add: [{header: {key: ":path", value: a}}]}`,
			"request_headers_to_add[0].header.key", ":-prefixed or host headers may not be modified"},
		{`{match: {prefix: /}, route: {cluster: a}, response_headers_to_remove: [b, Host]}`,
			"response_headers_to_remove[1]", ":-prefixed or host headers may not be removed"},
		{`{match: {prefix: /}, route: {cluster: a}, request_headers_to_add: [{header: {key: a, value: "%NO%"}}]}`,
			"request_headers_to_add[0].header.value", "NO"},
		{`{match: {prefix: /}, route: {cluster: a}, typed_per_filter_config: {envoy.filters.http.fault: ` +
			`{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig}}}`,
			"typed_per_filter_config[envoy.filters.http.fault].config",
			"Empty route/virtual host per filter configuration for envoy.filters.http.fault filter"},
		{`{match: {prefix: /}, route: {cluster: a}, typed_per_filter_config: {envoy.filters.http.fault: ` +
			`{"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy}}}`,
			"typed_per_filter_config[envoy.filters.http.fault]", "is not envoy.extensions.filters.http.fault.v3.HTTPFault"},
		{`{match: {prefix: /}, route: {cluster: a}, typed_per_filter_config: {cors: ` +
			`{"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy}}}`,
			"typed_per_filter_config[cors]", "no such filter"},
		{`{match: {prefix: /}, route: {}}`, "route.cluster_specifier", "required"},
		{`{match: {prefix: /}, route: {cluster: ""}}`, "route.cluster", "at least 1"},
		{`{match: {prefix: /}, route: {cluster: a, timeout: -1s}}`, "route.timeout", "-1s is negative"},
		{`{match: {prefix: /}, route: {cluster: a, timeout: 315576000000s}}`, "route.timeout", "more than can be counted"},
		{`{match: {prefix: /}, route: {cluster: a, max_grpc_timeout: -1s}}`, "route.max_grpc_timeout", "negative"},
		{`{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a}]}}}`,
			"route.weighted_clusters.clusters[0].weight", "missing"},
		{`{match: {prefix: /}, route: {weighted_clusters: {clusters: [{weight: 1}]}}}`,
			"route.weighted_clusters.clusters[0].name", "missing"},
		{`{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a, weight: 0}]}}}`,
			"route.weighted_clusters.clusters", "is 0"},
		{`{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a, weight: 4294967295}, ` +
			`{name: b, weight: 1}]}}}`,
			"route.weighted_clusters.clusters", "is 4294967296"},
		{`{match: {prefix: /}, route: {cluster: a, retry_policy: {retry_on: "connect-failure,4xx"}}}`,
			"route.retry_policy.retry_on", "4xx is not implemented"},
		{`{match: {prefix: /}, route: {cluster: a, retry_policy: {per_try_timeout: -1s}}}`,
			"route.retry_policy.per_try_timeout", "negative"},
		{`{match: {prefix: /}, route: {cluster: a, retry_policy: {retry_back_off: {base_interval: 1s, max_interval: 0.5s}}}}`,
			"route.retry_policy.retry_back_off.max_interval", "less than base_interval"},
		{`{match: {prefix: /}, route: {cluster: a, retry_policy: {retry_host_predicate: [{name: previous}]}}}`,
			"route.retry_policy.retry_host_predicate[0].typed_config", "only PreviousHostsPredicate"},
		{`{match: {prefix: /}, route: {cluster: a, request_mirror_policies: [{cluster: b, cluster_header: c}]}}`,
			"route.request_mirror_policies[0]",
			"Only one of cluster 'b' or cluster_header 'c' in request mirror policy can be specified"},
		{`{match: {prefix: /}, route: {cluster: a, request_mirror_policies: [{}]}}`,
			"route.request_mirror_policies[0]",
			"Exactly one of cluster or cluster_header in request mirror policy need to be specified"},
		{`{match: {prefix: /}, route: {cluster: a, request_mirror_policies: [{cluster: b, runtime_fraction: {}}]}}`,
			"route.request_mirror_policies[0].runtime_fraction.default_value", "required"},
		{`{match: {prefix: /}, route: {cluster: a, request_mirror_policies: [{cluster: b, ` +
			`request_headers_mutations: [{remove: a}, {append: {header: {key: host, value: a}}}]}]}}`,
			"route.request_mirror_policies[0].request_headers_mutations[1].append.header.key", "may not be modified"},
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
	const options = `{"@type": type.googleapis.com/` + protocolOptionsKey + `, explicit_http_config: {http_protocol_options: {}}`
	const eds = "name: a, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}"
	for _, c := range []struct{ cluster, path, reason string }{
		{"name: a, type: LOGICAL_DNS", "load_assignment", "must have a single locality_lb_endpoint"},
		{"name: a, type: ORIGINAL_DST", "lb_policy", "ROUND_ROBIN is not valid for Cluster type ORIGINAL_DST"},
		{"name: a, lb_policy: CLUSTER_PROVIDED", "lb_policy", "CLUSTER_PROVIDED is not valid for Cluster type STATIC"},
		{"name: a, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, load_assignment: {cluster_name: a}",
			"load_assignment", "must have no load assignment"},
		{eds + ", lb_policy: LOAD_BALANCING_POLICY_CONFIG", "lb_policy", "is not implemented"},
		{eds + ", ring_hash_lb_config: {}", "lb_config", "is of policy RING_HASH, the cluster's is ROUND_ROBIN"},
		{eds + ", lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 9, maximum_ring_size: 8}",
			"ring_hash_lb_config", "minimum_ring_size (9) > maximum_ring_size (8)"},
		{eds + ", lb_policy: MAGLEV, maglev_lb_config: {table_size: 9}", "maglev_lb_config.table_size", "prime"},
		{eds + ", round_robin_lb_config: {slow_start_config: {aggression: {runtime_key: a}}}",
			"round_robin_lb_config.slow_start_config.aggression.default_value", "above 0"},
		{eds + ", outlier_detection: {}", "outlier_detection.enforcing_success_rate", "must be 0"},
		{eds + ", outlier_detection: {enforcing_success_rate: 0, split_external_local_origin_errors: true}",
			"outlier_detection.enforcing_local_origin_success_rate", "must be 0"},
		{eds + ", outlier_detection: {enforcing_success_rate: 0, max_ejection_time: 1s}",
			"outlier_detection.max_ejection_time", "less than base_ejection_time"},
		{eds + `, typed_extension_protocol_options: {a: {"@type": type.googleapis.com/google.protobuf.Duration, value: 1s}}`,
			"typed_extension_protocol_options[a]", "type google.protobuf.Duration is not implemented"},
		{eds + `, typed_extension_protocol_options: {a: ` + options + `}}`, "typed_extension_protocol_options", "a is not implemented"},
		{eds + `, typed_extension_protocol_options: {` + protocolOptionsKey + `: ` + options +
			`, request_mirror_policies: [{}]}}`,
			"typed_extension_protocol_options[" + protocolOptionsKey + "].request_mirror_policies[0]", "Exactly one of"},
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
	const abstract = `{cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: "@a"}}}}]}]}`
	oneRefusal(t, resourcesOf(t, "endpoints: ["+abstract+"]"), abstract,
		"endpoints[0].lb_endpoints[0].endpoint.address.pipe.path", "not the whole path")
	const policy = `{cluster_name: a, policy: {overprovisioning_factor: 200}}`
	oneRefusal(t, resourcesOf(t, "endpoints: ["+policy+"]"), policy, "policy.overprovisioning_factor", "load_assignment only")
}

func TestConnectionManagersRefusedForAValue(t *testing.T) {
	const (
		types   = "type.googleapis.com/envoy.extensions.filters."
		router  = `{name: r, typed_config: {"@type": ` + types + `http.router.v3.Router}}`
		cors    = `{name: envoy.filters.http.cors, typed_config: {"@type": ` + types + `http.cors.v3.Cors}}`
		fault   = `{name: envoy.filters.http.fault, typed_config: {"@type": ` + types + `http.fault.v3.HTTPFault`
		buffer  = `{name: b, typed_config: {"@type": ` + types + `http.buffer.v3.Buffer, max_request_bytes: 1}}`
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
		{rds + ", http_filters: [" + buffer + ", " + router + "]", "http_filters[0].typed_config",
			"envoy.extensions.filters.http.buffer.v3.Buffer is not implemented"},
		{rds + ", http_filters: [" + cors + ", " + fault + "}}, " + router + "]", "http_filters", "in this order"},
		{rds + ", http_filters: [" + router + ", " + cors + "]", "http_filters", "in this order"},
		{rds + ", http_filters: [" + cors + "]", "http_filters", "must be the router"},
		{rds + ", http_filters: [" + fault + ", delay: {fixed_delay: 1s}}}, " + router + "]", "http_filters[0].typed_config",
			"faults of all routes are not implemented"},
		{rds + `, http_filters: [{name: c, typed_config: {"@type": ` + types + `http.cors.v3.Cors}}, ` + router + "]",
			"http_filters[0].name", "must be envoy.filters.http.cors"},
		{filters, "route_specifier", "required"},
		{filters + ", rds: {config_source: {}, route_config_name: r}",
			"rds.config_source.config_source_specifier", "required"},
		{filters + ", rds: {config_source: {ads: {}}}", "rds.route_config_name", "missing"},
		{filters + "," + rds + ", codec_type: HTTP2", "codec_type", "HTTP2 is not implemented, only AUTO, HTTP1"},
		{filters + "," + rds + ", upgrade_configs: [{upgrade_type: a}, {}]", "upgrade_configs[1].upgrade_type", "missing"},
		{filters + "," + rds + ", upgrade_configs: [{upgrade_type: a}, {upgrade_type: A}]", "upgrade_configs[1].upgrade_type",
			"A is there twice"},
		{filters + "," + rds + ", upgrade_configs: [{upgrade_type: CONNECT}]", "upgrade_configs[0].upgrade_type",
			"CONNECT is not implemented"},
		{filters + "," + rds + ", upgrade_configs: [{upgrade_type: a, filters: [" + router + "]}]",
			"upgrade_configs[0].filters", "not implemented"},
		{filters + "," + rds + ", stream_idle_timeout: -1s", "stream_idle_timeout", "negative"},
		{filters + "," + rds + ", request_headers_timeout: -1s", "request_headers_timeout", "0s"},
		{filters + "," + rds + ", common_http_protocol_options: {idle_timeout: -1s}",
			"common_http_protocol_options.idle_timeout", "negative"},
		{filters + "," + rds + ", max_request_headers_kb: 9000", "max_request_headers_kb", "8192"},
		{filters + ", route_config: {name: i, virtual_hosts: [{name: v, domains: [a, a]}]}",
			"route_config.virtual_hosts", "duplicate domain a"},
		{filters + ", route_config: {name: i, virtual_hosts: [{name: v, domains: [a], routes: " +
			"[{match: {prefix: /}, route: {cluster: a}}]}]}",
			"route_config.virtual_hosts[0].routes[0].route.cluster", "route: unknown cluster 'a'"},
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
