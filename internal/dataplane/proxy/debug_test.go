// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

// said is a log's lines as they come.
type said chan string

func (s said) Write(b []byte) (int, error) {
	s <- string(b)
	return len(b), nil
}

// one waits for a line with all of these in it. No line tells a query.
func (s said) one(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.After(patience)
	var seen []string
next:
	for {
		select {
		case line := <-s:
			seen = append(seen, line)
			if strings.Contains(line, "secret") {
				t.Errorf("a query is told: %s", line)
			}
			for _, w := range want {
				if !strings.Contains(line, w) {
					continue next
				}
			}
			return
		case <-deadline:
			t.Fatalf("no line with %q in %q", want, seen)
		}
	}
}

func debugging() (said, *slog.Logger) {
	lines := make(said, 1000)
	return lines, slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestWhatFailsIsToldAtDebugLevelWithPeerAndReason(t *testing.T) {
	const gone = "127.0.0.1:1" // nobody listens there
	lines, logger := debugging()
	r := setup{logger: logger}.rig(t)
	r.cluster("refuses", gone)
	r.cluster("garbage", answering(t, "HTTP/1.1 200 OK\r\nContent-Length: secret\r\n\r\n"))
	r.cluster("breaks", scripted(t, func(w *wire, _ int) {
		w.head()
		w.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
	}))

	cl := r.raw()
	cl.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n")
	cl.end()
	lines.one(t, `msg="request failed"`, "flags=DPE", "status=400", "peer=127.0.0.1:", "listener="+r.addr)

	r.serve(r.to("refuses"))
	r.get("/path?token=secret")
	lines.one(t, `msg="attempt failed"`, "upstream="+gone, "cluster=refuses", "connection refused", "attempt=1")
	lines.one(t, `msg="request failed"`, "flags=UF", "status=503", "path=/path ", "upstream="+gone)

	r.serve(r.to("garbage"))
	r.get("/")
	lines.one(t, `msg="attempt failed"`, "cluster=garbage", "error=")
	lines.one(t, `msg="request failed"`, "flags=UPE", "status=502", "cluster=garbage")

	r.serve(r.to("breaks"))
	cl = r.raw()
	cl.send(get("/"))
	cl.end()
	lines.one(t, `msg="request failed"`, "flags=UC", "status=200", brokenOff)

	r.config.IdleTimeout = brief
	r.listener.Update(r.config)
	idle := r.raw()
	idle.end()
	lines.one(t, `msg="client connection closed"`, `why="idle timeout"`, "peer=127.0.0.1:")
}

func TestDroppedCopyIsToldAtDebugLevel(t *testing.T) {
	lines, logger := debugging()
	r := setup{logger: logger, limits: mirror.Limits{}}.rig(t)
	r.cluster("a", answering(t, empty200))
	r.cluster("b", "127.0.0.1:1")
	r.serve(r.to("a", r.policy("b", 100)))
	if code, _ := r.get("/?secret=1"); code != 200 {
		t.Errorf("got %d", code)
	}
	lines.one(t, `msg="copy dropped"`, "cause=connect", "cluster=b", "upstream=127.0.0.1:1", "request=")
}
