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

// rig is an App with its far ends: a number of HTTP servers for each service, which answer with its name, their own and
// the body they got; what asks for /hold waits for release, and what asks for /ill is answered 500.
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
			s := httptest.NewServer(m.serves(i, k, open))
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

func (m *rig) serves(service, member int, open <-chan struct{}) http.HandlerFunc {
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
			fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"+
				"X-Service: %d\r\nX-Member: %d\r\n\r\n", service, member)
			io.Copy(c, rw)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("X-Service", strconv.Itoa(service))
		w.Header().Set("X-Member", strconv.Itoa(member))
		if r.URL.Path == "/ill" {
			w.WriteHeader(http.StatusInternalServerError)
		}
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
