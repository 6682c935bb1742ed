// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

func TestDestinationRulesAreCheckedAsIstioDoes(t *testing.T) {
	f := func(spec string, want ...string) {
		t.Helper()
		wantErrors(t, istio("DestinationRule", "{"+spec+"}"), want...)
	}
	f("host: a, subsets: [{name: a}, {name: a}]", "spec.subsets[1].name: duplicate subset names: a")
	f("subsets: [{name: a_b}, {}]", "spec.host: host is required", "spec.subsets[0].name: subset name is invalid: a_b",
		"spec.subsets[1].name: subset name cannot be empty")
	f("host: a, subsets: [{name: a, labels: {b: ' '}}]", `spec.subsets[0].labels[b]: invalid tag value: " "`)
	f("host: 'a.*'", `spec.host: domain name "a.*" invalid (label "*" invalid)`)
	f("host: a, exportTo: [., default]",
		"spec.exportTo[1]: duplicate entries in exportTo for entry default")
	f("host: a, exportTo: ['~']", "spec.exportTo[0]: exportTo ~ (none) is not allowed for Istio configuration objects")
	f("host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: ['*']",
		"spec.exportTo: destination rule with workload selector cannot have exportTo beyond current namespace")
	f("host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: [., b]",
		"spec.exportTo: destination rule with workload selector cannot have multiple entries in exportTo")
	f("host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: [default]")
	f("host: a, workloadSelector: {matchLabels: {a: 'b*'}}",
		`spec.workloadSelector.matchLabels[a]: wildcard is not supported in selector: "a=b*"`)

	policy := func(policy string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = "spec.trafficPolicy" + want[i]
		}
		f("host: a, trafficPolicy: {"+policy+"}", want...)
	}
	policy("", ": traffic policy must have at least one field")
	policy("portLevelSettings: [{port: {number: 80}}]",
		".portLevelSettings[0]: port traffic policy must have at least one field")
	policy("portLevelSettings: [{loadBalancer: {simple: RANDOM}}]",
		".portLevelSettings[0].port: portTrafficPolicy must have valid port")
	policy("tls: {mode: DISABLE}")
	policy("tls: {mode: SIMPLE, sni: x}", ".tls: trafficPolicy.tls is not implemented, and it decides who may pass")
	policy("tunnel: {targetHost: a.b, targetPort: 1}, proxyProtocol: {version: V2}",
		".tunnel: trafficPolicy.tunnel is not implemented, and it decides where a request goes",
		".proxyProtocol.version: trafficPolicy.proxyProtocol is not implemented, and it decides who may pass",
		".proxyProtocol: tunnel and proxyProtocol must not be set together")
	policy("retryBudget: {percent: 101}", ".retryBudget.percent: percentage 101 is not in range 0..100")
}

