// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

const (
	switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	switchedTo = "Switching Protocols"
)

// sockets is a rig that relays WebSockets.
func sockets(t *testing.T) *rig {
	return setup{log: true, change: func(c *proxy.ListenerConfig) { c.Upgrades = []string{"websocket"} }}.rig(t)
}

func upgrade(path string, fields ...string) string {
	return get(path, append([]string{"Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Key: k"}, fields...)...)
}

// upgraded is a client that has sent this, and has been told that protocols are switched.
func (r *rig) upgraded(send string) *wire {
	r.t.Helper()
	cl := r.raw()
	cl.send(send)
	if head := cl.head(); status(head) != "101" {
		r.t.Fatalf("%q", head)
	}
	return cl
}

// refused is what a client gets that asks for an upgrade, and the client. Its connection is to end with that one answer,
// whatever it sent.
func (r *rig) refused(send, code string) (all string, cl *wire) {
	r.t.Helper()
	cl = r.raw()
	cl.send(send)
	all, _ = cl.end()
	if status(all) != code || !has(all, "Connection: close") || strings.Count(all, "HTTP/1.1") != 1 {
		r.t.Errorf("want one %s and the end of the connection, got %q", code, all)
	}
	return all, cl
}

// tunnel opens a relayed connection and returns both ends.
func (r *rig) tunnel() (cl, up *wire) {
	r.t.Helper()
	ends := make(chan *wire, 1)
	closed := make(chan bool)
	r.cluster("a", scripted(r.t, func(w *wire, _ int) {
		w.head()
		w.send(switched)
		ends <- &wire{w.TCPConn, w.in, r.t.Fatalf, patience}
		<-closed
	}))
	r.t.Cleanup(func() { close(closed) })
	r.serve(r.to("a"))
	cl = r.upgraded(upgrade("/chat"))
	up = within(r.t, ends)
	up.SetDeadline(time.Now().Add(patience))
	return cl, up
}

func TestUpgradedConnectionsAreJoinedByteForByte(t *testing.T) {
	r := sockets(t)
	heads := make(chan string, 1)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		heads <- w.head()
		w.send(switched + "greeting") // in one write
		w.send(strings.ToUpper(w.take(5)))
		all, reset := w.end() // the client's FIN
		if all != "the last of it" || reset {
			t.Errorf("upstream: reset %v, %q", reset, all)
		}
		w.send("and the answer")
	}))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.send(upgrade("/chat?room=1"))
	down := cl.head()
	for _, line := range []string{"Connection: Upgrade", "Upgrade: WebSocket", "server: istio-envoy",
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="} {
		if status(down) != "101" || !has(down, line) || has(down, "Connection: close") {
			t.Errorf("no %s in %q", line, down)
		}
	}
	up := within(t, heads)
	if !strings.HasPrefix(up, "GET /chat?room=1 HTTP/1.1\r\n") || !has(up, "Connection: Upgrade") ||
		!has(up, "Upgrade: WebSocket") || !has(up, "Sec-WebSocket-Key: k") || strings.Contains(up, "keep-alive") {
		t.Errorf("%q", up)
	}
	cl.until("greeting")
	r.counted(1, "envoy_http_downstream_cx_upgrades_active")
	cl.send("hello")
	cl.until("HELLO")
	cl.send("the last of it")
	cl.CloseWrite()
	if all, reset := cl.end(); all != "and the answer" || reset {
		t.Errorf("client: reset %v, %q", reset, all)
	}
	e := r.logs(101, "-", "via_upstream")
	if e.received != len("hellothe last of it") || e.sent != len("greetingHELLOand the answer") || e.host == "-" {
		t.Errorf("%+v", e)
	}
	r.settledAfter(cl)
	r.counted(0, "envoy_http_downstream_cx_upgrades_active")
	r.counted(1, "envoy_http_downstream_cx_upgrades_total")
	r.counted(0, "envoy_cluster_upstream_cx_active")
}

// Nobody sees what comes behind an upgrade request before the upstream has agreed; then it comes first.
func TestEarlyDataWaitsForTheSwitch(t *testing.T) {
	r := sockets(t)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		w.head()
		w.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if b, err := w.in.ReadByte(); err == nil {
			t.Errorf("%q came before the switch", b)
		}
		w.SetReadDeadline(time.Time{})
		w.send(switched)
		w.send("got " + w.take(len("early late")))
	}))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.send(upgrade("/") + "early ")
	cl.until(switchedTo)
	cl.head()
	cl.send("late")
	cl.until("got early late")
	r.settledAfter(cl)
}

