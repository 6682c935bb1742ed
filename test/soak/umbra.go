// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/umbra-mesh/umbra/internal/admin"
)

const config = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: ["*"]
  gateways: [gw]
  http:
  - route: [{destination: {host: production.test}}]
    mirror: {host: mirror.test}
`

const service = `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %[1]s}
spec:
  hosts: [%[1]s.test]
  location: MESH_EXTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: %[2]s}}]
`

// umbra is the process under test.
type umbra struct {
	*process
	addr, admin string
}

// startUmbra serves production's and the mirror's addresses.
func startUmbra(binary, dir, production, mirror string) (*umbra, error) {
	text := config
	for name, addr := range map[string]string{"production": production, "mirror": mirror} {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		text += fmt.Sprintf(service, name, port)
	}
	file := filepath.Join(dir, "mesh.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p, err := start("umbra", binary, "run", "-f", file, "--bind", "127.0.0.1", "--admin", "127.0.0.1:0",
		"--port", fmt.Sprintf("80=%d", port), "--mirror-timeout", "3s") // less than a turn
	if err != nil {
		return nil, err
	}
	u := &umbra{process: p, addr: fmt.Sprintf("127.0.0.1:%d", port)}
	for u.admin == "" {
		text, err := p.line()
		if err != nil {
			return u, err
		}
		if at, ok := strings.CutPrefix(text, "admin pages on http://"); ok {
			u.admin = at
		}
	}
	go func() { // what else it says is not of interest, but must be read
		for p.out.Scan() {
		}
	}()
	return u, nil
}

// freePort is one below those that the system gives to outgoing connections.
func freePort() (int, error) {
	var err error
	for range 200 {
		n := 10000 + rand.IntN(20000)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", n)); err == nil {
			return n, l.Close()
		}
	}
	return 0, err
}

func (u *umbra) page(path string) ([]byte, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + u.admin + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// freed reports whether copies hold no memory.
func (u *umbra) freed() (bool, error) {
	raw, err := u.page("/stats/prometheus")
	return bytes.Contains(raw, []byte("\numbra_mirror_memory_bytes 0\n")), err
}

// mirror is one snapshot of /mirrors. The identity must hold in it.
func (u *umbra) mirror() (m admin.Mirror, err error) {
	raw, err := u.page("/mirrors")
	if err != nil {
		return m, err
	}
	var list []admin.Mirror
	if err := json.Unmarshal(raw, &list); err != nil || len(list) != 1 {
		return m, fmt.Errorf("/mirrors says %s: %w", raw, err)
	}
	m = list[0]
	if sum := m.Delivered + m.InFlight + dropped(m); sum != m.Selected {
		return m, &violation{fmt.Sprintf("selected %d, but %d are delivered, dropped or live", m.Selected, sum)}
	}
	return m, nil
}

func dropped(m admin.Mirror) (n int64) {
	for _, k := range m.Dropped {
		n += k
	}
	return n
}

// violation is a broken promise.
type violation struct{ text string }

func (v *violation) Error() string { return v.text }
