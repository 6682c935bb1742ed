// SPDX-License-Identifier: Apache-2.0

// Command bench compares the CPU time that Umbra, nginx and a bare relay spend on a request, with and without a mirror.
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
		case "upstream":
			return serveUpstream(args[1:])
		case "relay":
			return serveRelay(args[1:])
		case "load":
			return sendLoad(args[1:], stdin, stdout)
		}
	}
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
	flags.StringVar(&cfg.Nginx, "nginx", "nginx", "the nginx `program`")
	flags.StringVar(&cfg.Umbra, "umbra", "../bin/umbra", "the umbra `program`")
	umbraArgs := flags.String("umbra-args", "", "more `flags` of umbra run, with spaces between; the table names them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
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
