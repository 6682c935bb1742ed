// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/admin"
	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// serviceYAML is a host of which a test gives the far ends.
func serviceYAML(name string, addrs ...string) string {
	return meshtest.External(name+".test", addrs...)
}

// routeYAML sends everything to a service; mirrors is what stands beside the route, in flow style.
func routeYAML(to, mirrors string) string {
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: ["*"]
  gateways: [gateway]
  http:
  - route: [{destination: {host: %s.test}}]
%s`, to, mirrors)
}

func mirrorYAML(to string) string { return fmt.Sprintf("    mirror: {host: %s.test}\n", to) }

// mirrored is all of a mesh that mirrors everything from one far end to another, services a and b.
func mirrored(a, b string) string {
	return meshtest.Gateway + serviceYAML("a", a) + serviceYAML("b", b) + routeYAML("a", mirrorYAML("b"))
}

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

// mesh is the whole of Umbra in this process, and production's clients.
type mesh struct {
	*meshtest.Umbra
	t    *testing.T
	base *http.Client // of production's clients

	slowest atomic.Int64 // of production's answers, in ns
}

func newMesh(t *testing.T, text string, limits mirror.Limits, change ...func(*app.Options)) *mesh {
	t.Helper()
	return newMeshAt(t, meshtest.FreePort(t), text, limits, change...)
}

// newMeshAt serves the Gateway's port at port.
func newMeshAt(t *testing.T, port uint16, text string, limits mirror.Limits, change ...func(*app.Options)) *mesh {
	t.Helper()
	opts := meshtest.Options(t, text, port)
	opts.Mirror = limits
	if limits.ConnectTime == 0 { // where the machine is slow it is no mirror's fault
		opts.Mirror.ConnectTime = meshtest.Patience
	}
	for _, f := range change {
		f(&opts)
	}
	m := &mesh{
		Umbra: meshtest.Run(t, opts), t: t,
		base: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: meshtest.Patience},
	}
	t.Cleanup(m.base.CloseIdleConnections)
	return m
}

// mirrors is one snapshot of /mirrors, by the cluster that gets the copies; the identity must hold in it.
func (m *mesh) mirrors() map[string]admin.Mirror {
	m.t.Helper()
	list, err := m.Mirrors()
	if err != nil {
		m.t.Error(err)
	}
	by := map[string]admin.Mirror{}
	for _, one := range list {
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
	meshtest.Until(m.t, "all copies have ended", func() bool {
		now = m.mirror(service)
		return now.InFlight == 0
	})
	return now
}

// recovery is how soon a mirror that is well again gets copies, where the machine is not at its limits.
const recovery = 5 * time.Second

// recovers waits for a copy that is delivered to a mirror that is well again.
func (m *mesh) recovers(service string) {
	m.t.Helper()
	healed := time.Now()
	for was := m.mirror(service).Delivered; m.mirror(service).Delivered == was; {
		starving := time.Duration(m.slowest.Load()) > starved
		if took := time.Since(healed); took > meshtest.Patience || took > recovery && !starving {
			m.t.Fatalf("no copy was delivered within %v of the mirror's return: %+v", took, m.mirror(service))
		}
		m.must(nil, false)
	}
}

// metric sums the series of a name; label, if not empty, is a text that they must have.
func (m *mesh) metric(name, label string) float64 {
	m.t.Helper()
	sum, err := m.Metric(name, label)
	if err != nil {
		m.t.Fatal(err)
	}
	return sum
}

// watch looks at /mirrors over and over until the returned function is called.
func (m *mesh) watch() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond) // each look is a connection and a page
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
