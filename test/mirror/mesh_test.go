// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/admin"
	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

// The texts of a mesh: a Gateway, services with one endpoint each, and what a test writes besides.
const gatewayYAML = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
`

func serviceYAML(name string, addrs ...string) string {
	var endpoints []string
	for _, addr := range addrs {
		host, port, _ := net.SplitHostPort(addr)
		endpoints = append(endpoints, fmt.Sprintf("{address: %s, ports: {http: %s}}", host, port))
	}
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %[1]s}
spec:
  hosts: [%[1]s.test]
  location: MESH_EXTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [%[2]s]
`, name, strings.Join(endpoints, ", "))
}

// routeYAML sends everything to a service; mirrors is what stands beside the route, in flow style.
func routeYAML(to, mirrors string) string {
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: ["*"]
  gateways: [gw]
  http:
  - route: [{destination: {host: %s.test}}]
%s`, to, mirrors)
}

func mirrorYAML(to string) string { return fmt.Sprintf("    mirror: {host: %s.test}\n", to) }

// policyYAML is a service's DestinationRule, in flow style.
func policyYAML(service, policy string) string {
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %[1]s}
spec:
  host: %[1]s.test
  trafficPolicy: {%[2]s}
`, service, policy)
}

// mesh is the whole of Umbra in this process, by a folder of YAML.
type mesh struct {
	t     *testing.T
	app   *app.App
	addr  string
	file  string
	admin *http.Client
	base  *http.Client // of production's clients

	slowest atomic.Int64 // of production's answers, in ns
}

func newMesh(t *testing.T, text string, limits mirror.Limits, change ...func(*app.Options)) *mesh {
	t.Helper()
	return newMeshAt(t, freePort(t), text, limits, change...)
}

// newMeshAt serves the Gateway's port at port.
func newMeshAt(t *testing.T, port uint16, text string, limits mirror.Limits, change ...func(*app.Options)) *mesh {
	t.Helper()
	m := &mesh{
		t: t, addr: fmt.Sprintf("127.0.0.1:%d", port), file: filepath.Join(t.TempDir(), "mesh.yaml"),
		admin: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: faultPatience},
		base:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: faultPatience},
	}
	m.write(text)
	opts := options(m.file, port)
	opts.Mirror = limits
	for _, f := range change {
		f(&opts)
	}
	a, err := app.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	m.app = a
	t.Cleanup(func() { m.base.CloseIdleConnections(); a.Close() })
	return m
}

func options(file string, port uint16) app.Options {
	return app.Options{
		Input: app.Input{
			Paths: []string{file}, Namespace: "default", Bind: "127.0.0.1", Ports: map[uint32]uint32{80: uint32(port)},
		},
		Admin: "127.0.0.1:0", Workers: 2, Logger: slog.New(slog.DiscardHandler),
	}
}

func (m *mesh) write(text string) {
	m.t.Helper()
	if err := os.WriteFile(m.file, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// reload puts another configuration in force.
func (m *mesh) reload(text string) { m.t.Helper(); m.write(text); m.app.Reload() }

// freePort is one below those that the system gives to outgoing connections.
func freePort(t *testing.T) uint16 {
	t.Helper()
	for range 200 {
		n := uint16(10000 + rand.IntN(20000))
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", n)); err == nil {
			l.Close()
			return n
		}
	}
	t.Fatal("no free port")
	return 0
}

// page reads an admin page. It may be used beside the test's goroutine.
func (m *mesh) page(method, path string) ([]byte, error) {
	q, err := http.NewRequest(method, "http://"+m.app.Admin()+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := m.admin.Do(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return body, err
}

// mirrors is one snapshot of /mirrors, by the cluster that gets the copies; the identity must hold in it.
func (m *mesh) mirrors() map[string]admin.Mirror {
	m.t.Helper()
	raw, err := m.page("GET", "/mirrors")
	var list []admin.Mirror
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		m.t.Error(err)
		return nil
	}
	by := map[string]admin.Mirror{}
	for _, one := range list {
		if sum := one.Delivered + one.InFlight + dropped(one); sum != one.Selected || one.InFlight < 0 {
			m.t.Errorf("selected %d, but %d delivered, dropped or live: %+v", one.Selected, sum, one)
		}
		by[one.To] = one
	}
	return by
}

func cluster(service string) string { return "outbound|80||" + service + ".test" }

// mirror is what is counted for the copies to a service.
func (m *mesh) mirror(service string) admin.Mirror {
	m.t.Helper()
	return m.mirrors()[cluster(service)]
}

func dropped(one admin.Mirror) (n int64) {
	for _, k := range one.Dropped {
		n += k
	}
	return n
}

// since is what was counted between two snapshots.
func since(was, now admin.Mirror) admin.Mirror {
	d := admin.Mirror{
		Selected: now.Selected - was.Selected, Delivered: now.Delivered - was.Delivered, InFlight: now.InFlight,
		Dropped: map[string]int64{},
	}
	for cause, n := range now.Dropped {
		if n -= was.Dropped[cause]; n != 0 {
			d.Dropped[cause] = n
		}
	}
	return d
}

// ended waits until no copy to the service is live.
func (m *mesh) ended(service string) (now admin.Mirror) {
	m.t.Helper()
	eventually(m.t, faultPatience, "all copies have ended", func() bool {
		now = m.mirror(service)
		return now.InFlight == 0
	})
	return now
}

// recovers waits for a copy that is delivered to a mirror that is well again.
func (m *mesh) recovers(service string) {
	m.t.Helper()
	healed := time.Now()
	for was := m.mirror(service).Delivered; m.mirror(service).Delivered == was; {
		if time.Since(healed) > 5*time.Second {
			m.t.Fatalf("no copy was delivered within 5 s of the mirror's return: %+v", m.mirror(service))
		}
		m.must(nil, false)
	}
}

// metric sums the series of a name; label, if not empty, is a text that they must have.
func (m *mesh) metric(name, label string) (sum float64) {
	m.t.Helper()
	raw, err := m.page("GET", "/stats/prometheus")
	if err != nil {
		m.t.Fatal(err)
	}
	series := regexp.MustCompile(`(?m)^` + name + `(?:\{(.*)\})? (.*)$`)
	for _, s := range series.FindAllSubmatch(raw, -1) {
		if !bytes.Contains(s[1], []byte(label)) {
			continue
		}
		n, err := strconv.ParseFloat(string(s[2]), 64)
		if err != nil {
			m.t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// watch looks at /mirrors over and over until the returned function is called.
func (m *mesh) watch() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()
		for {
			m.mirrors()
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return func() { close(done); wg.Wait() }
}