func TestConnectionPoolsAndOutlierDetectionAreCheckedAsIstioDoes(t *testing.T) {
	policy := func(policy string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = "spec.trafficPolicy." + want[i]
		}
		wantErrors(t, istio("DestinationRule", "{host: a, trafficPolicy: {"+policy+"}}"), want...)
	}
	policy("connectionPool: {}", "connectionPool: connection pool must have at least one field")
	policy("connectionPool: {http: {http1MaxPendingRequests: -1, http2MaxRequests: -1, maxRequestsPerConnection: -1, "+
		"maxRetries: -1, maxConcurrentStreams: -1}, tcp: {maxConnections: -1}}",
		"connectionPool.tcp.maxConnections: max connections must be non-negative",
		"connectionPool.http.http1MaxPendingRequests: http1 max pending requests must be non-negative",
		"connectionPool.http.http2MaxRequests: http2 max requests must be non-negative",
		"connectionPool.http.maxRequestsPerConnection: max requests per connection must be non-negative",
		"connectionPool.http.maxRetries: max retries must be non-negative",
		"connectionPool.http.maxConcurrentStreams: max concurrent streams must be non-negative")
	policy("connectionPool: {http: {idleTimeout: 0s}}",
		"connectionPool.http.idleTimeout: duration must be greater than 1ms")
	policy("connectionPool: {tcp: {idleTimeout: 0s, connectTimeout: 1500us, tcpKeepalive: {time: 0s, interval: 1us}}}",
		"connectionPool.tcp.connectTimeout: only durations to ms precision are supported",
		"connectionPool.tcp.tcpKeepalive.time: duration must be greater than 1ms",
		"connectionPool.tcp.tcpKeepalive.interval: duration must be greater than 1ms")
	policy("connectionPool: {http: {useClientProtocol: true, h2UpgradePolicy: UPGRADE}}",
		"connectionPool.http.useClientProtocol: use client protocol must not be true when H2UpgradePolicy is UPGRADE")
	policy("connectionPool: {http: {http2KeepAlive: {timeout: 0s}}}",
		"connectionPool.http.http2KeepAlive.interval: http2 keepalive interval is required",
		"connectionPool.http.http2KeepAlive.timeout: duration must be greater than 1ms")
	policy("outlierDetection: {}")
	policy("outlierDetection: {consecutiveLocalOriginFailures: 1}", "outlierDetection.consecutiveLocalOriginFailures: "+
		"outlier detection consecutive local origin failures is specified, "+
		"but split external local origin errors is set to false")
	policy("outlierDetection: {interval: 0s, baseEjectionTime: 0s, maxEjectionPercent: 101, minHealthPercent: -1}",
		"outlierDetection.interval: duration must be greater than 1ms",
		"outlierDetection.baseEjectionTime: duration must be greater than 1ms",
		"outlierDetection.maxEjectionPercent: percentage 101 is not in range 0..100",
		"outlierDetection.minHealthPercent: percentage -1 is not in range 0..100")

	_, _, problems := translateYAML(t, istio("DestinationRule", "{host: a, trafficPolicy: {outlierDetection: "+
		"{consecutiveErrors: 5}, connectionPool: {http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 5}}}}"), Options{})
	says(t, problems, mesh.Warning, "outlierDetection.consecutiveErrors: ", "is deprecated", "it has no effect")
	says(t, problems, mesh.Warning, "connectionPool.http.h2UpgradePolicy: ", "upstreams are spoken to by HTTP/1.1")
	says(t, problems, mesh.Warning, "connectionPool.http.maxConcurrentStreams: ", "upstreams are spoken to by HTTP/1.1")
}

