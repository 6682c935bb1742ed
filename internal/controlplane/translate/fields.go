// SPDX-License-Identifier: Apache-2.0

package translate

import "go.yaml.in/yaml/v3"

// The lists below say what happens to each field of each accepted kind. Every field that the schema has is on exactly
// one of them (a test holds that), so nothing is ignored in silence. A pattern is a path with "[]" for a list's
// elements and "{}" for a mapping's values; a pattern of a message stands for all that is in it.

// implemented fields do what Istio documents. Each entry names the golden that shows it
// (testdata/NAME.txtar here or in package compile).
var implemented = map[string]map[string]string{
	"Gateway": {
		"spec.selector":                "gateway-selector",
		"spec.servers[].bind":          "gateway-bind",
		"spec.servers[].hosts":         "gateway-hosts",
		"spec.servers[].port.name":     "gateway-hosts",
		"spec.servers[].port.number":   "gateway-hosts",
		"spec.servers[].port.protocol": "gateway-hosts",
	},
	"VirtualService": {
		"spec.gateways":                                 "gateway-hosts",
		"spec.hosts":                                    "gateway-hosts",
		"spec.http[].match[].headers{}.exact":           "match-headers",
		"spec.http[].match[].headers{}.prefix":          "match-headers",
		"spec.http[].match[].headers{}.regex":           "match-headers",
		"spec.http[].match[].method.exact":              "match-method",
		"spec.http[].match[].method.prefix":             "match-order",
		"spec.http[].match[].method.regex":              "match-method",
		"spec.http[].match[].name":                      "match-names",
		"spec.http[].match[].uri.exact":                 "match-uri",
		"spec.http[].match[].uri.prefix":                "match-uri",
		"spec.http[].match[].uri.regex":                 "match-uri",
		"spec.http[].mirror.host":                       "mirror-percentage",
		"spec.http[].mirror.port.number":                "mission-cross-cluster",
		"spec.http[].mirror.subset":                     "mission-canary",
		"spec.http[].mirrorPercent":                     "mirror-percent-deprecated",
		"spec.http[].mirrorPercentage.value":            "mirror-percentage",
		"spec.http[].mirrors[].destination.host":        "mirrors",
		"spec.http[].mirrors[].destination.port.number": "mirrors",
		"spec.http[].mirrors[].destination.subset":      "serviceentry-labels",
		"spec.http[].mirrors[].percentage.value":        "mirrors",
		"spec.http[].name":                              "match-names",
		"spec.http[].route[].destination.host":          "weights",
		"spec.http[].route[].destination.port.number":   "mission-cross-cluster",
		"spec.http[].route[].destination.subset":        "subsets",
		"spec.http[].route[].weight":                    "weights",
		"spec.http[].timeout":                           "timeout",
	},
	"DestinationRule": {
		"spec.host":             "subsets",
		"spec.subsets[].labels": "subsets",
		"spec.subsets[].name":   "subsets",
	},
	"ServiceEntry": {
		"spec.endpoints[].address":     "serviceentry-static",
		"spec.endpoints[].labels":      "serviceentry-labels",
		"spec.endpoints[].ports":       "serviceentry-static",
		"spec.endpoints[].weight":      "serviceentry-static",
		"spec.hosts":                   "serviceentry-static",
		"spec.location":                "serviceentry-static",
		"spec.ports[].name":            "serviceentry-static",
		"spec.ports[].number":          "serviceentry-static",
		"spec.ports[].protocol":        "serviceentry-static",
		"spec.ports[].targetPort":      "serviceentry-static",
		"spec.resolution":              "serviceentry-static",
		"spec.workloadSelector.labels": "serviceentry-workloads",
	},
	"WorkloadEntry": {
		"spec.address": "workloadentry-service",
		"spec.labels":  "workloadentry-service",
		"spec.ports":   "workloadentry-service",
		"spec.weight":  "serviceentry-workloads",
	},
	"Service": {
		"spec.ports[].appProtocol": "port-protocols",
		"spec.ports[].name":        "workloadentry-service",
		"spec.ports[].port":        "workloadentry-service",
		"spec.ports[].protocol":    "service-ports",
		"spec.ports[].targetPort":  "workloadentry-service",
		"spec.selector":            "workloadentry-service",
	},
}

