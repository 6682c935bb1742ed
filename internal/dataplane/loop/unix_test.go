// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

func TestDialUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, class := range []Class{Production, Copy} {
		w := start(t, Config{}, nil)
		p := newProbe()
		got := make(chan string, 1)
		p.onBytes = func(b chunk.Bytes) { got <- string(b.B) }
		on(t, w, func() {
			p.c = w.DialUnix(path, class, time.Minute, p)
			p.c.KeepAlive(KeepAlive{Probes: 3, Time: time.Second}) // no such thing here, and no harm
			if p.calls.Load() != 0 {
				t.Error("DialUnix called back")
			}
			p.c.Write([]byte("ping"))
		})
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		receive(t, p.connected, "the connection")
		buf := make([]byte, 8)
		if n, err := far.Read(buf); err != nil || string(buf[:n]) != "ping" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		if _, err := far.Write([]byte("pong")); err != nil {
			t.Fatal(err)
		}
		if s := receive(t, got, "the answer"); s != "pong" {
			t.Errorf("%q", s)
		}
		on(t, w, func() {
			if p.c.Remote().IsValid() || p.c.Local().IsValid() || p.c.OriginalDst().IsValid() {
				t.Error("a Unix socket has an address")
			}
		})
	}
}

func TestDialUnixWithNobodyThere(t *testing.T) {
	w := start(t, Config{}, nil)
	for _, path := range []string{filepath.Join(t.TempDir(), "none"), string(make([]byte, 200)), ""} {
		p := newProbe()
		on(t, w, func() { p.c = w.DialUnix(path, Production, time.Minute, p) })
		if err := receive(t, p.gone, "the failure"); err == nil {
			t.Errorf("%q: no error", path)
		}
	}
}
