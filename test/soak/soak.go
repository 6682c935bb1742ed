// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/umbra-mesh/umbra/internal/admin"
	"github.com/umbra-mesh/umbra/test/faulty"
)

const (
	shortestTurn = 4 * time.Second
	// well is the part of a turn at whose end the mirror is healthy, so that its return is seen.
	well      = 4
	recovery  = 5 * time.Second
	judgedRun = 20 * time.Minute
	// maxGrowth of resident memory, in bytes for 10 minutes.
	maxGrowth = 1 << 20
	settling  = 30 * time.Second
)

// run is one soak.
type run struct {
	out                      io.Writer
	umbra                    *umbra
	load, production, mirror *process
	prod                     string // production's address
	began                    time.Time
	samples                  []sample
	broken                   []string
}

func (r *run) breaks(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.broken = append(r.broken, text)
	fmt.Fprintln(r.out, "BROKEN:", text)
}

// soak returns the exit code.
func soak(ctx context.Context, o options, out io.Writer) (int, error) {
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left is in the system's folder for such
	if o.umbra == "" {
		o.umbra = filepath.Join(dir, "umbra")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.umbra, "./cmd/umbra")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return 0, fmt.Errorf("build umbra: %w", err)
		}
	}
	var children family
	defer children.kill()
	r := &run{out: out}
	if err := r.start(&children, o.umbra, dir); err != nil {
		return 0, err
	}
	rate, err := r.capacity(ctx, min(10*time.Second, o.span/10))
	if err != nil {
		return 0, err
	}
	if err := r.fill(ctx, min(shortestTurn, o.span/100)); err != nil {
		return 0, err
	}
	fmt.Fprintf(out, "it takes %.0f requests/s here; %.0f%% of it for %s\n", rate, 100*o.rate, o.span)
	if err := r.turns(ctx, o, rate*o.rate); err != nil {
		return 0, err
	}
	if err := r.end(o.span); err != nil {
		return 0, err
	}
	if len(r.broken) > 0 {
		fmt.Fprintf(out, "%d promises were broken\n", len(r.broken))
		return 1, nil
	}
	fmt.Fprintln(out, "every promise was kept")
	return 0, nil
}

func (r *run) start(children *family, binary, dir string) error {
	for name, p := range map[string]**process{"production": &r.production, "mirror": &r.mirror, "load": &r.load} {
		var err error
		if *p, err = children.add(startRole(name)); err != nil {
			return err
		}
	}
	var a, b far
	if err := errors.Join(r.production.tell("", &a), r.mirror.tell("", &b)); err != nil {
		return err
	}
	u, err := startUmbra(binary, dir, a.Addr, b.Addr)
	if u != nil {
		_, _ = children.add(u.process, nil) // nothing can fail
	}
	r.umbra, r.prod = u, a.Addr
	return err
}

// capacity measures how many requests a second all of this takes, with everything well.
func (r *run) capacity(ctx context.Context, span time.Duration) (float64, error) {
	var was, now account
	if err := r.load.tell("run "+r.umbra.addr+" 0", &was); err != nil {
		return 0, err
	}
	from := time.Now()
	if err := pause(ctx, span); err != nil {
		return 0, err
	}
	took := time.Since(from)
	if err := r.load.tell("stop", &now); err != nil {
		return 0, err
	}
	if now.Failed > 0 || now.Sent == was.Sent {
		return 0, fmt.Errorf("nothing is ill yet, and of %d requests %d failed: %v", now.Sent, now.Failed, now.Told)
	}
	return float64(now.Sent-was.Sent) / took.Seconds(), nil
}

// faults are the names of all faults; those that have copies wait, or much read, take memory.
func (r *run) faults() (taking, others []string) {
	for _, f := range faulty.Faults(r.prod) {
		if f.Hangs || slices.Contains(f.Causes, "timeout") {
			taking = append(taking, f.Name)
		} else {
			others = append(others, f.Name)
		}
	}
	return taking, others
}

// fill has the memory taken that is kept for use again, by the faults that take some and as many requests as it takes,
// so that what grows later is no such memory.
func (r *run) fill(ctx context.Context, turn time.Duration) error {
	var load account
	var f far
	if err := r.load.tell("run "+r.umbra.addr+" 0", &load); err != nil {
		return err
	}
	taking, _ := r.faults()
	for _, name := range append(taking, faulty.Healthy.Name) {
		if err := r.mirror.tell(r.prod+"|"+name, &f); err != nil {
			return err
		}
		if err := pause(ctx, turn); err != nil {
			return err
		}
	}
	return r.load.tell("stop", &load)
}

// snapshot is /mirrors; an account that does not balance is noted.
func (r *run) snapshot() (admin.Mirror, error) {
	m, err := r.umbra.mirror()
	if v := (*violation)(nil); errors.As(err, &v) {
		r.breaks("%s", v.text)
		err = nil
	}
	return m, err
}

// pause waits, unless the soak is to end.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errors.New("interrupted")
	}
}