func TestLoadBalancersAreCheckedAsIstioDoes(t *testing.T) {
	f := func(lb string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = "spec.trafficPolicy.loadBalancer." + want[i]
		}
		wantErrors(t, istio("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {"+lb+"}}}"), want...)
	}
	f("simple: PASSTHROUGH")
	f("simple: RANDOM, consistentHash: {useSourceIp: true}", "consistentHash: excludes simple beside it")
	f("consistentHash: {httpCookie: {}}", "consistentHash.httpCookie.name: name required for HttpCookie")
	f("consistentHash: {httpCookie: {name: a, attributes: [{name: b}, {name: b}, {}]}}",
		"consistentHash.httpCookie.attributes[1].name: duplicate cookie attribute name: b",
		"consistentHash.httpCookie.attributes[2].name: cookie attribute name cannot be empty")
	f("consistentHash: {useSourceIp: true, minimumRingSize: 5, ringHash: {minimumRingSize: 6}}",
		"consistentHash.minimumRingSize: only one of MinimumRingSize or Maglev/Ringhash can be specified")
	f("consistentHash: {useSourceIp: true, maglev: {}}", "consistentHash.maglev.tableSize: tableSize must be set for maglev")
	f("consistentHash: {useSourceIp: true, maglev: {tableSize: 9}}",
		"consistentHash.maglev.tableSize: tableSize must be a prime number for maglev")
	f("consistentHash: {useSourceIp: true, maglev: {tableSize: 5000011}}",
		"consistentHash.maglev.tableSize: tableSize must be less than 5000011 for maglev")
	f("consistentHash: {useSourceIp: true, maglev: {tableSize: 65537}}")
	f("warmup: {}", "warmup.duration: duration is required")
	f("warmup: {duration: 1s, minimumPercent: 101, aggression: 0}",
		"warmup.minimumPercent: minimumPercent value should be less than or equal to 100",
		"warmup.aggression: aggression should be greater than 0")
	f("localityLbSetting: {enabled: true}, zoneAwareLbSetting: {enabled: true}",
		"zoneAwareLbSetting: only one of localityLbSetting and zoneAwareLbSetting can be set")

	locality := func(setting string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = "localityLbSetting" + want[i]
		}
		f("localityLbSetting: {"+setting+"}", want...)
	}
	locality("distribute: [{from: a, to: {b: 100}}], failover: [{from: a, to: b}]",
		".failover: can not simultaneously specify 'distribute' and 'failover'")
	locality("failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/region]", ".failoverPriority[0]: "+
		"can not simultaneously set 'failover' and topology label 'topology.kubernetes.io/region' in 'failover_priority'")
	locality("distribute: [{from: a, to: {b: 50, c: 40}}]", ".distribute[0].to: total locality weight 90 != 100")
	locality("distribute: [{from: a, to: {b: 0, c: 100}}]", ".distribute[0].to[b]: locality weight must be in range [1, 100]")
	locality("distribute: [{from: a/*/b, to: {b: 100}}]",
		".distribute: locality a/*/b wildcard '*' number can not exceed 1 and must be in the end")
	locality("distribute: [{from: a//b, to: {b: 100}}]",
		".distribute: locality a//b must not contain empty region/zone/subzone info")
	locality("distribute: [{from: a/b, to: {c: 100}}, {from: a/*, to: {c: 100}}]",
		".distribute: locality a/* overlap with previous specified ones")
	locality("distribute: [{from: a/b, to: {c/d: 50, c/d/e: 50}}]",
		".distribute[0].to: locality c/d/e overlap with previous specified ones")
	locality("distribute: [{from: a/b, to: {c/d: 50, c/e: 50}}, {from: a/c, to: {c: 100}}]")
	locality("failover: [{from: a, to: a}]",
		".failover[0]: locality lb failover settings must specify different regions")
	locality("failover: [{from: a/b, to: a}]", ".failover[0]: locality lb failover only specify region")
	locality("failover: [{from: '*', to: a}]",
		".failover[0]: locality lb failover region should not contain '*' wildcard")

	_, _, problems := translateYAML(t, istio("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {"+
		"consistentHash: {}, warmupDurationSecs: 5s, localityLbSetting: {failover: [{from: a, to: b}]}}}}"), Options{})
	says(t, problems, mesh.Warning, "consistentHash: no key is given: each request goes to any endpoint")
	says(t, problems, mesh.Warning, `warmupDurationSecs: using deprecated setting "warmupDurationSecs"`)
	says(t, problems, mesh.Warning, "only round robin and least request warm endpoints up: it has no effect")
	says(t, problems, mesh.Warning, "localityLbSetting: outlier detection policy must be provided for failover")
}

