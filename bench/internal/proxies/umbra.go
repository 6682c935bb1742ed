// SPDX-License-Identifier: Apache-2.0

package proxies

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/bench/internal/process"
)

// Routing is how much configuration an Umbra carries.
type Routing uint8

// The amounts: what is needed; with 1,000 prefix routes on one host, of which the last one matches; with 10,000 hosts of 10
// routes each.
const (
	Plain Routing = iota
	Routes
	Hosts
)

const umbraConf = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: bench, namespace: default}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bench, namespace: default}
spec:
  hosts: ["*"]
  gateways: [bench]
  http:
%[3]s  - match:
    - uri: {prefix: /}
    route:
    - destination: {host: a.bench.example, port: {number: 80}}
%[1]s---
%[2]s`

// umbraRoute is a rule that no request of the bench matches.
const umbraRoute = `  - match:
    - uri: {prefix: /api/v1/item-%d/}
    route:
    - destination: {host: a.bench.example, port: {number: 80}}
`

const umbraHost = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: host-%[1]d, namespace: default}
spec:
  hosts: [%[2]s]
  gateways: [bench]
  http:
%[3]s  - route:
    - destination: {host: a.bench.example, port: {number: 80}}
%[4]s`

const umbraMirror = `    mirror: {host: b.bench.example, port: {number: 80}}
`

const umbraEntry = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %[1]s, namespace: default}
spec:
  hosts: [%[1]s.bench.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports:
  - {number: 80, name: http, protocol: HTTP}
  endpoints:
  - address: %[2]s
    ports: {http: %[3]d}
`

// renderUmbra returns the resources; b is not valid for a plain proxy.
func renderUmbra(r Routing, a, b netip.AddrPort) string {
	mirror, entries := "", fmt.Sprintf(umbraEntry, "a", a.Addr(), a.Port())
	if b.IsValid() {
		mirror = umbraMirror
		entries += "---\n" + fmt.Sprintf(umbraEntry, "b", b.Addr(), b.Port())
	}
	switch r {
	case Routes:
		return fmt.Sprintf(umbraConf, mirror, entries, umbraRules(999))
	case Hosts:
		var hosts strings.Builder
		rules := umbraRules(9)
		for i := range 9999 {
			fmt.Fprintf(&hosts, umbraHost, i, fmt.Sprintf("host-%d.example", i), rules, mirror)
		}
		fmt.Fprintf(&hosts, umbraHost, 9999, "bench.example", rules, mirror)
		return fmt.Sprintf(umbraConf, mirror, entries, "") + hosts.String()
	}
	return fmt.Sprintf(umbraConf, mirror, entries, "")
}

func umbraRules(n int) string {
	var rules strings.Builder
	for i := range n {
		fmt.Fprintf(&rules, umbraRoute, i)
	}
	return rules.String()
}

// FindUmbra returns the version of the program.
func FindUmbra(path string) (version string, err error) {
	out, err := exec.Command(path, "version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s version: %w: %s; build it with `make build`, or leave it out with -proxies",
			path, err, strings.TrimSpace(string(out)))
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line, nil
}

// StartUmbra starts `umbra run` with two workers. args are more of its flags.
func StartUmbra(program string, s Setup, r Routing, args ...string) (*process.Child, error) {
	conf := filepath.Join(s.Dir, fmt.Sprintf("umbra-%d.yaml", s.Listen.Port()))
	if err := os.WriteFile(conf, []byte(renderUmbra(r, s.Upstream, s.Copies)), 0o644); err != nil {
		return nil, err
	}
	// The flags alone decide, not the caller's environment.
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "UMBRA_") })
	args = append([]string{"run", "-f", conf, "--bind", s.Listen.Addr().String(), "--port",
		fmt.Sprintf("80=%d", s.Listen.Port()), "--admin", s.Admin.String(), "--workers", "2"}, args...)
	return process.Start("umbra", env, program, args...)
}
