// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
	"github.com/umbra-mesh/umbra/internal/logging"
)

type runFlags struct {
	inputFlags
	serveFlags
}

// serveFlags are those of every command that serves traffic.
type serveFlags struct {
	admin           string
	workers         int
	drainTimeout    time.Duration
	takeover        string
	maxHead         quantity
	maxHeadFields   int
	headTimeout     time.Duration
	streamIdle      time.Duration
	idle            time.Duration
	buffer          quantity
	maxConns        int
	maxOwnConns     int
	accessLog       string
	accessLogCopies bool
	mirrorTimeout   time.Duration
	mirrorInFlight  int
	mirrorWindow    quantity
	mirrorMemory    quantity
	mirrorHops      int
	traceOTLP       string
	traceSampling   float64
	traceService    string
	traceFormats    traceFormats
	logLevel        logLevel
}

// maxWorkers is more than any machine has CPUs for; each is a thread, of which a process may have 10,000.
const maxWorkers = 1024

func newRun() *cobra.Command { return new(runFlags).command() }

func (f *runFlags) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run -f DIR|FILE|-",
		Short: "Serve traffic by the resources in files, and mirror it.",
		Long: "Serve traffic by the resources in files, and mirror it: control plane and proxy in one process.\n\n" +
			"Changed files are in force within a second; a bad resource keeps its last good version, the others go on.\n" +
			"SIGHUP reads everything again and reopens the access log. SIGTERM and SIGINT drain: nothing new is accepted,\n" +
			"requests under way are answered, then copies end; a second signal cuts.",
		Example: "  umbra run -f config/ --port 80=8080\n" +
			"  umbra run -f mesh.yaml -f workloads.yaml --labels istio=ingressgateway\n" +
			"  umbra run -f examples/canary-mirror --outbound 127.0.0.1:15080 --access-log -",
		Args: noPaths,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.inputFlags.add(cmd.Flags())
	f.serveFlags.add(cmd.Flags())
	return cmd
}

func (f *serveFlags) add(flags *pflag.FlagSet) {
	f.maxHead, f.buffer, f.mirrorWindow, f.mirrorMemory = 60<<10, loop.HighWater, 8<<20, mirrorMemory("/")
	flags.StringVar(&f.admin, "admin", "127.0.0.1:15000", "Serve the admin pages at this `ADDR`; none if empty.")
	flags.IntVar(&f.workers, "workers", 0, "Event loops, 1024 at most; 0 is one for each CPU.")
	flags.DurationVar(&f.drainTimeout, "drain-timeout", 25*time.Second,
		"Longest that stopping may take: requests under way are answered, then copies may end for at most 5s of it.")
	flags.StringVar(&f.takeover, "takeover", "",
		"Take the listening sockets over from the umbra that waits at the Unix socket `PATH`, and wait there for the next one.")
	flags.Var(&f.maxHead, "max-head", "Most bytes of a request's head, rounded up to KiB; more are answered 431. At most 8Mi.")
	flags.IntVar(&f.maxHeadFields, "max-head-fields", 100, "Most fields of a request's head; more are answered 431.")
	flags.DurationVar(&f.headTimeout, "head-timeout", 10*time.Second, "Longest that a request's head may take to come.")
	flags.DurationVar(&f.streamIdle, "stream-idle-timeout", 5*time.Minute,
		"Longest that nothing may move of a request and its answer, unless its route says.")
	flags.DurationVar(&f.idle, "idle-timeout", 0,
		"Longest that a client's connection may be without a request; by default 1m at gateways and 1h at --outbound.")
	flags.Var(&f.buffer, "connection-buffer",
		"Most bytes that wait to be sent on a connection, a client's or an upstream's, before its other side is not read on.")
	flags.IntVar(&f.maxConns, "max-connections", 0,
		"Most connections of clients in all; more are closed at once. 0 is as many as there are descriptors.")
	flags.IntVar(&f.maxOwnConns, "max-listener-connections", 0, "Most connections of clients for each listener; 0 is no limit.")
	flags.StringVar(&f.accessLog, "access-log", "",
		"Write a line about each request to this `FILE`, - for standard output; none if empty.")
	flags.BoolVar(&f.accessLogCopies, "access-log-copies", false, "Write a line about each copy too.")
	flags.DurationVar(&f.mirrorTimeout, "mirror-timeout", 15*time.Second,
		"Longest that a copy may take from the end of the request to the end of its answer.")
	flags.IntVar(&f.mirrorInFlight, "mirror-max-in-flight", 256,
		"Most copies with one target at once, each on a connection of its own; four times as many may wait in line.")
	flags.Var(&f.mirrorWindow, "mirror-window", "Most bytes that a copy may lag behind the request.")
	flags.Var(&f.mirrorMemory, "mirror-memory",
		"Most memory for all copies together; by default 48Mi, or an eighth of what the process may have if that is less.")
	flags.IntVar(&f.mirrorHops, "mirror-max-hops", 3, "Most mirrors that a request may pass one after another, 1 to 9.")
	flags.Var(&f.logLevel, "log-level",
		"Least that is logged on standard error; debug tells of every request, connection and copy that fails.")
	flags.StringVar(&f.traceOTLP, "trace-otlp", "",
		"Send OpenTelemetry spans to this `URL`: http://HOST:4318 or grpc://HOST:4317; no traces if empty.")
	flags.Float64Var(&f.traceSampling, "trace-sampling", 1, "Percent of the traces that begin here which are recorded.")
	flags.StringVar(&f.traceService, "trace-service-name", "umbra", "Whose spans these are.")
	flags.Var(&f.traceFormats, "trace-formats", "How a trace travels in requests: w3c is read first, then b3-single, then b3; all are written.")
}