// What was meant for another protocol is never taken for a request, however the upgrade ends.
func TestEarlyDataOfARefusedUpgradeIsNoRequest(t *testing.T) {
	for name, answer := range map[string]string{
		"403": "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
		"200": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
		"426": "HTTP/1.1 426 Upgrade Required\r\nUpgrade: foo\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nno",
	} {
		t.Run(name, func(t *testing.T) {
			r := sockets(t)
			r.cluster("a", answering(t, answer))
			r.serve(r.to("a"))
			all, cl := r.refused(upgrade("/")+get("/smuggled"), name)
			if !strings.HasSuffix(all, "\r\n\r\nno") {
				t.Errorf("%q", all)
			}
			r.logged(1)
			r.counted(1, "envoy_cluster_upstream_rq_total")
			r.counted(0, "envoy_http_downstream_cx_upgrades_total")
			r.settledAfter(cl)
		})
	}
}

func TestWhatIsNoUpgrade(t *testing.T) {
	for name, c := range map[string]struct {
		send, protocol string // asked for upstream; "": none
	}{
		"another protocol":             {get("/", "Connection: upgrade", "Upgrade: foo"), ""},
		"h2c":                          {get("/", "Connection: upgrade, http2-settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"), ""},
		"Upgrade not named":            {get("/", "Upgrade: websocket"), ""},
		"HTTP/1.0":                     {"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", ""},
		"a name that only begins so":   {get("/", "Connection: upgrade", "Upgrade: websocket2, xwebsocket, websocket/13"), ""},
		"one of a list":                {get("/", "Connection: upgrade", "Upgrade: h2c, websocket ,foo"), "websocket"},
		"in the second of two fields":  {get("/", "Connection: upgrade", "Upgrade: h2c", "Upgrade: WEBSOCKET"), "WEBSOCKET"},
		"with an empty body's length":  {get("/", "Connection: upgrade", "Upgrade: websocket", "Content-Length: 0"), "websocket"},
		"Connection in two fields too": {get("/", "Connection: close", "Connection: upgrade", "Upgrade: websocket"), "websocket"},
	} {
		t.Run(name, func(t *testing.T) {
			r := sockets(t)
			up, down := upstreamHead(t, r, c.send, empty200)
			if status(down) != "200" || strings.Contains(strings.ToLower(up), "http2-settings") {
				t.Errorf("%q\n%q", up, down)
			}
			asked := strings.Contains(strings.ToLower(up), "\r\nupgrade:")
			if asked != (c.protocol != "") || asked && (!has(up, "Upgrade: "+c.protocol) || !has(up, "Connection: Upgrade")) {
				t.Errorf("%q", up)
			}
			if n := strings.Count(strings.ToLower(up), "\r\nupgrade:"); n > 1 {
				t.Errorf("%d Upgrade fields", n)
			}
		})
	}
}

func TestUpgradeWithABodyIsRefused(t *testing.T) {
	for _, send := range []string{
		request("GET", "/", "hello", "Connection: upgrade", "Upgrade: websocket"),
		request("POST", "/", "", "Connection: upgrade", "Upgrade: websocket", "Transfer-Encoding: chunked") + "0\r\n\r\n" + get("/smuggled"),
	} {
		r := sockets(t)
		r.cluster("a", answering(t, empty200))
		r.serve(r.to("a"))
		_, cl := r.refused(send, "400")
		r.logs(400, "DPE", "upgrade_with_body")
		if n := r.metric("envoy_cluster_upstream_rq_total"); n != 0 {
			t.Errorf("%v requests upstream", n)
		}
		r.settledAfter(cl)
	}
}

func TestSwitchToWhatWasNotAskedForIs502(t *testing.T) {
	for name, answer := range map[string]string{
		"another protocol": "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n",
		"two protocols":    "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket, foo\r\n\r\n",
		"two fields":       "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: foo\r\n\r\n",
		"none":             "HTTP/1.1 101 x\r\nConnection: upgrade\r\n\r\n",
		"not named":        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n",
		"HTTP/1.0":         "HTTP/1.0 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := sockets(t)
			r.cluster("a", answering(t, answer))
			r.serve(r.to("a"))
			_, cl := r.refused(upgrade("/"), "502")
			r.logs(502, "UPE", "upstream_reset_before_response_started{protocol_error}")
			r.settledAfter(cl)
		})
	}
}

func TestBrokenTunnelIsSeenBrokenAndLogged(t *testing.T) {
	t.Run("by the client", func(t *testing.T) {
		r := sockets(t)
		cl, up := r.tunnel()
		cl.send("part")
		up.until("part")
		cl.reset()
		if all, reset := up.end(); all != "" || !reset {
			t.Errorf("reset %v, %q", reset, all)
		}
		r.logs(101, "DC", "downstream_remote_disconnect")
		r.counted(1, "envoy_http_downstream_rq_rx_reset")
		r.settled()
	})
	t.Run("by the upstream", func(t *testing.T) {
		r := sockets(t)
		cl, up := r.tunnel()
		up.send("part")
		cl.until("part")
		up.reset()
		if all, reset := cl.end(); all != "" || !reset {
			t.Errorf("reset %v, %q", reset, all)
		}
		r.logs(101, "UC", brokenOff)
		r.counted(1, "envoy_cluster_upstream_rq_rx_reset")
		r.settled()
	})
	t.Run("by nobody, for too long", func(t *testing.T) {
		r := setup{log: true, change: func(c *proxy.ListenerConfig) {
			c.Upgrades, c.StreamIdle = []string{"websocket"}, 300*time.Millisecond
		}}.rig(t)
		cl, up := r.tunnel()
		if all, reset := cl.end(); all != "" || !reset {
			t.Errorf("client: reset %v, %q", reset, all)
		}
		if all, reset := up.end(); all != "" || !reset {
			t.Errorf("upstream: reset %v, %q", reset, all)
		}
		r.logs(101, "SI", "stream_idle_timeout")
		r.counted(1, "envoy_http_downstream_rq_idle_timeout")
		r.settled()
	})
}

