// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/umbra-mesh/umbra/internal/dataplane/format"
	"github.com/umbra-mesh/umbra/internal/dataplane/listener"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a running data plane of one listener, put together by hand: what build does from xDS.
type rig struct {
	t        testing.TB
	workers  []*loop.Worker
	registry *stats.Registry
	clusters *upstream.Directory
	mirrors  *mirror.Engine
	server   *proxy.Server
	listener *proxy.Listener
	routes   *proxy.RouteSlot
	config   proxy.ListenerConfig
	addr     string
	client   *http.Client
	logFile  string
	log      *format.Writer
}

// setup is what a test wants otherwise than usual.
type setup struct {
	limits   mirror.Limits
	workers  int                         // 2
	change   func(*proxy.ListenerConfig) // of the usual gateway
	log      bool                        // write an access log
	sink     trace.Sink                  // of spans; nil: no tracer
	formats  trace.Formats
	sampling float64
	logger   *slog.Logger // nil: none
	sndbuf   int          // of the proxy's sockets to clients, which then grow no more; 0: the system's
}

func newRig(t testing.TB, limits mirror.Limits) *rig {
	t.Helper()
	return setup{limits: limits}.rig(t)
}

func (set setup) rig(t testing.TB) *rig {
	t.Helper()
	if set.workers == 0 {
		set.workers = 2
	}
	if set.limits.ConnectTime == 0 { // where the machine is slow it is no mirror's fault
		set.limits.ConnectTime = patience
	}
	r := &rig{t: t, registry: stats.NewRegistry(set.workers), routes: &proxy.RouteSlot{Name: "test"}}
	logger := set.logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	for i := range set.workers {
		w, err := loop.New(loop.Config{Index: i, Publish: func() { r.registry.Publish(i) }, Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		r.workers = append(r.workers, w)
	}
	r.clusters = upstream.NewDirectory(r.workers, r.registry)
	r.clusters.Logger = logger
	var tracer *trace.Tracer
	if set.sink != nil {
		tracer = trace.New(trace.Config{
			Sink: set.sink, Workers: set.workers, Registry: r.registry, Sampling: set.sampling, Formats: set.formats,
		})
		t.Cleanup(tracer.Close)
	}
	r.mirrors = mirror.NewEngine(mirror.Config{
		Limits: set.limits, LocalIP: "192.0.2.1", Registry: r.registry, Logger: logger, Tracer: tracer,
	})
	if set.log {
		r.logFile = filepath.Join(t.TempDir(), "access.log")
		var err error
		if r.log, err = format.Open(r.logFile, set.workers); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.log.Close() })
	}
	r.server = proxy.NewServer(proxy.Config{
		Workers: r.workers, Mirror: r.mirrors, Registry: r.registry, LocalIP: "192.0.2.1", Log: r.log, Tracer: tracer,
		Logger: logger,
	})
	r.config = proxy.ListenerConfig{
		Name: "test", StatPrefix: "test", Routes: r.routes, ServerName: "istio-envoy", UseRemoteAddress: true,
		IdleTimeout: time.Minute, HeadTimeout: 10 * time.Second, StreamIdle: 5 * time.Minute, HTTP10Accepted: true,
	}
	if set.change != nil {
		set.change(&r.config)
	}
	r.listener = r.server.NewListener(r.config)
	l, err := listener.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	var wg sync.WaitGroup
	for _, w := range r.workers {
		wg.Go(func() {
			if err := w.Run(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() {
		l.Serve(r.workers, func(w *loop.Worker, fd int, peer, local netip.AddrPort) {
			if set.sndbuf > 0 {
				if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, set.sndbuf); err != nil {
					t.Error(err)
				}
			}
			r.server.Accept(w, r.listener, fd, peer, local)
		})
	})
	r.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: patience}
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		l.Close()
		for _, w := range r.workers {
			w.Stop()
		}
		wg.Wait()
	})
	return r
}

// unlimited is a cluster's settings without circuit breakers, as Istio's are unless told otherwise.
var unlimited = upstream.Config{
	ConnectTimeout: 10 * time.Second, MaxConnections: upstream.Unlimited, MaxPending: upstream.Unlimited,
	MaxRequests: upstream.Unlimited, MaxRetries: upstream.Unlimited,
}

// cluster makes a cluster of these addresses.
func (r *rig) cluster(name string, addrs ...string) {
	cfg := unlimited
	cfg.Name = name
	for _, a := range addrs {
		cfg.Static = append(cfg.Static, upstream.Endpoint{Addr: netip.MustParseAddrPort(a)})
	}
	r.clusters.Set(cfg)
}

// serve puts one route for everything in force.
func (r *rig) serve(a *proxy.Action) {
	r.t.Helper()
	r.table(route.Route[*proxy.Action]{Path: route.PathMatch{Kind: route.PathPrefix, Value: "/"}, Action: a})
}

// table puts routes for all hosts in force.
func (r *rig) table(routes ...route.Route[*proxy.Action]) {
	r.t.Helper()
	host, err := route.NewHost(&route.VirtualHost[*proxy.Action]{Name: "all", Domains: []string{"*"}, Routes: routes})
	if err != nil {
		r.t.Fatal(err)
	}
	table, err := route.New(route.Config[*proxy.Action]{Hosts: []*route.Host[*proxy.Action]{host}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.routes.Store(table)
}

// to is an action that sends everything to a cluster, with the default retry policy.
func (r *rig) to(cluster string, mirrors ...mirror.Policy) *proxy.Action {
	return &proxy.Action{
		Name: "default", AttemptCount: true,
		Clusters: []proxy.Weighted{{Slot: r.clusters.Slot(cluster), Weight: 1}}, TotalWeight: 1,
		Retry: &proxy.Retry{
			On:  proxy.ConnectFailure | proxy.RefusedStream | proxy.Unavailable | proxy.Cancelled | proxy.RetriableStatusCodes,
			Max: 2, Codes: []int{503}, PreviousHosts: true, HostAttempts: 5,
		},
		Mirrors: mirrors,
	}
}

// policy mirrors a share in percent to a cluster.
func (r *rig) policy(cluster string, percent uint32) mirror.Policy {
	return mirror.Policy{
		Target: r.mirrors.Target(r.clusters.Slot(cluster)), Stats: r.mirrors.Stats("test", cluster),
		Numerator: percent, Denominator: 100,
	}
}

// origin is a real HTTP server.
func origin(t testing.TB, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// get is one request; it returns status and body.
func (r *rig) get(path string) (int, string) {
	r.t.Helper()
	resp, err := r.client.Get("http://" + r.addr + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// dial is a raw connection to the proxy.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// eventually polls a published fact until it holds; what makes it hold is already under way. What counts is time that this
// goroutine saw pass.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	const most = 100 * time.Millisecond // between two looks
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for last, seen := time.Now(), time.Duration(0); !holds(); {
		now := time.Now()
		if seen += min(now.Sub(last), most); seen > patience {
			t.Fatalf("not within %v: %s", patience, what)
		}
		last = now
		<-tick.C
	}
}
