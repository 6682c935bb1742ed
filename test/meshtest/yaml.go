// SPDX-License-Identifier: Apache-2.0

package meshtest

import (
	"fmt"
	"net"
	"strings"
)

// Gateway is the least of one, named gateway, on port 80 for all hosts.
const Gateway = `
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gateway}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
`

// External is a ServiceEntry: a host outside the mesh whose port 80 is at these addresses, host:port each.
func External(host string, addrs ...string) string {
	var endpoints []string
	for _, addr := range addrs {
		at, port, _ := net.SplitHostPort(addr) // what is no address shows when Umbra reads it
		endpoints = append(endpoints, fmt.Sprintf("{address: %s, ports: {http: %s}}", at, port))
	}
	return fmt.Sprintf(`
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %[1]s}
spec: {hosts: [%[1]s], location: MESH_EXTERNAL, resolution: STATIC,
  ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [%[2]s]}
`, host, strings.Join(endpoints, ", "))
}