func TestRouteTimeoutIsForTheAnswerToAnUpgrade(t *testing.T) {
	r := sockets(t)
	silent := make(chan bool)
	defer close(silent)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		if strings.HasPrefix(w.head(), "GET /slow") {
			<-silent
			return
		}
		w.send(switched)
		w.send(w.take(4))
	}))
	a := r.to("a")
	a.Timeout = ample
	r.serve(a)
	cl := r.upgraded(upgrade("/"))
	slow := r.raw()
	slow.send(upgrade("/slow"))
	if all, _ := slow.end(); status(all) != "504" { // and as much time has passed for the other
		t.Errorf("%q", all)
	}
	cl.send("ping")
	cl.until("ping")
	r.settledAfter(cl, slow)
}

func TestUpgradeIsTriedOnAnotherHost(t *testing.T) {
	r := sockets(t)
	r.cluster("a", nobody(t), scripted(t, func(w *wire, _ int) {
		w.head()
		w.send(switched)
		w.send(w.take(4))
	}))
	r.serve(r.to("a"))
	for n := 0; r.metric("envoy_cluster_upstream_rq_retry") == 0; n++ {
		if n == 100 {
			t.Fatal("the host that refuses was never tried")
		}
		cl := r.upgraded(upgrade("/") + "ping")
		cl.until("ping")
		cl.Close()
	}
	r.settled()
}

func TestDrainWaitsForTunnels(t *testing.T) {
	r := sockets(t)
	cl, up := r.tunnel()
	done := r.drained()
	idle := r.raw() // of the listener, whose connections end: that has been seen to
	r.counted(2, "envoy_http_downstream_cx_total")
	idle.Close()
	cl.send("still")
	up.until("still")
	select {
	case <-done:
		t.Error("drained over an open tunnel")
	default:
	}
	cl.CloseWrite()
	up.end()
	up.CloseWrite()
	if all, reset := cl.end(); all != "" || reset {
		t.Errorf("reset %v, %q", reset, all)
	}
	within(t, done)
	r.settledAfter(cl)
}

func TestTunnelThatNobodyReadsIsHeldInBounds(t *testing.T) {
	r := sockets(t)
	cl, up := r.tunnel()
	const size = 16 << 20
	sent := make(chan error, 1)
	go func() {
		_, err := cl.Write(make([]byte, size))
		cl.CloseWrite()
		sent <- err
	}()
	select {
	case err := <-sent:
		t.Fatalf("16 MiB went nowhere: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if all, _ := up.end(); len(all) != size {
		t.Errorf("%d bytes of %d", len(all), size)
	}
	if err := within(t, sent); err != nil {
		t.Error(err)
	}
	up.Close()
	cl.end()
	r.settled()
}

func TestLocalAnswerToAnUpgradeEndsTheConnection(t *testing.T) {
	r := sockets(t)
	r.serve(&proxy.Action{Direct: directOf("here")})
	all, cl := r.refused(upgrade("/")+get("/smuggled"), "200")
	if !strings.HasSuffix(all, "\r\n\r\nhere") {
		t.Errorf("%q", all)
	}
	r.logged(1)
	r.settledAfter(cl)
}

func TestUpgradesAreNotCopiedAndRequestsThatOnlyAskedAre(t *testing.T) {
	r := sockets(t)
	b := newFar(t, healthy)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		for strings.Contains(w.head(), "Upgrade:") {
			w.send(switched)
			w.send(w.take(4))
			w.end()
			return
		}
		w.send(empty200)
		w.end()
	}))
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	cl := r.raw()
	cl.send(upgrade("/") + "ping")
	cl.until("ping")
	cl.Close()
	eventually(t, "counted as skipped", func() bool { return r.mirrors.Stats("test", "b").Counts().Skipped == 1 })
	if n := r.copiesEnded("b"); n.Selected != 0 || n.Eligible != 1 || b.connections() != 0 {
		t.Errorf("%+v", n)
	}
	other := r.raw()
	other.send(get("/", "Connection: upgrade", "Upgrade: h2c"))
	other.answer()
	if n := r.copiesEnded("b"); n.Selected != 1 || n.Delivered != 1 || n.Skipped != 1 {
		t.Errorf("%+v", n)
	}
	r.settledAfter(other)
}