// chosen is the name of the first subset of a.apps.svc.cluster.local as a proxy sees it: rules name it after themselves.
func chosen(t *testing.T, in string, opts Options) string {
	t.Helper()
	config, _, _ := translateYAML(t, k8sService("apps/a", "{ports: [{port: 80}]}")+in, opts)
	var names []string
	for _, s := range config.Services[0].Subsets {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

func TestTheRulesOfOneNamespaceApply(t *testing.T) {
	const host = "a.apps.svc.cluster.local"
	rule := func(namespace, name, host, more string) string {
		return named("DestinationRule", namespace+"/"+name,
			fmt.Sprintf("{host: '%s', subsets: [{name: %s}]%s}", host, name, more))
	}
	f := func(proxy, want string, rules ...string) {
		t.Helper()
		opts := Options{Namespace: proxy, RootNamespace: "root", Labels: map[string]string{"app": "web", "version": "v1"}}
		if got := chosen(t, strings.Join(rules, ""), opts); got != want {
			t.Errorf("from %s: rules %q, want %q, of:\n%s", proxy, got, want, strings.Join(rules, ""))
		}
	}
	client, service, root := rule("web", "client", host, ""), rule("apps", "service", "a", ""), rule("root", "root", host, "")
	f("web", "client", root, service, client)
	f("web", "service", root, service)
	f("web", "root", root)
	f("apps", "service", root, service, client)
	f("root", "service", root, service)
	f("root", "root", root)

	// The most specific host wins, and only it: a wildcard of the proxy's namespace beats a full name of another.
	wild, wilder := rule("web", "wild", "*.apps.svc.cluster.local", ""), rule("web", "wilder", "*.svc.cluster.local", "")
	f("web", "client", wild, wilder, client)
	f("web", "wild", wilder, wild, service)
	f("web", "wilder", wilder, service)
	f("web", "all", rule("web", "all", "*", ""), service)

	const own = ", exportTo: [.]"
	f("web", "root", rule("apps", "hidden", "a", own), root)
	f("web", "service", service, rule("root", "hidden", host, own))
	f("root", "hidden", service, rule("root", "hidden", host, own))
	f("web", "", rule("apps", "hidden", "a", ", exportTo: [other]"))
	f("other", "shown", rule("apps", "shown", "a", ", exportTo: [other]"))
	f("web", "client", rule("web", "elsewhere", host, ", exportTo: [other]"), client)

	web, more := ", workloadSelector: {matchLabels: {app: web}}", ", workloadSelector: {matchLabels: {app: web, version: v1}}"
	f("web", "fits", client, rule("web", "fits", host, web))
	f("web", "client", client, rule("web", "fits", host, ", workloadSelector: {matchLabels: {app: db}}"))
	f("web", "", rule("web", "unfit", host, ", workloadSelector: {matchLabels: {app: db}}"), service)
	f("web", "a", rule("web", "a", host, web), rule("web", "b", host, more))
	f("web", "a b", rule("web", "a", host, web), rule("web", "b", host, web))
	f("web", "service", service, rule("apps", "fits", "a", web))
}

func TestRulesForOneHostAddUp(t *testing.T) {
	rule := func(name, spec string) string {
		return named("DestinationRule", name, "{host: a.example.com, "+spec+"}")
	}
	config, _, problems := translateYAML(t, named("ServiceEntry", "a", "{hosts: [a.example.com], resolution: DNS}")+
		rule("a", "subsets: [{name: v1}]")+
		rule("b", "subsets: [{name: v1, labels: {x: y}}, {name: v2}], trafficPolicy: {loadBalancer: {simple: RANDOM}}")+
		rule("c", "trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}")+
		rule("d", "subsets: [{name: a_b}]"), Options{})
	s := config.Services[0]
	if s.Policy == nil || s.Policy.LoadBalancer.Simple != mesh.Random {
		t.Errorf("policy %+v, want that of the oldest rule that has one", s.Policy)
	}
	if len(s.Subsets) != 2 || s.Subsets[0].Labels != nil || s.Subsets[1].Name != "v2" {
		t.Errorf("subsets %+v", s.Subsets)
	}
	says(t, problems, mesh.Warning, "default/b: spec.subsets[0].name: subset v1 is defined by DestinationRule default/a too")
	says(t, problems, mesh.Warning, "default/c: spec.trafficPolicy: DestinationRule default/b has a traffic policy too")
	for _, p := range problems {
		if p.Resource.Kind == "DestinationRule" && strings.Contains(p.Message, "applies to no service") {
			t.Errorf("a rule that counts: %v", p)
		}
	}
}

func TestRulesExportedElsewhereDoNotAddUp(t *testing.T) {
	rule := func(name, exportTo string) string {
		return named("DestinationRule", name,
			fmt.Sprintf("{host: a.apps.svc.cluster.local, exportTo: %s, subsets: [{name: %s}]}", exportTo, name))
	}
	f := func(want string, rules ...string) {
		t.Helper()
		if got := chosen(t, strings.Join(rules, ""), Options{}); got != want {
			t.Errorf("subsets %q, want %q, of:\n%s", got, want, strings.Join(rules, ""))
		}
	}
	f("a b", rule("a", "[]"), rule("b", "[]"))
	f("b", rule("a", "[]"), rule("b", "['*']")) // the same, but not in the same words
	f("a b", rule("a", "[.]"), rule("b", "[., other]"))
	f("b", rule("a", "[., other]"), rule("b", "[.]")) // of several that do not go together the last counts
	f("b", rule("a", "['*']"), rule("b", "[.]"))
	f("a", rule("a", "['*']"), rule("b", "[other]"))
}
