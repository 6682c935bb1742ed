// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/test/faulty"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// One ill mirror of several takes nothing from the others.
func TestOneIllMirrorOfSeveral(t *testing.T) {
	production := newProduction(t)
	b, _ := newFaulty(t)
	c, seenC := newFaulty(t)
	d, seenD := newFaulty(t)
	text := meshtest.Gateway + serviceYAML("a", production.addr()) + routeYAML("a",
		"    mirrors: [{destination: {host: b.test}}, {destination: {host: c.test}}, {destination: {host: d.test}}]\n")
	for name, far := range map[string]*faulty.Server{"b": b, "c": c, "d": d} {
		text += serviceYAML(name, far.Addr())
	}
	limits := mirror.Limits{Timeout: 2 * faultTimeout, ConnectTime: time.Second}
	i := &illness{production: production, mesh: newMesh(t, text, limits), mirrorB: b}
	for _, f := range faulty.Faults(production.addr()) {
		switch f.Name {
		case "never reads", "answers no SYN", "resets after the head", "never ends its head":
		default:
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			i.t, i.mesh.t = t, t
			was := i.mirrors()
			if err := b.Suffer(&f); err != nil {
				t.Fatal(err)
			}
			stop := i.watch()
			i.slowest.Store(0)
			sent, lost := i.traffic(1), int64(0)
			for _, name := range []string{"c", "d"} {
				got := since(was[cluster(name)], i.ended(name))
				late := int64(0)
				for _, cause := range excused(time.Duration(i.slowest.Load())) {
					late += got.Dropped[cause]
				}
				if got.Delivered+late != int64(len(sent)) {
					t.Errorf("a mirror that is well beside it: %+v for %d requests", got, len(sent))
				}
				lost += late
			}
			got := since(was[cluster("b")], i.ended("b"))
			stop()
			if !f.Delivered && got.Delivered != 0 || got.Selected != int64(len(sent)) {
				t.Errorf("the ill one: %+v for %d requests", got, len(sent))
			}
			if err := b.Heal(); err != nil {
				t.Fatal(err)
			}
			i.recovers("b")
			for id, s := range sent {
				copies := seenC.of(id).whole(s.body) && seenD.of(id).whole(s.body)
				if lost == 0 && !copies || production.times(id) != 1 {
					t.Errorf("request %s: %d in c, %d in d, %d in production", id,
						seenC.of(id).times, seenD.of(id).times, production.times(id))
				}
			}
		})
	}
}

// Copies to the host that production goes to have connections and places of their own.
func TestProductionAndMirrorOfOneHostShareNothing(t *testing.T) {
	far, _ := newFaulty(t)
	var hung atomic.Int64
	far.Serve(func(c *faulty.Conn) {
		for {
			q, body, err := c.Request()
			if err != nil {
				return
			}
			if strings.Contains(q.Host, "-shadow") {
				hung.Add(1)
				c.Hang()
				return
			}
			if c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Served: production\r\nContent-Length: %d\r\n\r\n%s", len(body), body)) != nil {
				return
			}
		}
	})
	m := newMesh(t, meshtest.Gateway+serviceYAML("a", far.Addr())+routeYAML("a", mirrorYAML("a"))+policyYAML("a",
		"connectionPool: {tcp: {maxConnections: 3}, http: {http1MaxPendingRequests: 1, http2MaxRequests: 3}}",
	), mirror.Limits{Timeout: faultTimeout / 2})
	const n = 20
	for round := range int64(3) { // what was taken is given back
		was, began := m.mirror("a"), time.Now()
		for i := range n {
			m.must([]byte("data"), i%2 == 0)
		}
		if time.Since(began) > faultTimeout/4 {
			t.Logf("production took %s: copies may have ended meanwhile", time.Since(began))
			m.ended("a")
			continue
		}
		if m.mirror("a").InFlight == 0 {
			t.Error("no copy hangs: the test shows nothing")
		}
		got := since(was, m.ended("a"))
		if got.Selected != n || got.Dropped["timeout"] != 4 || got.Dropped["overflow"] != n-4 { // three places, one in line
			t.Errorf("%+v", got)
		}
		if k := hung.Load(); k < 3*(round+1) { // and the one in line may get a place at the last moment
			t.Errorf("%d copies came to the mirror in %d rounds", k, round+1)
		}
	}
}

func TestConnectAndUpgradesAreNeverCopied(t *testing.T) {
	production := newProduction(t)
	b, _ := newFaulty(t)
	m := newMesh(t, mirrored(production.addr(), b.Addr()), mirror.Limits{})
	send := func(head string) {
		t.Helper()
		c := m.dial()
		fmt.Fprintf(c, "%s\r\nHost: shop.example\r\n%s\r\n", head[:strings.Index(head, "\n")], head[strings.Index(head, "\n")+1:])
		if n, err := c.Read(make([]byte, 100)); n == 0 {
			t.Errorf("%q: no answer: %v", head, err)
		}
		c.(*net.TCPConn).Close()
	}
	send("CONNECT shop.example:443 HTTP/1.1\n")
	send("GET / HTTP/1.1\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n" +
		"Sec-WebSocket-Version: 13\r\n")
	meshtest.Until(t, "the upgrade is counted as skipped", func() bool {
		return m.metric("umbra_mirror_skipped_total", `reason="upgrade"`) == 1
	})
	m.must(nil, false)
	if got := m.ended("b"); got.Selected != 1 || got.Delivered != 1 {
		t.Errorf("%+v", got)
	}
	if _, accepted := b.Connections(); accepted != 1 {
		t.Errorf("the mirror saw %d connections", accepted)
	}
}