// verdict is what a field on a list other than implemented gives.
type verdict int

const (
	inert   verdict = iota // nothing: it has no effect on any request; says says why
	noted                  // a note: says says what differs
	warned                 // a warning: says says what happens instead
	refused                // an error: says is what it decides
)

type rule struct {
	verdict verdict
	says    string
	// same tells that a value asks for exactly what is done anyway; nil: no value does.
	same func(*yaml.Node) bool
}

// metadataRules hold for each kind: what is there for the API server. Names, labels and creationTimestamp are read by
// package source.
var metadataRules = map[string]rule{
	"apiVersion": {verdict: inert, says: "read by package source"},
	"kind":       {verdict: inert, says: "read by package source"},
	"metadata":   {verdict: inert, says: "read by package source, or bookkeeping of the API server"},
	"status":     {verdict: inert, says: "written by controllers, not by users"},
}

// rules list the fields that are known and not implemented.
var rules = map[string]map[string]rule{
	"Gateway": {
		"spec.servers[].defaultEndpoint": {warned, "the endpoints of the route are used", nil},
		"spec.servers[].name":            {inert, "names the server for people", nil},
		"spec.servers[].port.targetPort": {warned, "it is deprecated; --port maps ports", nil},
		"spec.servers[].tls":             {refused, mayPass, nil},
	},
	"VirtualService": {
		"spec.exportTo":                        {refused, goes, only("*")},
		"spec.tcp":                             {refused, goes, nil},
		"spec.tls":                             {refused, goes, nil},
		"spec.http[].corsPolicy":               {warned, "browsers are told nothing; preflights go upstream", nil},
		"spec.http[].delegate":                 {refused, goes, nil},
		"spec.http[].directResponse":           {refused, goes, nil},
		"spec.http[].fault.abort":              {refused, mayPass, nil},
		"spec.http[].fault.delay":              {warned, "requests are not delayed", nil},
		"spec.http[].headers.request":          {refused, mayPass, nil},
		"spec.http[].headers.response":         {warned, "answers keep their headers", nil},
		"spec.http[].match[].authority":        {refused, goes, nil},
		"spec.http[].match[].gateways":         {refused, goes, nil},
		"spec.http[].match[].ignoreUriCase":    {refused, goes, nil},
		"spec.http[].match[].port":             {refused, goes, nil},
		"spec.http[].match[].queryParams":      {refused, goes, nil},
		"spec.http[].match[].scheme":           {refused, goes, nil},
		"spec.http[].match[].sourceLabels":     {refused, goes, nil},
		"spec.http[].match[].sourceNamespace":  {refused, goes, nil},
		"spec.http[].match[].statPrefix":       {warned, "no extra counters are kept", nil},
		"spec.http[].match[].withoutHeaders":   {refused, goes, nil},
		"spec.http[].redirect":                 {refused, goes, nil},
		"spec.http[].retries":                  {warned, "the default retry policy is used", nil},
		"spec.http[].rewrite":                  {refused, goes, nil},
		"spec.http[].route[].headers.request":  {refused, mayPass, nil},
		"spec.http[].route[].headers.response": {warned, "answers keep their headers", nil},
	},
	"DestinationRule": join(policyRules("spec.trafficPolicy"), policyRules("spec.subsets[].trafficPolicy"),
		map[string]rule{
			"spec.exportTo":         {refused, goes, only("*")},
			"spec.workloadSelector": {refused, goes, nil},
		}),
	"ServiceEntry": join(workloadRules("spec.endpoints[]."), map[string]rule{
		"spec.addresses":       {warned, "requests are routed by host, not by address", nil},
		"spec.exportTo":        {refused, goes, only("*")},
		"spec.subjectAltNames": {warned, "upstreams are plain text; nobody's name is verified", nil},
	}),
	"WorkloadEntry": workloadRules("spec."),
	"Service": {
		"spec.allocateLoadBalancerNodePorts": {inert, "about the load balancer in front of a node", nil},
		"spec.clusterIP":                     {noted, "requests are routed by host, not by cluster IP", only("None")},
		"spec.clusterIPs":                    {inert, "repeats clusterIP", nil},
		"spec.externalIPs":                   {warned, "requests are routed by host, not by address", nil},
		"spec.externalName":                  {refused, goes, nil},
		"spec.externalTrafficPolicy":         {inert, "about traffic that enters a node", nil},
		"spec.healthCheckNodePort":           {inert, "about the load balancer in front of a node", nil},
		"spec.internalTrafficPolicy":         {warned, "endpoints of all nodes are used", only("Cluster")},
		"spec.ipFamilies":                    {inert, "about the cluster IP", nil},
		"spec.ipFamilyPolicy":                {inert, "about the cluster IP", nil},
		"spec.loadBalancerClass":             {inert, "about the load balancer in front of a node", nil},
		"spec.loadBalancerIP":                {inert, "about the load balancer in front of a node", nil},
		"spec.loadBalancerSourceRanges":      {warned, "clients are not restricted by address", nil},
		"spec.ports[].nodePort":              {inert, "about traffic that enters a node", nil},
		"spec.publishNotReadyAddresses":      {inert, "a WorkloadEntry is always ready", nil},
		"spec.sessionAffinity":               {warned, "each request goes to any endpoint", only("None")},
		"spec.sessionAffinityConfig":         {warned, "each request goes to any endpoint", nil},
		"spec.trafficDistribution":           {warned, "endpoints of all zones are used", nil},
		"spec.type":                          {refused, goes, only("ClusterIP", "NodePort", "LoadBalancer")},
	},
}

