// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 30 * time.Second

// What a layout may have at most.
const (
	maxPorts    = 3
	maxHosts    = 6
	maxServices = 6
	maxMembers  = 2 // of a service
)

// layout is a configuration: which of the ports are served, which hosts there are, where they lead and are mirrored to.
type layout struct {
	ports    [maxPorts]bool
	hosts    [maxHosts]host
	services [maxServices]service
}

// host is h<i>.example, served at all ports.
type host struct {
	there   bool
	service int
	mirrors uint // bits: services
}

// service is s<i>.example.
type service struct {
	used  bool
	hosts uint // bits: members
	dead  bool // nobody is there: mirrors only
}

// rig is an App with its far ends: a number of HTTP servers for each service, which answer with its name and the body
// they got; what asks for /hold waits for release.
type rig struct {
	t       *testing.T
	app     *App
	file    string
	ports   [maxPorts]int
	members [maxServices][maxMembers]int // ports
	dead    int                          // a port where nobody is
	waiting chan struct{}
	release func()
}

func newRig(t *testing.T, l *layout, change func(*Options)) *rig {
	t.Helper()
	m := &rig{t: t, file: filepath.Join(t.TempDir(), "mesh.yaml"), waiting: make(chan struct{}, 64)}
	open := make(chan struct{})
	m.release = sync.OnceFunc(func() { close(open) })
	for i := range m.members {
		for k := range m.members[i] {
			s := httptest.NewServer(m.serves(fmt.Sprint("s", i), open))
			t.Cleanup(func() { m.release(); s.Close() })
			m.members[i][k] = s.Listener.Addr().(*net.TCPAddr).Port
		}
	}
	m.dead = freePort(t)
	for i := range m.ports {
		m.ports[i] = freePort(t)
	}
	m.write(l)
	opts := Options{
		Input: Input{Paths: []string{m.file}, Namespace: "default", Bind: "127.0.0.1"}, Workers: 2,
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&opts)
	}
	a, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	m.app = a
	return m
}

func (m *rig) serves(name string, open <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hold":
			m.waiting <- struct{}{}
			<-open
		case "/tunnel":
			c, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
			io.Copy(c, rw)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("X-Served-By", name)
		w.Write(body)
	}
}

// held waits for so many requests for /hold.
func (m *rig) held(n int) {
	m.t.Helper()
	for range n {
		select {
		case <-m.waiting:
		case <-time.After(patience):
			m.t.Fatal("no request came")
		}
	}
}

// reload puts another layout in force.
func (m *rig) reload(l *layout) {
	m.t.Helper()
	m.write(l)
	m.app.Reload()
	if refused := m.app.refused(); len(refused) > 0 {
		m.t.Fatalf("refused: %v", refused)
	}
}

func (m *rig) write(l *layout) {
	m.t.Helper()
	next := m.file + ".next"
	if err := os.WriteFile(next, []byte(m.yaml(l)), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(next, m.file); err != nil {
		m.t.Fatal(err)
	}
}

func (m *rig) yaml(l *layout) string {
	var b strings.Builder
	resource := func(kind, name string) {
		fmt.Fprintf(&b, "---\napiVersion: networking.istio.io/v1\nkind: %s\nmetadata: {name: %s}\nspec:\n", kind, name)
	}
	var gateways []string
	for i, there := range l.ports {
		if there {
			name := fmt.Sprint("gw", i)
			gateways = append(gateways, name)
			resource("Gateway", name)
			fmt.Fprintf(&b, "  servers: [{port: {number: %d, name: http, protocol: HTTP}, hosts: ['*']}]\n", m.ports[i])
		}
	}
	for i, s := range l.services {
		if !s.used {
			continue
		}
		resource("ServiceEntry", fmt.Sprint("s", i))
		fmt.Fprintf(&b, "  hosts: [s%d.example]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n"+
			"  resolution: STATIC\n  endpoints:\n", i)
		for k, port := range m.members[i] {
			if s.dead {
				port = m.dead
			}
			if s.hosts&(1<<k) != 0 {
				fmt.Fprintf(&b, "  - {address: 127.0.0.1, ports: {http: %d}}\n", port)
			}
			if s.dead {
				break
			}
		}
	}
	for i, h := range l.hosts {
		if !h.there || len(gateways) == 0 {
			continue
		}
		resource("VirtualService", fmt.Sprint("h", i))
		fmt.Fprintf(&b, "  hosts: [h%d.example]\n  gateways: [%s]\n  http:\n  - name: r\n"+
			"    match: [{uri: {prefix: /}, statPrefix: p%d}]\n    route: [{destination: {host: s%d.example}}]\n",
			i, strings.Join(gateways, ", "), i, h.service)
		for k := range maxServices {
			if h.mirrors&(1<<k) != 0 {
				if h.mirrors&(1<<k-1) == 0 {
					b.WriteString("    mirrors:\n")
				}
				fmt.Fprintf(&b, "    - {destination: {host: s%d.example}, percentage: {value: 100}}\n", k)
			}
		}
	}
	return b.String()
}

// series are what is counted, by name with labels; unless all, without those that stay a while after what they count,
// and those that come with what is answered.
func (m *rig) series(all bool) map[string]float64 {
	m.t.Helper()
	families, err := m.app.metrics.Gather()
	if err != nil {
		m.t.Fatal(err)
	}
	series := map[string]float64{}
	for _, f := range families {
		for _, s := range f.Metric {
			name := f.GetName()
			for _, l := range s.Label {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			if all || !strings.Contains(name, " mirror=") && !strings.Contains(name, " response_code") {
				series[name] = s.GetGauge().GetValue() + s.GetCounter().GetValue()
			}
		}
	}
	return series
}

// metric is one without labels.
func (m *rig) metric(name string) float64 {
	m.t.Helper()
	v, ok := m.series(true)[name]
	if !ok {
		m.t.Fatalf("no %s", name)
	}
	return v
}

// until polls what is on its way.
func (m *rig) until(what string, holds func() bool) {
	m.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			m.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// freePort is one below those that the system gives to outgoing connections.
func freePort(t *testing.T) int {
	t.Helper()
	for range 200 {
		n := 10_000 + rand.IntN(20_000)
		if l, err := net.Listen("tcp", address(n)); err == nil {
			l.Close()
			return n
		}
	}
	t.Fatal("no free port")
	return 0
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// record is a log that a test reads.
type record struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

// missing are the keys of a that b has not.
func missing(a, b map[string]float64) (names []string) {
	for name := range a {
		if _, ok := b[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
