// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/umbra-mesh/umbra/internal/admin"
)

// end stops the load, settles the accounts and lets umbra drain.
func (r *run) end(span time.Duration) error {
	var load account
	var a, b far
	if err := r.load.tell("stop", &load); err != nil {
		return err
	}
	m, err := r.snapshot()
	for deadline := time.Now().Add(settling); err == nil && m.InFlight > 0; m, err = r.snapshot() {
		if time.Now().After(deadline) {
			r.breaks("%d copies are live %s after the last request", m.InFlight, settling)
			break
		}
		if err := pause(context.Background(), 100*time.Millisecond); err != nil {
			return err
		}
	}
	if err := errors.Join(err, r.production.tell("", &a), r.mirror.tell("", &b)); err != nil {
		return err
	}
	r.judge(span, m, load, a, b)
	if freed, err := r.umbra.freed(); err != nil || !freed {
		r.breaks("copies hold memory at the end (%v)", err)
	}
	if err := r.umbra.end(func() error { return r.umbra.cmd.Process.Signal(syscall.SIGTERM) }); err != nil {
		r.breaks("umbra did not end well: %v", err)
	}
	return nil
}

func (r *run) judge(span time.Duration, m admin.Mirror, load account, a, b far) {
	fmt.Fprintf(r.out, "%d requests, %d failed; copies: %d selected, %d delivered, dropped %v\n",
		load.Sent, load.Failed, m.Selected, m.Delivered, m.Dropped)
	if load.Failed > 0 {
		r.breaks("%d of %d requests failed: %s", load.Failed, load.Sent, strings.Join(load.Told, "; "))
	}
	if m.Selected != load.Sent {
		r.breaks("%d copies selected for %d requests", m.Selected, load.Sent)
	}
	if a.Served != load.Sent+a.Refused || a.Strange > 0 {
		r.breaks("production saw %d requests for %d and %d retries, %d strange ones", a.Served, load.Sent, a.Refused, a.Strange)
	}
	if b.Served > m.Selected || b.Strange > 0 {
		r.breaks("the mirror saw %d whole requests, %d strange ones, for %d copies", b.Served, b.Strange, m.Selected)
	}
	grown := slope(after(r.samples, span/4)) * 600
	most := slices.MaxFunc(r.samples, func(a, b sample) int { return cmp.Compare(a.bytes, b.bytes) })
	fmt.Fprintf(r.out, "resident memory: %d MiB at first, %d MiB at most, after the first quarter %+.2f MiB in 10 minutes\n",
		r.samples[0].bytes>>20, most.bytes>>20, grown/(1<<20))
	if span >= judgedRun && grown > maxGrowth {
		r.breaks("resident memory grows by %.2f MiB in 10 minutes", grown/(1<<20))
	}
}
