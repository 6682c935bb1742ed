// SPDX-License-Identifier: Apache-2.0

package translate

// The fields of kinds that say what there is to send requests to.

var implementedService = map[string]map[string]string{
	"DestinationRule": join(map[string]string{
		"spec.exportTo":                     "destinationrule-lookup",
		"spec.host":                         "subsets",
		"spec.subsets[].labels":             "subsets",
		"spec.subsets[].name":               "subsets",
		"spec.workloadSelector.matchLabels": "destinationrule-lookup",
	}, implementedPolicy("spec.trafficPolicy"), implementedPolicy("spec.subsets[].trafficPolicy")),
	"ServiceEntry": {
		"spec.addresses":               "serviceentry-dns",
		"spec.endpoints[].address":     "serviceentry-static",
		"spec.endpoints[].labels":      "serviceentry-labels",
		"spec.endpoints[].locality":    "serviceentry-dns",
		"spec.endpoints[].ports":       "serviceentry-static",
		"spec.endpoints[].weight":      "serviceentry-static",
		"spec.exportTo":                "serviceentry-dns",
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
		"spec.address":  "workloadentry-service",
		"spec.labels":   "workloadentry-service",
		"spec.locality": "serviceentry-workloads",
		"spec.ports":    "workloadentry-service",
		"spec.weight":   "serviceentry-workloads",
	},
	"Sidecar": {
		"spec.egress[].hosts":             "sidecar-scope",
		"spec.outboundTrafficPolicy.mode": "sidecar-scope",
		"spec.workloadSelector.labels":    "sidecar-scope",
	},
	"Service": {
		"spec.clusterIP":                "kubernetes-services",
		"spec.clusterIPs":               "kubernetes-services",
		"spec.externalName":             "kubernetes-services",
		"spec.ports[].appProtocol":      "port-protocols",
		"spec.ports[].name":             "workloadentry-service",
		"spec.ports[].port":             "workloadentry-service",
		"spec.ports[].protocol":         "service-ports",
		"spec.ports[].targetPort":       "workloadentry-service",
		"spec.publishNotReadyAddresses": "kubernetes-services",
		"spec.selector":                 "workloadentry-service",
		"spec.type":                     "kubernetes-services",
	},
	"EndpointSlice": {
		"addressType":                        "kubernetes-endpoints",
		"endpoints[].addresses":              "kubernetes-endpoints",
		"endpoints[].conditions.ready":       "kubernetes-endpoints",
		"endpoints[].conditions.terminating": "kubernetes-endpoints",
		"endpoints[].targetRef.kind":         "kubernetes-endpoints",
		"endpoints[].targetRef.name":         "kubernetes-endpoints",
		"endpoints[].targetRef.namespace":    "kubernetes-endpoints",
		"endpoints[].zone":                   "kubernetes-endpoints",
		"ports[].name":                       "kubernetes-endpoints",
		"ports[].port":                       "kubernetes-endpoints",
		"ports[].protocol":                   "kubernetes-endpoints",
	},
	"Pod": {
		"spec": "kubernetes-endpoints", // container ports; the rest is for the kubelet
	},
}

// implementedPolicy is the fields of a traffic policy, by themselves and for a port.
func implementedPolicy(at string) map[string]string {
	const hash, settings = "destinationrule-hash", "destinationrule-policy"
	m := map[string]string{
		at + ".portLevelSettings[].port.number": settings,
		at + ".retryBudget.minRetryConcurrency": settings,
		at + ".retryBudget.percent":             settings,
	}
	for _, at := range []string{at, at + ".portLevelSettings[]"} {
		for _, field := range []string{
			"connectionPool.http.http1MaxPendingRequests", "connectionPool.http.http2MaxRequests",
			"connectionPool.http.idleTimeout", "connectionPool.http.maxRequestsPerConnection",
			"connectionPool.http.maxRetries", "connectionPool.tcp.connectTimeout",
			"connectionPool.tcp.maxConnectionDuration", "connectionPool.tcp.maxConnections",
			"connectionPool.tcp.tcpKeepalive.interval", "connectionPool.tcp.tcpKeepalive.probes",
			"connectionPool.tcp.tcpKeepalive.time", "loadBalancer.localityLbSetting.enabled",
			"loadBalancer.localityLbSetting.failoverPriority", "loadBalancer.localityLbSetting.failover[].from",
			"loadBalancer.localityLbSetting.failover[].to", "loadBalancer.simple", "loadBalancer.warmup.aggression",
			"loadBalancer.warmup.duration", "loadBalancer.warmup.minimumPercent", "outlierDetection.baseEjectionTime",
			"outlierDetection.consecutive5xxErrors", "outlierDetection.consecutiveGatewayErrors",
			"outlierDetection.consecutiveLocalOriginFailures", "outlierDetection.interval",
			"outlierDetection.maxEjectionPercent", "outlierDetection.minHealthPercent",
			"outlierDetection.splitExternalLocalOriginErrors",
		} {
			m[at+"."+field] = settings
		}
		for _, field := range []string{
			"consistentHash.httpCookie.name", "consistentHash.httpCookie.path", "consistentHash.httpCookie.ttl",
			"consistentHash.httpHeaderName", "consistentHash.httpQueryParameterName", "consistentHash.maglev.tableSize",
			"consistentHash.minimumRingSize", "consistentHash.ringHash.minimumRingSize", "consistentHash.useSourceIp",
			"localityLbSetting.distribute[].from", "localityLbSetting.distribute[].to", "warmupDurationSecs",
		} {
			m[at+".loadBalancer."+field] = hash
		}
	}
	return m
}

