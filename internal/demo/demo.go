// SPDX-License-Identifier: Apache-2.0

// Package demo runs the cross-cluster example live on one machine: two meshes, the second in a process of its own, real
// requests through real sockets, and a verdict on what was seen at both ends. It measures for show; bench measures.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
)

// Options are the settings of Run.
type Options struct {
	Once     bool          // end after the traffic instead of staying up
	Terminal bool          // Out is one: progress is drawn in place
	Out      io.Writer     // what the demo tells
	Err      io.Writer     // trouble of either mesh
	Program  []string      // command line of a process that calls RunPeer
	Duration time.Duration // of the traffic; 0: 5 s
}

// Failure is a run in which something was not as told.
type Failure struct{ Reasons []string }

func (f *Failure) Error() string { return "not as told: " + strings.Join(f.Reasons, "; ") }

// Run tells what it does, does it, and judges it; a *Failure says what went wrong. Unless Once is set, both meshes then
// stay up until ctx is done, which is no error.
func Run(ctx context.Context, opts Options) error {
	if opts.Duration == 0 {
		opts.Duration = 5 * time.Second
	}
	dir, err := os.MkdirTemp("", "umbra-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d := &demo{Options: opts, dir: dir}
	defer d.close()
	if err := d.start(ctx); err != nil {
		return err
	}
	d.introduce()
	res, err := d.traffic(ctx)
	if err != nil {
		if ctx.Err() != nil && !opts.Once {
			return nil
		}
		return err
	}
	d.report(res)
	if reasons := res.judge(); len(reasons) > 0 {
		err = &Failure{reasons}
		d.say("\nNot as told:")
		for _, r := range reasons {
			d.say("  %s", r)
		}
	} else {
		d.say("\nAll as told.")
	}
	if !opts.Once {
		d.stayUp(ctx)
	}
	return err
}

// demo is one run: mesh A in this process, mesh B in another.
type demo struct {
	Options
	dir  string
	seen recorder
	a    *mesh
	b    *peer
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }

func (d *demo) start(ctx context.Context) error {
	p, err := freePorts(4)
	if err != nil {
		return err
	}
	a := meshConfig{Workload: p[0], Gateway: p[1], Name: nameA}
	b := meshConfig{Workload: p[2], Gateway: p[3], Name: nameB}
	if a.Files, b.Files, err = writeConfig(d.dir, a, b); err != nil {
		return err
	}
	if d.b, err = startPeer(ctx, d.Program, d.Err, b, func(s Seen) { d.seen.add(inB, s) }); err != nil {
		return fmt.Errorf("start mesh B: %w", err)
	}
	logger := slog.New(slog.NewTextHandler(d.Err, &slog.HandlerOptions{Level: slog.LevelError}))
	if d.a, err = startMesh(a, logger, func(s Seen) { d.seen.add(inA, s) }); err != nil {
		return fmt.Errorf("start mesh A: %w", err)
	}
	return nil
}

func (d *demo) close() {
	if d.a != nil {
		d.a.close()
	}
	if d.b != nil {
		d.b.close()
	}
}

func (d *demo) introduce() {
	d.say("Umbra demo: production traffic in mesh A, half of it copied to mesh B. All on this machine.\n")
	d.say("  client --> A's gateway --> httpbin v1      Host: shop.example          every answer comes from here")
	d.say("                  \\- 50 %% -> B's gateway --> httpbin")
	d.say("                                             Host: shop.example-shadow   answers are thrown away\n")
	row := func(name, gateway, admin string, pid int, note string) {
		d.say("  %s  gateway http://%s  admin http://%s  pid %d%s", name, gateway, admin, pid, note)
	}
	row("mesh A (production)", d.a.gateway, d.a.admin, os.Getpid(), "")
	row("mesh B (test)      ", d.b.ready.Gateway, d.b.ready.Admin, d.b.pid(), ", a process of its own")
	d.say("")
	d.say("The configuration is examples/cross-cluster with these ports, in %s.", d.dir)
	for _, line := range d.a.mirrors {
		d.say("%s", line)
	}
	d.say("To freeze mesh B: kill -STOP %[1]d   and to let it go on: kill -CONT %[1]d", d.b.pid())
}

// stayUp shows each request that a workload sees, until ctx is done.
func (d *demo) stayUp(ctx context.Context) {
	d.say("\nBoth meshes stay up. In another terminal:\n")
	for _, line := range [][2]string{
		{
			fmt.Sprintf("curl -s -H 'Host: shop.example' 'http://%s/headers?n=mine'", d.a.gateway),
			"answered by A, copied to B half of the time",
		},
		{fmt.Sprintf("curl -s http://%s/mirrors", d.a.admin), "what was counted for the mirror"},
		{fmt.Sprintf("kill -STOP %d", d.b.pid()), "freeze mesh B: production does not notice"},
		{fmt.Sprintf("kill -CONT %d", d.b.pid()), "let it go on: copies arrive again"},
		{fmt.Sprintf("curl -s -X POST 'http://%s/mirrors?enabled=false'", d.a.admin), "the kill switch"},
		{fmt.Sprintf("curl -s 'http://%s/config_dump?resource=dynamic_route_configs'", d.a.admin), "what the proxy runs by"},
		{fmt.Sprintf("sed -i 's/value: 50/value: 100/' %s", d.a.files[0]), "copy everything, in force within a second"},
	} {
		d.say("  # %s\n  %s", line[1], line[0])
	}
	d.say("\nWhat the workloads see is shown here. Ctrl-C ends both meshes.\n")
	lines, ended := d.seen.follow(), d.b.ended
	for {
		select {
		case line := <-lines:
			d.say("%s", line)
		case <-ended:
			d.say("mesh B has ended; mesh A goes on")
			ended = nil
		case <-ctx.Done():
			d.say("")
			return
		}
	}
}

var errInterrupted = errors.New("interrupted before the end of the traffic")
