// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

// upstreamHead sends one request and returns the head that the upstream got, and the one that the client got.
func upstreamHead(t *testing.T, r *rig, send, answer string) (up, down string) {
	t.Helper()
	got := make(chan string, 1)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		got <- w.head()
		w.send(answer)
		w.end()
	}))
	r.serve(r.to("a"))
	cl := r.raw()
	cl.send(send)
	down, _ = cl.answer()
	cl.Close()
	return <-got, down
}

const empty200 = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

func TestHopByHopFieldsStay(t *testing.T) {
	hop := []string{"Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: gzip", "X-Hop: 1", "Upgrade: websocket"}
	r := newRig(t, mirror.Limits{})
	up, down := upstreamHead(t, r,
		get("/", append(hop, "Connection: keep-alive, X-Hop, Upgrade", "X-Stays: 1", "HTTP2-Settings: AAMAAABkAAQ")...),
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Secret\r\nX-Secret: 1\r\nX-Stays: 1\r\nKeep-Alive: timeout=9\r\n"+
			"Upgrade: h2c\r\nProxy-Connection: x\r\n\r\n")
	for _, h := range []string{up, down} {
		if !has(h, "X-Stays: 1") {
			t.Errorf("an ordinary field is gone:\n%s", h)
		}
		for _, name := range []string{"keep-alive:", "proxy-connection:", "te:", "x-hop:", "x-secret:", "upgrade:",
			"http2-settings:", "connection:"} {
			if strings.Contains(strings.ToLower(h), "\n"+name) {
				t.Errorf("%s travelled on:\n%s", name, h)
			}
		}
	}
}

func TestConnectionCannotStripWhatProxiesAdd(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	up, _ := upstreamHead(t, r, get("/", "Connection: X-Forwarded-For, X-Request-Id, Host, x-envoy-external-address"), empty200)
	for _, name := range []string{"x-forwarded-for:", "x-request-id:", "host:", "x-envoy-external-address:"} {
		if !strings.Contains(strings.ToLower(up), "\n"+name) {
			t.Errorf("%s was stripped:\n%s", name, up)
		}
	}
}

func TestUpgradeIsRemovedAndTheRequestGoesOn(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	up, down := upstreamHead(t, r, request("GET", "/chat", "hello", "Connection: Upgrade", "Upgrade: websocket"), empty200)
	if !strings.HasPrefix(up, "GET /chat HTTP/1.1\r\n") || status(down) != "200" {
		t.Errorf("%q\n%q", up, down)
	}
}

func TestUnaskedSwitchOfProtocolsIs502(t *testing.T) {
	r := setup{log: true}.rig(t)
	r.cluster("a", answering(t, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"))
	r.serve(r.to("a"))
	if code, _ := r.get("/"); code != 502 {
		t.Errorf("got %d", code)
	}
	r.logs(502, "UPE", "upstream_reset_before_response_started{protocol_error}")
}

func TestAnswerFieldsOfTheEdge(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	_, down := upstreamHead(t, r, get("/"),
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: nginx\r\nx-envoy-upstream-service-time: 99999\r\n\r\n")
	if !has(down, "server: istio-envoy") || strings.Count(strings.ToLower(down), "\nserver:") != 1 {
		t.Errorf("server:\n%s", down)
	}
	if strings.Contains(down, "99999") || strings.Count(down, "x-envoy-upstream-service-time: ") != 1 {
		t.Errorf("service time:\n%s", down)
	}
	_, date, _ := strings.Cut(down, "\r\ndate: ")
	date, _, _ = strings.Cut(date, "\r\n")
	if at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", date); err != nil || time.Since(at) > time.Minute {
		t.Errorf("date %q: %v", date, err)
	}
	_, down = upstreamHead(t, r, get("/"),
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: Sun, 22 Nov 2026 00:00:00 GMT\r\n\r\n")
	if !has(down, "Date: Sun, 22 Nov 2026 00:00:00 GMT") || strings.Count(strings.ToLower(down), "\ndate:") != 1 {
		t.Errorf("the upstream's date:\n%s", down)
	}
}

func TestSidecarLeavesWhatAnEdgeReplaces(t *testing.T) {
	r := setup{change: func(c *proxy.ListenerConfig) { c.UseRemoteAddress, c.ServerName = false, "envoy" }}.rig(t)
	up, down := upstreamHead(t, r, get("/", "X-Request-Id: mine", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https",
		"x-envoy-external-address: 203.0.113.9", "x-envoy-max-retries: 9"), empty200)
	for _, field := range []string{"X-Request-Id: mine", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https",
		"x-envoy-external-address: 203.0.113.9"} {
		if !has(up, field) {
			t.Errorf("%s is gone:\n%s", field, up)
		}
	}
	if strings.Contains(up, "x-envoy-max-retries") {
		t.Errorf("a client steers retries:\n%s", up)
	}
	if !has(down, "server: envoy") {
		t.Errorf("server:\n%s", down)
	}
}

func TestEdgeRules(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	a := r.to("a")
	a.Timeout = 7 * time.Second
	got := make(chan string, 1)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		got <- w.head()
		w.send(empty200)
		w.end()
	}))
	r.serve(a)
	cl := r.raw()
	cl.send(get("/", "X-Request-Id: mine", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: 198.51.100.8",
		"X-Forwarded-Proto: https",
		"x-envoy-external-address: 203.0.113.9", "x-envoy-max-retries: 9", "x-envoy-internal: true", "x-envoy-attempt-count: 8",
		"X-Forwarded-Client-Cert: By=me", "x-envoy-expected-rq-timeout-ms: 1"))
	up := <-got
	for _, field := range []string{"X-Forwarded-For: 198.51.100.7,198.51.100.8,192.0.2.1", "X-Forwarded-Proto: http",
		"x-envoy-external-address: 127.0.0.1", "x-envoy-attempt-count: 1", "x-envoy-expected-rq-timeout-ms: 7000"} {
		if !has(up, field) {
			t.Errorf("no %s:\n%s", field, up)
		}
	}
	for _, gone := range []string{"mine", "max-retries", "x-envoy-internal", "client-cert", "203.0.113.9", "https"} {
		if strings.Contains(strings.ToLower(up), gone) {
			t.Errorf("%s travelled on:\n%s", gone, up)
		}
	}
}
