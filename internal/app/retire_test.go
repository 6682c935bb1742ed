// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// client is a connection that sends what it is told.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func connect(t *testing.T, port int) *client {
	t.Helper()
	c, err := net.DialTimeout("tcp", address(port), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, Conn: c, r: bufio.NewReader(c)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) get(path string, fields ...string) {
	c.t.Helper()
	c.send("GET " + path + " HTTP/1.1\r\nHost: h0.example\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n")
}

// answer reads one; of an upgrade, its head.
func (c *client) answer() *http.Response {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			c.t.Fatal(err)
		}
	}
	return resp
}

// tunnel asks for an upgrade and sends the first bytes through it.
func (c *client) tunnel() {
	c.t.Helper()
	c.get("/tunnel", "Connection: upgrade", "Upgrade: websocket")
	if resp := c.answer(); resp.StatusCode != http.StatusSwitchingProtocols {
		c.t.Fatalf("status %d", resp.StatusCode)
	}
	c.echoes("one")
}

func (c *client) echoes(text string) {
	c.t.Helper()
	c.send(text)
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c.r, got); err != nil || string(got) != text {
		c.t.Errorf("through the tunnel: %q, %v", got, err)
	}
}

// over reads to the end of the connection.
func (c *client) over() (string, error) {
	b, err := io.ReadAll(c.r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Error("the connection is still there")
	}
	return string(b), err
}

// oneHost is a layout that serves h0.example by the first service at these ports.
func oneHost(ports ...int) *layout {
	l := &layout{}
	for _, p := range ports {
		l.ports[p] = true
	}
	l.services[0] = service{used: true, hosts: 1}
	l.hosts[0] = host{there: true}
	return l
}

func TestAListenerThatIsGoneEndsItsConnectionsAsTheyFallIdle(t *testing.T) {
	m := newRig(t, oneHost(0, 1), nil)
	idle, busy := connect(t, m.ports[0]), connect(t, m.ports[0])
	upload, tunnel := connect(t, m.ports[0]), connect(t, m.ports[0])
	idle.get("/")
	if resp := idle.answer(); resp.StatusCode != 200 || resp.Close {
		t.Fatalf("%d, close %v", resp.StatusCode, resp.Close)
	}
	busy.get("/hold")
	m.held(1)
	upload.send("POST /hold HTTP/1.1\r\nHost: h0.example\r\nContent-Length: 4\r\n\r\nha")
	m.held(1)
	tunnel.tunnel()

	m.reload(oneHost(1))
	if rest, err := idle.over(); rest != "" || err != nil {
		t.Errorf("the idle connection: %q, %v", rest, err)
	}
	if _, err := net.Dial("tcp", address(m.ports[0])); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("at the port that is gone: %v", err)
	}
	if n := m.metric("envoy_listener_manager_total_listeners_draining"); n != 1 {
		t.Errorf("%v listeners are draining", n)
	}
	tunnel.echoes("two")

	m.reload(oneHost(0, 1)) // its port is free for a new one while connections of the old one are left
	again := connect(t, m.ports[0])
	again.get("/")
	if resp := again.answer(); resp.StatusCode != 200 || resp.Close {
		t.Errorf("the port that is back: %d, close %v", resp.StatusCode, resp.Close)
	}

	upload.send("lf")
	m.release()
	for name, c := range map[string]*client{"request": busy, "upload": upload} {
		if resp := c.answer(); resp.StatusCode != 200 || !resp.Close {
			t.Errorf("the %s under way: %d, close %v", name, resp.StatusCode, resp.Close)
		}
		if rest, err := c.over(); rest != "" || err != nil {
			t.Errorf("the %s under way: %q, %v at the end", name, rest, err)
		}
	}
	tunnel.echoes("three")
	tunnel.Close()
	m.until("the listener that is gone has no connections", func() bool {
		return m.metric("envoy_listener_manager_total_listeners_draining") == 0
	})
	if n := m.metric("umbra_listener_drain_cut_total"); n != 0 {
		t.Errorf("%v connections were cut", n)
	}
}

func TestWhatOutstaysTheDrainOfItsListenerIsCut(t *testing.T) {
	var log record
	m := newRig(t, oneHost(0, 1), func(o *Options) {
		o.DrainTimeout, o.AccessLog = 200*time.Millisecond, t.TempDir()+"/access.log"
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	tunnel, busy, other := connect(t, m.ports[0]), connect(t, m.ports[0]), connect(t, m.ports[1])
	tunnel.tunnel()
	busy.get("/hold")
	m.held(1)
	other.tunnel()

	m.reload(oneHost(1))
	if rest, _ := tunnel.over(); rest != "" {
		t.Errorf("the tunnel ends with %q", rest)
	}
	if rest, _ := busy.over(); rest != "" {
		t.Errorf("the request that was cut has %q", rest)
	}
	m.until("the listener that is gone has no connections", func() bool {
		return m.metric("envoy_listener_manager_total_listeners_draining") == 0
	})
	if n := m.metric("umbra_listener_drain_cut_total"); n != 2 {
		t.Errorf("%v connections were cut", n)
	}
	want := fmt.Sprintf("address=%s after=200ms connections=2", address(m.ports[0]))
	if !strings.Contains(log.String(), want) {
		t.Errorf("no %s in the log:\n%s", want, log.String())
	}
	m.until("the access log tells of both", func() bool {
		b, err := os.ReadFile(m.app.opts.AccessLog)
		return err == nil && strings.Count(string(b), listenerGone) == 2
	})
	other.echoes("of a listener that stays")
}

// listenerGone is what the access log says of what was cut with its listener.
const listenerGone = "listener_gone"
