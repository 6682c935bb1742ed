// SPDX-License-Identifier: Apache-2.0

package strict

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
)

// What a client or an upstream says in confidence is in no log and on no page, whatever is wrong with the message.
func TestNoSecretIsLoggedOrShown(t *testing.T) {
	const secret = "s3cr3t"
	o, m := listen(t), listen(t)
	file := filepath.Join(t.TempDir(), "access.log")
	var said bytes.Buffer // guarded by the handler's own lock until the app has ended
	var opts app.Options
	addr := start(t, o, m, compile.NormalizeBase, func(given *app.Options) {
		given.AccessLog, given.AccessLogCopies, given.Admin = file, true, "127.0.0.1:0"
		given.Logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug}))
		opts = *given
	})
	confided := []string{"Authorization: Bearer " + secret, "Cookie: a=" + secret, "Proxy-Authorization: Basic " + secret}
	asked := 0
	for _, c := range []struct{ send, answer string }{
		{get(confided...), ""},
		{get(append(confided, "Connection: upgrade", "Upgrade: websocket")...), ""},
		{post(secret, append(confided, "Content-Length: 6")...), ""},
		{post(secret+"\r\n", append(confided, "Transfer-Encoding: chunked")...), ""},
		{get("Authorization: Bearer " + secret + "\x00"), ""},
		{get("Cookie : " + secret), ""},
		{get("Cookie: " + secret + "\n"), ""},
		{get("Content-Length: " + secret), ""},
		{"GET http://user:" + secret + "@a.example/ HTTP/1.1\r\n" + host + "\r\n", ""},
		{"GET / HTTP/1.1\r\nHost: user:" + secret + "@a.example\r\n\r\n", ""},
		{get(confided...), "HTTP/1.1 200 OK\r\nSet-Cookie: a=" + secret + "\r\nContent-Length: 6\r\n\r\n" + secret},
		{get(confided...), "HTTP/1.1 200 OK\r\nSet-Cookie: a=" + secret + "\x00\r\nContent-Length: 0\r\n\r\n"},
		{get(confided...), secret + "\r\n\r\n"},
		{get(confided...), "HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n"},
	} {
		asked++
		o.Tell(c.answer, false)
		m.Tell(c.answer, false)
		conn, err := net.DialTimeout("tcp", addr.served, patience)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		io.WriteString(conn, c.send)
		buf := make([]byte, 64)
		if _, err := io.ReadFull(conn, buf); err != nil || !bytes.HasPrefix(buf, []byte("HTTP/1.1 ")) {
			t.Errorf("%.80q is answered %q, %v", c.send, buf, err)
		}
		conn.Close()
	}
	for _, page := range []string{"/config_dump", "/clusters", "/mirrors", "/stats/prometheus", "/ready"} {
		resp, err := http.Get("http://" + addr.app.Admin() + page)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || bytes.Contains(body, []byte(secret)) {
			t.Errorf("%s: %v", page, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	addr.app.Drain()
	addr.app.Close()
	logged, err := os.ReadFile(opts.AccessLog)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(logged), "\n"); n < asked {
		t.Errorf("%d lines for %d requests:\n%s", n, asked, logged)
	}
	for _, text := range []string{string(logged), said.String()} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("there it is: %q", text[max(i-200, 0):min(i+50, len(text))])
		}
	}
}