// options are the flags' meaning; a mistake in them is one of usage.
func (f *runFlags) options(cmd *cobra.Command) (app.Options, error) {
	in, err := f.input(cmd.InOrStdin())
	if err != nil {
		return app.Options{}, err
	}
	return f.serving(in)
}

// serving are the settings of a proxy for an input.
func (f *serveFlags) serving(in app.Input) (app.Options, error) {
	var err error
	switch {
	case f.workers < 0 || f.workers > maxWorkers:
		err = fmt.Errorf("--workers %d is not between 0 and %d", f.workers, maxWorkers)
	case f.drainTimeout <= 0:
		err = fmt.Errorf("--drain-timeout %s is not positive", f.drainTimeout)
	case f.maxHead > 8<<20:
		err = fmt.Errorf("--max-head %s is more than 8Mi", f.maxHead.String())
	case f.maxHeadFields < 1 || f.maxHeadFields > 1<<16:
		err = fmt.Errorf("--max-head-fields %d is not between 1 and 65536", f.maxHeadFields)
	case f.headTimeout <= 0:
		err = fmt.Errorf("--head-timeout %s is not positive", f.headTimeout)
	case f.streamIdle <= 0:
		err = fmt.Errorf("--stream-idle-timeout %s is not positive", f.streamIdle)
	case f.idle < 0:
		err = fmt.Errorf("--idle-timeout %s is negative", f.idle)
	case f.buffer < 1<<10 || f.buffer > 1<<30:
		err = fmt.Errorf("--connection-buffer %s is not between 1Ki and 1Gi", f.buffer.String())
	case f.maxConns < 0:
		err = fmt.Errorf("--max-connections %d is negative", f.maxConns)
	case f.maxOwnConns < 0:
		err = fmt.Errorf("--max-listener-connections %d is negative", f.maxOwnConns)
	case f.accessLogCopies && f.accessLog == "":
		err = errors.New("--access-log-copies needs --access-log")
	case f.mirrorTimeout <= 0:
		err = fmt.Errorf("--mirror-timeout %s is not positive", f.mirrorTimeout)
	case f.mirrorInFlight <= 0:
		err = fmt.Errorf("--mirror-max-in-flight %d is not positive", f.mirrorInFlight)
	case !(f.traceSampling >= 0 && f.traceSampling <= 100): // NaN too
		err = fmt.Errorf("--trace-sampling %v is not between 0 and 100", f.traceSampling)
	case f.mirrorHops < 1 || f.mirrorHops > 9:
		err = fmt.Errorf("--mirror-max-hops %d is not between 1 and 9", f.mirrorHops)
	}
	if err != nil {
		return app.Options{}, err
	}
	in.Clients = compile.ClientLimits{
		HeadKiB: uint32((f.maxHead + 1<<10 - 1) >> 10), HeadFields: uint32(f.maxHeadFields),
		Head: f.headTimeout, StreamIdle: f.streamIdle, Idle: f.idle,
	}
	if f.buffer != loop.HighWater {
		in.Clients.Buffer = uint32(f.buffer)
	}
	opts := app.Options{
		Input: in, Admin: f.admin, Workers: f.workers, AccessLog: f.accessLog, AccessLogCopies: f.accessLogCopies,
		DrainTimeout: f.drainTimeout, Takeover: f.takeover,
		Limits: app.Limits{Connections: f.maxConns, ListenerConnections: f.maxOwnConns}, LogLevel: slog.Level(f.logLevel),
	}
	opts.Trace = app.TraceOptions{
		Endpoint: f.traceOTLP, Sampling: f.traceSampling, Service: f.traceService, Formats: trace.Formats(f.traceFormats),
	}
	opts.Mirror.Timeout = f.mirrorTimeout
	opts.Mirror.MaxInFlight = f.mirrorInFlight
	opts.Mirror.Window = int(f.mirrorWindow)
	opts.Mirror.Memory = int64(f.mirrorMemory)
	opts.Mirror.MaxHops = f.mirrorHops
	return opts, nil
}