var rulesService = map[string]map[string]rule{
	"DestinationRule": join(policyRules("spec.trafficPolicy"), policyRules("spec.subsets[].trafficPolicy")),
	"ServiceEntry": join(workloadRules("spec.endpoints[]."), map[string]rule{
		"spec.subjectAltNames": {warned, "upstreams are plain text; nobody's name is verified", nil},
	}),
	"WorkloadEntry": workloadRules("spec."),
	"Sidecar": {
		"spec.egress[].bind":                     {refused, goes, nil},
		"spec.egress[].captureMode":              {refused, goes, only("DEFAULT", "IPTABLES")},
		"spec.egress[].port":                     {refused, goes, nil},
		"spec.inboundConnectionPool":             {warned, "there is no inbound listener", nil},
		"spec.ingress":                           {warned, "there is no inbound listener", nil},
		"spec.outboundTrafficPolicy.egressProxy": {refused, goes, nil},
	},
	"Service": {
		"spec.allocateLoadBalancerNodePorts": {inert, "about the load balancer in front of a node", nil},
		"spec.externalIPs":                   {warned, "requests are routed by host, not by address", nil},
		"spec.externalTrafficPolicy":         {inert, "about traffic that enters a node", nil},
		"spec.healthCheckNodePort":           {inert, "about the load balancer in front of a node", nil},
		"spec.internalTrafficPolicy":         {warned, "endpoints of all nodes are used", only("Cluster")},
		"spec.ipFamilies":                    {inert, "about the cluster IP", nil},
		"spec.ipFamilyPolicy":                {inert, "about the cluster IP", nil},
		"spec.loadBalancerClass":             {inert, "about the load balancer in front of a node", nil},
		"spec.loadBalancerIP":                {inert, "about the load balancer in front of a node", nil},
		"spec.loadBalancerSourceRanges":      {warned, "clients are not restricted by address", nil},
		"spec.ports[].nodePort":              {inert, "about traffic that enters a node", nil},
		"spec.sessionAffinity":               {warned, "each request goes to any endpoint", only("None")},
		"spec.sessionAffinityConfig":         {warned, "each request goes to any endpoint", nil},
		"spec.trafficDistribution":           {warned, "endpoints of all zones are used", nil},
	},
	"EndpointSlice": {
		"endpoints[].conditions.serving":        {inert, "an endpoint that is not ready and only serves is not used", nil},
		"endpoints[].deprecatedTopology":        {inert, "of a version of EndpointSlice that is no more", nil},
		"endpoints[].hints":                     {inert, "for what routes by zone; a DestinationRule says so here", nil},
		"endpoints[].hostname":                  {inert, "a name for DNS; requests are routed to the address", nil},
		"endpoints[].nodeName":                  {inert, "Nodes are not read", nil},
		"endpoints[].targetRef.apiVersion":      {inert, "the kind of a Pod is enough", nil},
		"endpoints[].targetRef.fieldPath":       {inert, "says which part of the Pod", nil},
		"endpoints[].targetRef.resourceVersion": {inert, "bookkeeping of the API server", nil},
		"endpoints[].targetRef.uid":             {inert, "the name is enough", nil},
		"ports[].appProtocol":                   {inert, "the Service says it", nil},
	},
}

func workloadRules(at string) map[string]rule {
	return map[string]rule{
		at + "network":        {warned, "no network has a gateway: all endpoints are dialed at their own address", nil},
		at + "serviceAccount": {warned, "upstreams are plain text; nobody's identity is verified", nil},
	}
}

func policyRules(at string) map[string]rule {
	m := map[string]rule{
		at + ".proxyProtocol":              {refused, mayPass, nil},
		at + ".retryBudget.budgetInterval": {warned, "what is active now is counted", nil},
		at + ".tunnel":                     {refused, goes, nil},
	}
	const http1 = "upstreams are spoken to by HTTP/1.1"
	for _, at := range []string{at, at + ".portLevelSettings[]"} {
		pool, lb := at+".connectionPool", at+".loadBalancer"
		m[pool+".http.h2UpgradePolicy"] = rule{warned, http1, only("DEFAULT", "DO_NOT_UPGRADE")}
		m[pool+".http.http2KeepAlive"] = rule{warned, http1, nil}
		m[pool+".http.maxConcurrentStreams"] = rule{warned, http1, nil}
		m[pool+".http.useClientProtocol"] = rule{warned, http1, nil}
		m[pool+".tcp.idleTimeout"] = rule{inert, "about bytes that are not HTTP", nil}
		m[lb+".consistentHash.httpCookie.attributes"] = rule{warned, "the cookie is made without them", nil}
		m[lb+".zoneAwareLbSetting"] = rule{warned, "endpoints of all zones are used", nil}
		m[at+".outlierDetection.consecutiveErrors"] = rule{inert, "deprecated, and warned of", nil}
		m[at+".outlierDetection.outlierDetectionHttpErrorCodes"] = rule{warned, "answers of 500 and more are errors", nil}
		m[at+".tls"] = rule{refused, mayPass, disabled}
	}
	return m
}