func workloadRules(at string) map[string]rule {
	return map[string]rule{
		at + "locality":       {warned, "endpoints of all localities are used", nil},
		at + "network":        {refused, goes, nil},
		at + "serviceAccount": {warned, "upstreams are plain text; nobody's identity is verified", nil},
	}
}

func policyRules(at string) map[string]rule {
	m := map[string]rule{
		at + ".proxyProtocol": {refused, mayPass, nil},
		at + ".retryBudget":   {warned, "retries are not limited by a budget", nil},
		at + ".tunnel":        {refused, goes, nil},
	}
	ports := at + ".portLevelSettings[]"
	m[ports+".port"] = rule{inert, "names the port that the settings beside it are for", nil}
	for _, at := range []string{at, ports} {
		m[at+".connectionPool"] = rule{warned, "the defaults are used", nil}
		m[at+".loadBalancer"] = rule{warned, "least request is used", leastRequest}
		m[at+".outlierDetection"] = rule{warned, "no endpoint is ejected", nil}
		m[at+".tls"] = rule{refused, mayPass, disabled}
	}
	return m
}

func join(maps ...map[string]rule) map[string]rule {
	all := map[string]rule{}
	for _, m := range maps {
		for pattern, r := range m {
			all[pattern] = r
		}
	}
	return all
}

// only accepts a scalar that is one of values, or a list with nothing else in it.
func only(values ...string) func(*yaml.Node) bool {
	return func(n *yaml.Node) bool {
		list := n.Content
		if n.Kind == yaml.ScalarNode {
			list = []*yaml.Node{n}
		}
		for _, c := range list {
			ok := false
			for _, v := range values {
				ok = ok || c.Kind == yaml.ScalarNode && c.Value == v
			}
			if !ok {
				return false
			}
		}
		return true
	}
}

// leastRequest accepts a load balancer that is the one there is.
func leastRequest(n *yaml.Node) bool {
	return onlyKey(n, "simple", only("LEAST_REQUEST", "LEAST_CONN", "UNSPECIFIED"))
}

// disabled accepts client TLS settings that switch TLS off.
func disabled(n *yaml.Node) bool { return onlyKey(n, "mode", only("DISABLE")) }

func onlyKey(n *yaml.Node, key string, ok func(*yaml.Node) bool) bool {
	return n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == key && ok(n.Content[1])
}
