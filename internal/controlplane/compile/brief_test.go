// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Sections of a golden besides want.yaml show one kind of resource in brief: what every resource of the kind has anyway
// is taken out, and is written as null where a resource lacks it, so that nothing goes unseen. Goldens with a want.yaml
// show what is taken out here.
var briefs = map[string]func(brief, map[string]any) map[string]any{
	"routes.yaml":    brief.routes,
	"hosts.yaml":     brief.hosts,
	"clusters.yaml":  brief.clusters,
	"endpoints.yaml": brief.endpoints,
}

// brief is one golden's way to see its resources. want is the section as it is wanted: what stands in every golden of
// its kind (the host for all others, clusters of no service) is only looked at where it is named there.
type brief struct {
	want    map[string]any
	profile string
}

type object = map[string]any

func list(v any) []any { l, _ := v.([]any); return l }

func at(v any, path ...string) any {
	for _, name := range path {
		m, _ := v.(object)
		v = m[name]
	}
	return v
}

// defaults takes name out of m if it is the default, and writes null if there is none.
func defaults(m object, name string, isDefault func(v any) bool) {
	switch v, ok := m[name]; {
	case !ok:
		m[name] = nil
	case isDefault(v):
		delete(m, name)
	}
}

func is(want any) func(any) bool {
	return func(v any) bool { return fmt.Sprint(v) == fmt.Sprint(want) }
}

// vhosts calls see for each virtual host of all route configurations.
func (b brief) vhosts(sections object, see func(name string, h object)) {
	for _, rc := range list(sections["routes"]) {
		for _, v := range list(at(rc, "virtual_hosts")) {
			h := v.(object)
			name := fmt.Sprint(h["name"])
			_, named := b.want[name]
			if named || name != "block_all" && name != "allow_any" && !strings.HasSuffix(name, ":*") {
				see(name, h)
			}
		}
	}
}

// routes is virtual host name -> routes, less what says where a route comes from, no timeout and the default retries.
func (b brief) routes(sections object) object {
	out := object{}
	b.vhosts(sections, func(name string, h object) {
		routes := []any{}
		for _, v := range list(h["routes"]) {
			r := maps.Clone(v.(object))
			delete(r, "metadata")
			delete(r, "decorator")
			if action, ok := r["route"].(object); ok {
				action = maps.Clone(action)
				r["route"] = action
				defaults(action, "max_grpc_timeout", is(action["timeout"]))
				defaults(action, "timeout", is("0s"))
				defaults(action, "retry_policy", b.defaultRetries)
			}
			routes = append(routes, r)
		}
		out[name] = routes
	})
	return out
}

func (b brief) defaultRetries(v any) bool {
	p := maps.Clone(v.(object))
	for name, want := range map[string]any{
		"retry_on": "connect-failure,refused-stream,unavailable,cancelled," +
			"retriable-status-codes",
		"num_retries":                       2,
		"host_selection_retry_max_attempts": 5,
	} {
		if fmt.Sprint(p[name]) != fmt.Sprint(want) {
			return false
		}
		delete(p, name)
	}
	predicates := list(p["retry_host_predicate"])
	if len(predicates) != 1 || at(predicates[0], "name") != "envoy.retry_host_predicates.previous_hosts" {
		return false
	}
	delete(p, "retry_host_predicate")
	if b.profile != "istio" {
		if fmt.Sprint(p["retriable_status_codes"]) != "[503]" {
			return false
		}
		delete(p, "retriable_status_codes")
	}
	return len(p) == 0
}

