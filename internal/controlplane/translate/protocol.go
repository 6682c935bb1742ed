// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"slices"
	"strings"
)

var protocols = []string{
	"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "MONGO", "REDIS", "MYSQL", "UDP",
}

// isHTTP tells whether requests can be routed to a port of the protocol.
func isHTTP(protocol string) bool {
	return protocol == "HTTP" || protocol == "HTTP2" || protocol == "GRPC" || protocol == "GRPC-WEB"
}

// serviceProtocol is the protocol of a Kubernetes service port: appProtocol, else the part of the name before "-", else
// what the port number is known for. Istio sniffs the rest; a port that HTTP is routed to then carries HTTP.
func serviceProtocol(transport, appProtocol, name string, number uint32) string {
	if transport == "UDP" || transport == "SCTP" {
		return transport
	}
	switch appProtocol {
	case "kubernetes.io/h2c":
		return "HTTP2"
	case "kubernetes.io/ws":
		return "HTTP"
	case "kubernetes.io/wss":
		return "HTTPS"
	}
	before, _, _ := strings.Cut(name, "-")
	if strings.HasPrefix(strings.ToLower(name), "grpc-web") {
		before = "grpc-web"
	}
	for _, s := range []string{appProtocol, before} {
		if p := strings.ToUpper(s); slices.Contains(protocols, p) && p != "UDP" {
			return p
		}
	}
	if slices.Contains([]uint32{25, 53, 3306, 27017}, number) {
		return "TCP"
	}
	return "HTTP"
}
