// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec/http1"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a worker with the mirror's part, without production: the test calls the taps.
type rig struct {
	t       *testing.T
	w       *loop.Worker
	dir     *upstream.Directory
	engine  *Engine
	local   *Local
	log     *format.Writer
	logFile string
	errors  *strings.Builder // what was logged as an error; for the worker, and after it ended
}

func newRig(t *testing.T, limits Limits) *rig {
	t.Helper()
	r := &rig{t: t, errors: &strings.Builder{}, logFile: filepath.Join(t.TempDir(), "copies.log")}
	registry := stats.NewRegistry(1)
	logger := slog.New(slog.NewTextHandler(r.errors, nil))
	w, err := loop.New(loop.Config{Publish: func() { registry.Publish(0) }, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	if r.log, err = format.Open(r.logFile, 1); err != nil {
		t.Fatal(err)
	}
	r.w = w
	r.dir = upstream.NewDirectory([]*loop.Worker{w}, registry)
	r.engine = NewEngine(Config{Limits: limits, LocalIP: "192.0.2.1", Registry: registry, Logger: logger, Log: r.log})
	r.local = r.engine.Local(w)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Run(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		w.Stop()
		wg.Wait()
		r.log.Close()
	})
	return r
}

// do runs fn on the worker and waits for the end of that turn.
func (r *rig) do(fn func()) {
	r.t.Helper()
	for _, fn := range []func(){fn, func() {}} { // one a turn
		done := make(chan struct{})
		if !r.w.Post(func() { defer close(done); fn() }) {
			r.t.Fatal("worker has stopped")
		}
		<-done
	}
}

// policy mirrors everything to a cluster at these addresses.
func (r *rig) policy(name string, addrs ...string) Policy {
	cfg := upstream.Config{
		Name: name, MaxConnections: upstream.Unlimited, MaxPending: upstream.Unlimited, MaxRequests: upstream.Unlimited,
	}
	for _, a := range addrs {
		cfg.Static = append(cfg.Static, upstream.Endpoint{Addr: netip.MustParseAddrPort(a)})
	}
	r.dir.Set(cfg)
	return Policy{
		Target: r.engine.Target(r.dir.Slot(name)), Stats: r.engine.Stats("test", name), Numerator: 1, Denominator: 1,
	}
}

// head is a decoded request head.
func head(t *testing.T, text string) *codec.Head {
	t.Helper()
	var d http1.RequestDecoder
	h := &codec.Head{}
	d.Reset(h)
	if ev, _, err := d.Next([]byte(text)); err != nil || ev != http1.HeadDone {
		t.Fatalf("event %v, %v", ev, err)
	}
	return h
}

const get = "GET / HTTP/1.1\r\nHost: shop.example\r\nX-Request-Id: id-1\r\n\r\n"

// counts waits until no copy is live and returns the accounts.
func (r *rig) counts(p Policy) Counts {
	r.t.Helper()
	eventually(r.t, "copies ended", func() bool { return p.Stats.Counts().Live == 0 })
	return p.Stats.Counts()
}

// server answers whole requests with what answer returns, one connection at a time or many.
func server(t *testing.T, answer func(q *http.Request) string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				read := bufio.NewReader(c)
				for {
					q, err := http.ReadRequest(read)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, q.Body); err != nil {
						return
					}
					if _, err := io.WriteString(c, answer(q)); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

func ok(*http.Request) string { return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" }

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-tick.C
	}
}