// hosts is virtual host name -> all but its routes, domains by alphabet.
func (b brief) hosts(sections object) object {
	out := object{}
	b.vhosts(sections, func(name string, h object) {
		h = maps.Clone(h)
		delete(h, "name")
		delete(h, "routes")
		defaults(h, "include_request_attempt_count", is(true))
		domains := slices.Clone(list(h["domains"]))
		slices.SortFunc(domains, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		h["domains"] = domains
		out[name] = h
	})
	return out
}

// clusters is cluster name -> what is not as in a cluster without any policy.
func (b brief) clusters(sections object) object {
	out := object{}
	for _, v := range list(sections["clusters"]) {
		c := maps.Clone(v.(object))
		name := fmt.Sprint(c["name"])
		if _, named := b.want[name]; !named && (name == "PassthroughCluster" || name == "BlackHoleCluster") {
			continue
		}
		delete(c, "name")
		defaults(c, "connect_timeout", is("10s"))
		if lb, ok := c["common_lb_config"].(object); ok && c["outlier_detection"] == nil {
			lb = maps.Clone(lb)
			defaults(lb, "healthy_panic_threshold", func(v any) bool { return fmt.Sprint(v) == "map[]" })
			c["common_lb_config"] = lb
			if len(lb) == 0 {
				delete(c, "common_lb_config")
			}
		} else if !ok && c["type"] != "ORIGINAL_DST" {
			c["common_lb_config"] = nil
		}
		if eds := at(c, "eds_cluster_config"); c["type"] == "EDS" && at(eds, "service_name") == name &&
			fmt.Sprint(at(eds, "eds_config")) == "map[ads:map[] resource_api_version:V3]" {
			delete(c, "type")
			delete(c, "eds_cluster_config")
		}
		switch c["lb_policy"] {
		case nil: // the enum's zero
			c["lb_policy"] = "ROUND_ROBIN"
		case "LEAST_REQUEST":
			delete(c, "lb_policy")
		}
		if t := list(at(c, "circuit_breakers", "thresholds")); len(t) == 1 {
			limits := maps.Clone(t[0].(object))
			for _, limit := range []string{"max_connections", "max_pending_requests", "max_requests", "max_retries"} {
				defaults(limits, limit, func(v any) bool { return v == float64(1<<32-1) })
			}
			c["circuit_breakers"] = object{"thresholds": []any{limits}}
			if len(limits) == 0 {
				delete(c, "circuit_breakers")
			}
		} else {
			c["circuit_breakers"] = nil
		}
		if a, ok := c["load_assignment"]; ok {
			if at(a, "cluster_name") == name {
				c["load_assignment"] = localities(a)
			}
		}
		out[name] = c
	}
	return out
}

// endpoints is cluster name -> localities.
func (b brief) endpoints(sections object) object {
	out := object{}
	for _, a := range list(sections["endpoints"]) {
		out[fmt.Sprint(at(a, "cluster_name"))] = localities(a)
	}
	return out
}

// localities are those of one assignment: at is region/zone/subzone, a host "address:port", with its weight if it has
// one and its health if that is known.
func localities(assignment any) []any {
	out := []any{}
	for _, l := range list(at(assignment, "endpoints")) {
		place := object{}
		region, _ := at(l, "locality", "region").(string)
		zone, _ := at(l, "locality", "zone").(string)
		subzone, _ := at(l, "locality", "sub_zone").(string)
		if where := strings.TrimRight(region+"/"+zone+"/"+subzone, "/"); where != "" {
			place["at"] = where
		}
		if w := at(l, "load_balancing_weight"); w != nil {
			place["weight"] = w
		}
		if p := at(l, "priority"); p != nil {
			place["priority"] = p
		}
		hosts := []any{}
		for _, h := range list(at(l, "lb_endpoints")) {
			hosts = append(hosts, host(h))
		}
		place["hosts"] = hosts
		out = append(out, place)
	}
	return out
}

func host(h any) string {
	address := at(h, "endpoint", "address")
	s := fmt.Sprintf("unix %v", at(address, "pipe", "path"))
	if ip := at(address, "socket_address"); ip != nil {
		s = fmt.Sprintf("%v:%v", at(ip, "address"), at(ip, "port_value"))
	}
	if w := at(h, "load_balancing_weight"); w != nil {
		s += fmt.Sprintf(" weight %v", w)
	}
	if health := at(h, "health_status"); health != nil {
		s += fmt.Sprintf(" %v", health)
	}
	return s
}
