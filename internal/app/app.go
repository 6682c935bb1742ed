// SPDX-License-Identifier: Apache-2.0

// Package app puts the parts together, in the order data meets them, and starts, reloads, drains and stops them. It has
// no logic of traffic or of configuration itself.
package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/umbra-mesh/umbra/internal/admin"
	"github.com/umbra-mesh/umbra/internal/dataplane/build"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/pressure"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
	"github.com/umbra-mesh/umbra/internal/otlp"
	"github.com/umbra-mesh/umbra/internal/takeover"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// spareThreads are Ps beside the workers' own: for the acceptors, reloads and pages, so that none of them ever keeps a
// worker from running.
const spareThreads = 2

// gcPercent keeps the resident memory of copies near what they are counted for. While a first configuration is read
// there are none yet, and what is read stays: at that percentage the collector would go over it many times.
const (
	gcPercent      = 50
	startGCPercent = 200
)

// settleTime is what workers on a busy machine get to end a turn before a cluster that has no routes goes. A request that
// takes longer from its route to its cluster is answered 503.
const settleTime = 5 * time.Second

// copyGrace is what copies get to end when production has.
const copyGrace = 5 * time.Second

// App is one proxy with its control plane, in this process.
type App struct {
	opts    Options
	started time.Time

	control   *control
	builder   *build.Builder
	listeners *listeners
	server    *proxy.Server
	mirrors   *mirror.Engine
	clusters  *upstream.Directory
	workers   []*loop.Worker
	registry  *stats.Registry
	metrics   *prometheus.Registry
	pressure  *pressure.Monitor
	rejected  *prometheus.GaugeVec
	admin     *admin.Server
	log       *format.Writer
	tracer    *trace.Tracer // nil: no traces
	spans     *otlp.Exporter
	door      *takeover.Door // where the next process asks for the sockets; nil: nowhere
	taken     chan struct{}
	draining  atomic.Bool
	running   sync.WaitGroup
	stop      context.CancelFunc
	ending    <-chan struct{} // stop was called

	reloads sync.Mutex // one reload at a time
	mu      sync.Mutex
	nacks   []xds.Nack // guarded by mu: of the last reload

	said    map[string]bool // guarded by reloads: the problems that the last reload had
	inForce []string        // guarded by reloads: the mirrors that it left in force
}

// New reads the configuration, builds everything and serves it; a *ConfigError tells what is wrong with the first
// configuration. Close must follow, unless New fails.
func New(opts Options) (*App, error) {
	opts = opts.withDefaults()
	boundHeap()
	defer collectLess()()
	a := &App{opts: opts, started: time.Now(), control: newControl(opts.Input), taken: make(chan struct{})}

	// The configuration comes first: nothing is opened for one that cannot be served.
	res, problems, err := a.control.next()
	if err != nil {
		return nil, err
	}
	if hasErrors(problems) {
		return nil, &ConfigError{problems}
	}

	// The data plane, from the bottom.
	if want := opts.Workers + spareThreads; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	from, err := a.inherit()
	if err != nil {
		return nil, err
	}
	defer from.Close()
	a.registry = stats.NewRegistry(opts.Workers)
	if opts.AccessLog != "" {
		if a.log, err = format.Open(opts.AccessLog, opts.Workers); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.stop, a.ending = cancel, ctx.Done()
	for i := range opts.Workers {
		w, err := loop.New(loop.Config{
			Index: i, Logger: opts.Logger, Publish: func() { a.registry.Publish(i) },
		})
		if err != nil {
			a.Close()
			return nil, fmt.Errorf("make worker %d: %w", i, err)
		}
		a.workers = append(a.workers, w)
		a.running.Go(func() {
			if err := w.Run(ctx); err != nil {
				opts.Logger.Error("worker ended", "worker", i, "error", err)
			}
		})
	}
	if err := a.startTracing(); err != nil {
		a.Close()
		return nil, err
	}
	a.clusters = upstream.NewDirectory(a.workers, a.registry)
	a.clusters.Logger = opts.Logger
	copyLog := a.log
	if !opts.AccessLogCopies {
		copyLog = nil
	}
	a.mirrors = mirror.NewEngine(mirror.Config{
		Limits: opts.Mirror, LocalIP: nodeIP(), Registry: a.registry, Logger: opts.Logger, Log: copyLog,
		Tracer: a.tracer,
	})
	a.server = proxy.NewServer(proxy.Config{
		Workers: a.workers, Mirror: a.mirrors, Registry: a.registry, LocalIP: nodeIP(), Log: a.log,
		Tracer: a.tracer, Logger: opts.Logger,
	})
	a.listeners = newListeners(a.server, a.workers, &a.opts)
	a.listeners.from = from
	a.builder = build.New(build.Deps{
		Clusters: a.clusters, Mirrors: a.mirrors, Listeners: a.listeners, RouteStats: a.server.NewRouteStats,
		Settle: func() { a.nextTurn(settleTime) },
	})

	a.pressure = a.newPressure()

	// The pages, then the traffic.
	a.metrics = a.newMetrics()
	if opts.Admin != "" {
		if err := a.openAdmin(from); err != nil {
			a.Close()
			return nil, err
		}
	}
	a.running.Go(func() { loop.Watch(ctx, a.workers, opts.Logger, nil) })
	a.running.Go(func() { a.pressure.Run(ctx) })
	a.report(problems)
	if nacks := a.apply(res, 0); len(nacks) > 0 {
		a.Close()
		return nil, nackError(nacks)
	}
	a.inForce = a.mirrorLines()
	if err := a.succeed(from); err != nil {
		a.Close()
		return nil, err
	}
	a.begin()
	a.running.Go(debug.FreeOSMemory) // what reading left behind is more than what it found
	return a, nil
}

// begin serves what was opened.
func (a *App) begin() {
	a.listeners.begin()
	if a.admin != nil {
		a.running.Go(func() {
			if err := a.admin.Serve(); err != nil {
				a.opts.Logger.Error("admin pages ended", "error", err)
			}
		})
	}
}

// collectLess sets the collector's percentage for the start; what it returns sets that for serving: the memory of the
// data plane is chunks that live for long, and at the default of 100 the collector would let as much again pile up beside
// them. A GOGC of the user's own stays.
func collectLess() func() {
	was := debug.SetGCPercent(startGCPercent)
	if was != 100 && was != gcPercent {
		debug.SetGCPercent(was)
		return func() {}
	}
	return func() { debug.SetGCPercent(gcPercent) }
}

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = runtime.NumCPU()
	}
	if o.DrainTimeout <= 0 {
		o.DrainTimeout = 25 * time.Second
	}
	if o.Logger == nil {
		o.Logger = discardLogger
	}
	return o
}

