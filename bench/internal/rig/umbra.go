// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
  - match:
    - uri: {prefix: /}
    route:
    - destination: {host: a.bench.example, port: {number: 80}}
%[1]s---
%[2]s`

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
func renderUmbra(a, b netip.AddrPort) string {
	mirror, entries := "", fmt.Sprintf(umbraEntry, "a", a.Addr(), a.Port())
	if b.IsValid() {
		mirror = umbraMirror
		entries += "---\n" + fmt.Sprintf(umbraEntry, "b", b.Addr(), b.Port())
	}
	return fmt.Sprintf(umbraConf, mirror, entries)
}

// findUmbra returns the program and its version.
func findUmbra(path string) (version string, err error) {
	out, err := exec.Command(path, "version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s version: %w: %s; build it with `make build`, or leave it out with -proxies",
			path, err, strings.TrimSpace(string(out)))
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line, nil
}

func (b *Bench) startUmbra(p *proxy, copies netip.AddrPort) (*child, error) {
	conf := filepath.Join(b.dir, fmt.Sprintf("umbra-%d.yaml", p.addr.Port()))
	if err := os.WriteFile(conf, []byte(renderUmbra(b.a.addr, copies)), 0o644); err != nil {
		return nil, err
	}
	// The flags alone decide, not the caller's environment.
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "UMBRA_") })
	args := append([]string{"run", "-f", conf, "--bind", p.addr.Addr().String(), "--port",
		fmt.Sprintf("80=%d", p.addr.Port()), "--admin", p.admin.String(), "--workers", "2"}, b.cfg.UmbraArgs...)
	return start("umbra", env, nil, nil, b.cfg.Umbra, args...)
}
