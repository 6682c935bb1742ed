// SPDX-License-Identifier: Apache-2.0

// Command bench compares the CPU time that Umbra, nginx and a bare relay spend on a request, with and without a mirror;
// `bench isolation` measures production beside a mirror that is ill.
// README.md tells how to read what it prints.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/faulty"
	"github.com/umbra-mesh/umbra/bench/internal/isolation"
	"github.com/umbra-mesh/umbra/bench/internal/load"
	"github.com/umbra-mesh/umbra/bench/internal/relay"
	"github.com/umbra-mesh/umbra/bench/internal/rig"
	"github.com/umbra-mesh/umbra/bench/internal/upstream"
)

// Children get a signal when the thread that started them ends: that must be the thread that lives longest.
func init() { runtime.LockOSThread() }

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

// run is the bench, or one of the programs that the bench starts.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "isolation":
			return runIsolation(args[1:], stdout, stderr)
		case isolation.RoleClients, isolation.RoleMirror, isolation.RoleOrigin:
			return isolation.Play(args[0], args[1:], stdin, stdout)
		case "upstream":
			return serveUpstream(args[1:])
		case "relay":
			return serveRelay(args[1:])
		case "load":
			return sendLoad(args[1:], stdin, stdout)
		}
	}
	return runBench(args, stdout, stderr)
}

// programs are the flags that name the proxies' programs.
func programs(flags *flag.FlagSet, nginx, umbra *string) (umbraArgs *string) {
	flags.StringVar(nginx, "nginx", "nginx", "the nginx `program`")
	flags.StringVar(umbra, "umbra", "../bin/umbra", "the umbra `program`")
	return flags.String("umbra-args", "", "more `flags` of umbra run, with spaces between; the table names them")
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	return nil
}

// runBench compares CPU time.
func runBench(args []string, stdout, stderr io.Writer) error {
	cfg := rig.Config{Log: stderr}
	var names []string
	for _, c := range rig.Cases {
		names = append(names, c.Name)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	proxies := flags.String("proxies", strings.Join(rig.Proxies, ","), "what to measure")
	cases := flags.String("cases", strings.Join(names, ","), "with which traffic")
	flags.IntVar(&cfg.Rounds, "rounds", 5, "how often")
	flags.DurationVar(&cfg.Span, "span", 4*time.Second, "how long, for each round, case and proxy")
	flags.DurationVar(&cfg.Warm, "warm", 500*time.Millisecond, "how long before that, not measured")
	flags.StringVar(&cfg.Before, "umbra-before", "", "an older umbra `program`, which -proxies calls before")
	umbraArgs := programs(flags, &cfg.Nginx, &cfg.Umbra)
	if err := parse(flags, args); err != nil {
		return err
	}
	if cfg.Rounds < 1 || cfg.Span <= 0 || cfg.Warm < 0 {
		return errors.New("-rounds and -span must be above zero, -warm not below")
	}
	cfg.UmbraArgs = strings.Fields(*umbraArgs)
	var err error
	if cfg.Proxies, err = rig.PickProxies(*proxies); err != nil {
		return err
	}
	if cfg.Cases, err = rig.PickCases(*cases); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	report, err := rig.Run(ctx, cfg)
	if err != nil {
		return err
	}
	if err := report.Write(stdout); err != nil {
		return err
	}
	if !report.Valid() {
		return errors.New("some rows are not valid")
	}
	return nil
}

// runIsolation measures production beside an ill mirror.
func runIsolation(args []string, stdout, stderr io.Writer) error {
	cfg := isolation.Config{Log: stderr}
	flags := flag.NewFlagSet("bench isolation", flag.ContinueOnError)
	flags.SetOutput(stderr)
	proxies := flags.String("proxies", isolation.Umbra+","+isolation.Nginx, "what to measure")
	faults := flags.String("faults", "", "what befalls the mirror; empty: all there is")
	flags.IntVar(&cfg.Rate, "rate", 300, "requests a second")
	flags.IntVar(&cfg.Connections, "connections", 16, "that clients have")
	flags.DurationVar(&cfg.Span, "span", 3*time.Second, "how long, for each fault and proxy")
	umbraArgs := programs(flags, &cfg.Nginx, &cfg.Umbra)
	if err := parse(flags, args); err != nil {
		return err
	}
	if cfg.Rate < 1 || cfg.Rate > 100_000 || cfg.Connections < 1 || cfg.Connections > 10_000 || cfg.Span <= 0 ||
		cfg.Span > time.Hour {
		return errors.New("-rate, -connections and -span must be above zero; at most 100000, 10000 and an hour")
	}
	cfg.Proxies, cfg.UmbraArgs = strings.Split(*proxies, ","), strings.Fields(*umbraArgs)
	var err error
	if cfg.Faults, err = faulty.Pick(*faults); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	report, err := isolation.Run(ctx, cfg)
	if err != nil {
		return err
	}
	if err := report.Write(stdout); err != nil {
		return err
	}
	if !report.Kept() {
		return errors.New("umbra broke a promise")
	}
	return nil
}

func serveUpstream(args []string) error {
	if len(args) != 1 {
		return errors.New("upstream wants an address")
	}
	addr, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	return upstream.Serve(addr)
}

func serveRelay(args []string) error {
	if len(args) != 3 {
		return errors.New("relay wants its address, the upstream's and a number of threads")
	}
	addr, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	to, err := netip.ParseAddrPort(args[1])
	if err != nil {
		return err
	}
	threads, err := strconv.Atoi(args[2])
	if err != nil || threads < 1 {
		return fmt.Errorf("number of threads %q is not above zero", args[2])
	}
	return relay.Serve(addr, to, threads)
}

// sendLoad says "ready" after the warm-up, begins to measure when it is told a line, and prints the result.
func sendLoad(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) != 7 {
		return errors.New("load wants address, path, warm-up path, connections, body, warm-up and span")
	}
	var errs [5]error
	cfg := load.Config{Path: args[1], WarmPath: args[2]}
	cfg.Addr, errs[0] = netip.ParseAddrPort(args[0])
	cfg.Connections, errs[1] = strconv.Atoi(args[3])
	cfg.Body, errs[2] = strconv.Atoi(args[4])
	cfg.Warm, errs[3] = time.ParseDuration(args[5])
	cfg.Span, errs[4] = time.ParseDuration(args[6])
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	r, err := load.Run(cfg, func() error {
		fmt.Fprintln(stdout, "ready")
		_, err := bufio.NewReader(stdin).ReadString('\n')
		return err
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(r)
}