func nackError(nacks []xds.Nack) error {
	var errs []error
	for _, n := range nacks {
		errs = append(errs, n)
	}
	return errors.Join(errs...)
}

// apply puts a set in force, which has waited for so long already, and remembers what of it was refused.
func (a *App) apply(res *xds.Resources, late time.Duration) []xds.Nack {
	nacks := a.builder.ApplyLate(res, late)
	a.mu.Lock()
	a.nacks = nacks
	a.mu.Unlock()
	a.countRejected()
	return nacks
}

// Reload reads the configuration again and serves what is good of it. It never takes anything good away for something
// bad.
func (a *App) Reload() { a.reload(time.Now()) }

// reload is Reload as it was asked for at some time, for it may have to wait for the one before.
func (a *App) reload(asked time.Time) {
	if a.draining.Load() { // which has the lock to its end
		return
	}
	a.reloads.Lock()
	defer a.reloads.Unlock()
	late := time.Since(asked)
	if a.draining.Load() { // by now
		return
	}
	res, problems, err := a.control.next()
	if err != nil {
		a.opts.Logger.Error("configuration could not be read; everything stays as it is", "error", err)
		a.countRejected()
		return
	}
	if a.draining.Load() { // while this was read
		return
	}
	a.report(problems)
	nacks := a.apply(res, late)
	for _, n := range nacks {
		a.opts.Logger.Error("resource refused by the data plane; its last version stays",
			"type", n.Type, "name", n.Name, "field", n.Path, "reason", n.Reason)
	}
	now := a.mirrorLines()
	a.reportMirrors(a.inForce, now)
	a.inForce = now
	a.opts.Logger.Info("configuration reloaded", "version", res.Version, "refused", len(a.refused()),
		"problems", len(a.problems()))
}

// Watch reloads whenever the inputs change, until ctx is done. A change is seen while a reload is under way: what that
// waits for, the next one does not wait for again.
func (a *App) Watch(ctx context.Context) {
	asked := make(chan time.Time, 1)
	var reloading sync.WaitGroup
	reloading.Go(func() {
		for at := range asked {
			if ctx.Err() == nil {
				a.reload(at)
			}
		}
	})
	a.control.loader.Watch(ctx, func() {
		select {
		case asked <- time.Now():
		default: // the reload that is to come reads this too
		}
	})
	close(asked)
	reloading.Wait()
}

// Reopen opens the access log again by its name, for log rotation.
func (a *App) Reopen() {
	if a.log != nil {
		if err := a.log.Reopen(); err != nil {
			a.opts.Logger.Error("access log could not be reopened", "error", err)
		}
	}
}

// Admin is the address of the admin pages, nil if there are none.
func (a *App) Admin() string {
	if a.admin == nil {
		return ""
	}
	return a.admin.Addr().String()
}

// Addrs are the addresses that serve traffic.
func (a *App) Addrs() []netip.AddrPort { return a.listeners.addrs() }
