// SPDX-License-Identifier: Apache-2.0

// Package meshtest runs the whole of Umbra for a test: by the text of a configuration, on loopback ports, with its pages to
// ask. Clients and far ends are the test's own.
package meshtest

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

// Patience is how long a test waits for what must happen: long, as it only matters when it does not.
const Patience = 30 * time.Second

// Umbra is a running one, in this process or in one of its own.
type Umbra struct {
	Addr  string   // of its listener, host:port
	Admin string   // of its pages, host:port
	App   *app.App // nil: it runs in a process of its own
	file  string
}

// Options are those of an Umbra with two workers that reads text, has Gateway port 80 at a loopback port, shows its errors in
// the test's log and drops no copies for the machine's sake.
func Options(t testing.TB, text string, port uint16) app.Options {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	write(t, file, text)
	return app.Options{
		Input: app.Input{
			Paths: []string{file}, Namespace: "default", Bind: "127.0.0.1", Ports: map[uint32]uint32{80: uint32(port)},
		},
		Admin: "127.0.0.1:0", Workers: 2, LateLoops: true, Mirror: mirror.Limits{ConnectTime: Patience},
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError})),
	}
}

// Run runs Umbra in this process until the test's end. Its address is that of Gateway port 80, or of the outbound
// listener if there is one.
func Run(t testing.TB, opts app.Options) *Umbra {
	t.Helper()
	a, err := app.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	u := &Umbra{App: a, Admin: a.Admin(), Addr: fmt.Sprintf("127.0.0.1:%d", opts.Ports[80]), file: opts.Paths[0]}
	if opts.Outbound.IsValid() {
		u.Addr = opts.Outbound.String()
	}
	return u
}

// Reload puts another configuration in force.
func (u *Umbra) Reload(t testing.TB, text string) {
	t.Helper()
	write(t, u.file, text)
	u.App.Reload()
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// testWriter brings what Umbra logs into the test's output.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// FreePort is a loopback port below those that the system gives to outgoing connections, so that only a test that wants
// it takes it.
func FreePort(t testing.TB) uint16 {
	t.Helper()
	for range 200 {
		n := uint16(10000 + rand.IntN(20000))
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", n)); err == nil {
			l.Close()
			return n
		}
	}
	t.Fatal("no free port")
	return 0
}

// Until asks again and again what gives no event, until it holds. What counts is time that this goroutine saw pass: while
// the machine stands still nothing can come about.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	const most = 100 * time.Millisecond // between two looks
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for last, seen := time.Now(), time.Duration(0); !holds(); {
		now := time.Now()
		if seen += min(now.Sub(last), most); seen > Patience {
			t.Fatalf("not after %s: %s", Patience, what)
		}
		last = now
		<-tick.C
	}
}
