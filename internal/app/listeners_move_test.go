// SPDX-License-Identifier: Apache-2.0

package app

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"weak"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

// bound writes and loads a layout whose gateways listen at an address of their own.
func (m *rig) bound(l *layout, addr string) {
	m.t.Helper()
	const servers = "servers: [{port:"
	text := m.yaml(l)
	if !strings.Contains(text, servers) {
		m.t.Fatalf("no %q in\n%s", servers, text)
	}
	text = strings.ReplaceAll(text, servers, "servers: [{bind: '"+addr+"', port:")
	if err := os.WriteFile(m.file, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.app.Reload()
	if refused := m.app.refused(); len(refused) > 0 {
		m.t.Fatalf("refused: %v", refused)
	}
}

func TestNoConnectionIsRefusedOrResetWhenAListenerMoves(t *testing.T) {
	m := newRig(t, oneHost(0), nil)
	var over atomic.Bool
	var served atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
			for !over.Load() {
				q, err := http.NewRequest(http.MethodGet, "http://"+address(m.ports[0])+"/", nil)
				if err != nil {
					t.Error(err)
					return
				}
				q.Host = "h0.example"
				resp, err := c.Do(q)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("status %d", resp.StatusCode)
				}
				served.Add(1)
			}
		})
	}
	for i := range 16 {
		before := served.Load()
		m.bound(oneHost(0), []string{"0.0.0.0", "127.0.0.1", "::", "127.0.0.1"}[i%4])
		m.until("requests go on", func() bool { return served.Load() > before+8 || t.Failed() })
		if n := len(m.app.Addrs()); n != 1 {
			t.Errorf("%d listeners, want 1", n)
		}
	}
	over.Store(true)
	clients.Wait()
	if n := m.metric("umbra_listener_accepted_total"); n < float64(served.Load()) {
		t.Errorf("%v connections accepted for %d requests", n, served.Load())
	}
	// Where it was before nobody listens any more.
	m.bound(oneHost(0), "127.0.0.2")
	m.until("the port is free elsewhere", func() bool {
		l, err := net.Listen("tcp4", address(m.ports[0]))
		if err != nil {
			return false
		}
		l.Close()
		return true
	})
}

// setting is a listener that answers 404 to everything.
func (m *rig) setting(prefix string) proxy.ListenerConfig {
	return proxy.ListenerConfig{
		Name: "own", Addr: netip.MustParseAddrPort(address(m.ports[1])), StatPrefix: prefix, Routes: &proxy.RouteSlot{},
	}
}

func (m *rig) set(c proxy.ListenerConfig) {
	m.t.Helper()
	if err := m.app.listeners.Set(c); err != nil {
		m.t.Fatal(err)
	}
}

func TestAnotherStatPrefixDrainsWhatCountedUnderTheFormer(t *testing.T) {
	m := newRig(t, oneHost(0), nil)
	total := func(prefix string) (float64, bool) {
		n, ok := m.series(true)["envoy_http_downstream_cx_total http_conn_manager_prefix="+prefix]
		return n, ok
	}
	m.set(m.setting("first"))
	idle, busy := connect(t, m.ports[1]), connect(t, m.ports[1])
	idle.get("/")
	if resp := idle.answer(); resp.StatusCode != http.StatusNotFound || resp.Close {
		t.Fatalf("%d, close %v", resp.StatusCode, resp.Close)
	}
	busy.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n")
	m.until("both are there", func() bool { n, _ := total("first"); return n == 2 })

	same := m.setting("first")
	same.ServerName = "other"
	m.set(same)
	idle.get("/")
	if resp := idle.answer(); resp.Close || resp.Header.Get("Server") != "other" {
		t.Errorf("other settings under the same name: close %v, server %q", resp.Close, resp.Header.Get("Server"))
	}

	m.set(m.setting("second"))
	if rest, err := idle.over(); rest != "" || err != nil {
		t.Errorf("the idle connection: %q, %v", rest, err)
	}
	late := connect(t, m.ports[1])
	late.get("/")
	if resp := late.answer(); resp.StatusCode != http.StatusNotFound || resp.Close {
		t.Errorf("the new connection: %d, close %v", resp.StatusCode, resp.Close)
	}
	m.until("it counts under the new name", func() bool { n, _ := total("second"); return n == 1 })
	if n, ok := total("first"); !ok || n != 2 {
		t.Errorf("%v connections under the former name while one is left, %v", n, ok)
	}
	busy.send("\r\nab")
	if resp := busy.answer(); resp.StatusCode != http.StatusNotFound || !resp.Close {
		t.Errorf("the request under way: %d, close %v", resp.StatusCode, resp.Close)
	}
	busy.Close()
	m.until("the former name's series end", func() bool { _, ok := total("first"); return !ok })
	late.get("/")
	if resp := late.answer(); resp.Close {
		t.Error("the new connection drains")
	}
	m.app.listeners.mu.Lock()
	sockets := &m.app.listeners.open["own"].sockets
	m.app.listeners.mu.Unlock()
	m.until("one socket is left", func() bool { return sockets.Load() == 1 })
}

// Nothing that a configuration names outlasts it: the slot of a cluster goes with the routes and mirrors that had it.
func TestTheSlotOfAClusterGoesWithTheConfiguration(t *testing.T) {
	two := oneHost(0)
	two.services[1] = service{used: true, hosts: 1}
	two.hosts[0].mirrors = 1 << 1
	m := newRig(t, two, nil)
	gone := func(service string) func() bool {
		for _, c := range m.app.clusters.Clusters() {
			if strings.Contains(c.Name, service) {
				p := weak.Make(m.app.clusters.Slot(c.Name))
				return func() bool { runtime.GC(); return p.Value() == nil }
			}
		}
		t.Fatalf("no cluster of %s", service)
		return nil
	}
	mirrored, routed := gone("s1.example"), gone("s0.example")
	c := connect(t, m.ports[0])
	c.get("/")
	c.answer()
	m.reload(oneHost(0))
	m.until("the mirror's slot is collected", mirrored)
	if routed() {
		t.Error("the slot in force is gone")
	}
	other := oneHost(0)
	other.hosts[0].service, other.services[0].used, other.services[1] = 1, false, service{used: true, hosts: 1}
	m.reload(other)
	m.until("the route's slot is collected", routed)
	m.reload(two) // names that are back
	c.get("/")
	if resp := c.answer(); resp.StatusCode != http.StatusOK {
		t.Errorf("the name that is back: %d", resp.StatusCode)
	}
}
