// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"fmt"

	"github.com/umbra-mesh/umbra/test/meshtest"
)

// service has port 8000 and a subset for each pair of a version and its workload's loopback port.
func service(name string, pairs ...any) string {
	text := fmt.Sprintf(`
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {selector: {app: %[1]s}, ports: [{name: http, port: 8000}]}
`, name)
	subsets := ""
	for i := 0; i < len(pairs); i += 2 {
		text += fmt.Sprintf(`
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: %[1]s-%[2]s}
spec: {address: 127.0.0.1, ports: {http: %[3]d}, labels: {app: %[1]s, version: %[2]s}}
`, name, pairs[i], pairs[i+1])
		subsets += fmt.Sprintf("{name: %[1]s, labels: {version: %[1]s}}, ", pairs[i])
	}
	return text + fmt.Sprintf(`
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %[1]s}
spec: {host: %[1]s, subsets: [%[2]s]}
`, name, subsets)
}

// shop is a Gateway that sends everything to one workload.
func shop(w *workload) string {
	return meshtest.Gateway + service("shop", "v1", w.port) + routes("r", "/", "shop", "v1")
}

// routes is a VirtualService that sends everything on a prefix to a subset of a service.
func routes(name, prefix, service, subset string) string {
	return fmt.Sprintf(`
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s}
spec:
  hosts: ["*"]
  gateways: [gateway]
  http:
  - match: [{uri: {prefix: %s}}]
    route: [{destination: {host: %s, subset: %s}}]
`, name, prefix, service, subset)
}