func (f *runFlags) run(cmd *cobra.Command) error {
	opts, err := f.options(cmd)
	if err != nil {
		return err
	}
	return serve(cmd, opts, func(context.Context, *app.App, *slog.Logger) {})
}

// serve runs a proxy until it is signalled to end. beside runs meanwhile and ends with its context.
func serve(cmd *cobra.Command, opts app.Options, beside func(context.Context, *app.App, *slog.Logger)) error {
	opts.Log = logging.New(cmd.ErrOrStderr(), opts.LogLevel)
	defer opts.Log.Close()
	opts.Logger = opts.Log.Logger()
	// Apart, so that however many of the one kind wait, none of the other is lost: what finds its channel full is.
	signals, hangups := make(chan os.Signal, 8), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(signals)
	defer signal.Stop(hangups)

	a, err := start(func() (*app.App, error) { return app.New(opts) }, signals)
	if err != nil {
		return failed(err)
	}
	for _, line := range a.StartLines() {
		fmt.Fprintln(cmd.OutOrStdout(), line)
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	var running sync.WaitGroup
	running.Go(func() { a.Watch(ctx) })
	running.Go(func() { beside(ctx, a, opts.Logger) })
	running.Go(func() { reload(ctx, a, hangups) })
	defer waitFor(&running)
	defer cancel()

	select {
	case s := <-signals:
		opts.Logger.Info("draining; a second signal cuts", "signal", s.String())
	case <-a.TakenOver():
		opts.Logger.Info("draining; a signal cuts")
	}
	cancel()
	return stop(a, signals)
}

// waitFor waits for what ran beside the proxy, but not long for a reload that hangs: it ends with the process.
func waitFor(running *sync.WaitGroup) {
	ended := make(chan struct{})
	go func() {
		running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(time.Second):
	}
}

// reload reads everything again for each signal, on its own: a reload may wait for names, and no end waits for that.
func reload(ctx context.Context, a *app.App, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			a.Reload()
			a.Reopen()
		}
	}
}

// sameSignal is how long a drain has to end, after a second signal, for nothing to be cut.
const sameSignal = 200 * time.Millisecond

// stop drains; another signal to end ends at once.
func stop(a *app.App, signals <-chan os.Signal) error {
	drained := make(chan struct{})
	go func() {
		a.Drain()
		close(drained)
	}()
	for {
		select {
		case <-drained:
			a.Close()
			return nil
		case s := <-signals:
			select {
			case <-drained: // a parent signalled the process and its group: nothing is cut
				a.Close()
				return nil
			case <-time.After(sameSignal):
				a.Close() // the access log is written out too
				return failed(fmt.Errorf("cut by a second signal, %s", s))
			}
		}
	}
}
