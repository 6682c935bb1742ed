// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/umbra-mesh/umbra/internal/admin"
	"github.com/umbra-mesh/umbra/test/faulty"
)

// order is how the faults follow each other. Those that take memory for a while must not tilt the line that is laid
// through the last three quarters: they come in the first one, and then as long before the middle of the rest as after.
func (r *run) order() []string {
	names, others := r.faults()
	names = append(names, others...)
	back := slices.Clone(names)
	slices.Reverse(back)
	return slices.Concat(names[:2*len(names)/3], back, names)
}

// turns lets the faults befall the mirror, and production change its manners.
func (r *run) turns(ctx context.Context, o options, rate float64) error {
	order := r.order()
	every := o.every
	if every == 0 {
		every = max(o.span/time.Duration(len(order)), shortestTurn)
	}
	r.began = time.Now()
	var load account
	if err := r.load.tell(fmt.Sprintf("run %s %f", r.umbra.addr, rate), &load); err != nil {
		return err
	}
	for n := 0; time.Since(r.began) < o.span; n++ {
		if err := r.turn(ctx, order[n%len(order)], manners[n%len(manners)], every); err != nil {
			return err
		}
	}
	return nil
}

// turn is one fault and one manner, then health.
func (r *run) turn(ctx context.Context, fault, manner string, span time.Duration) error {
	began := time.Now()
	was, err := r.snapshot()
	if err != nil {
		return err
	}
	var before, after account
	var f far
	if err := errors.Join(
		r.load.tell("count", &before), r.production.tell(manner, &f), r.mirror.tell(r.prod+"|"+fault, &f),
	); err != nil {
		return err
	}
	if err := r.observe(ctx, began.Add(span-span/well)); err != nil {
		return err
	}
	if err := r.mirror.tell(r.prod+"|"+faulty.Healthy.Name, &f); err != nil {
		return err
	}
	if err := r.recovers(ctx, fault); err != nil {
		return err
	}
	if err := r.observe(ctx, began.Add(span)); err != nil {
		return err
	}
	now, err := r.snapshot()
	if err != nil {
		return err
	}
	if err := r.load.tell("count", &after); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "%8s  %-28s %-18s %6d requests %d failed  RSS %3d MiB  delivered %d %s\n",
		time.Since(r.began).Round(time.Second), fault, manner, after.Sent-before.Sent, after.Failed-before.Failed,
		r.samples[len(r.samples)-1].bytes>>20, now.Delivered-was.Delivered, causes(was, now))
	if after.Failed > before.Failed {
		r.breaks("production failed while the mirror %s: %s", fault, strings.Join(after.Told, "; "))
	}
	return nil
}

// recovers waits for a copy that is delivered to a mirror that is well again.
func (r *run) recovers(ctx context.Context, fault string) error {
	from := time.Now()
	was, err := r.snapshot()
	for now := was; err == nil && now.Delivered == was.Delivered; now, err = r.snapshot() {
		if time.Since(from) > recovery {
			r.breaks("no copy was delivered within %s of the end of: %s", recovery, fault)
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return err
}

// observe takes a sample of memory each second, and looks at the account of copies, until then.
func (r *run) observe(ctx context.Context, then time.Time) error {
	for {
		bytes, err := resident(r.umbra.cmd.Process.Pid)
		if err != nil {
			return err
		}
		r.samples = append(r.samples, sample{time.Since(r.began), bytes})
		if _, err := r.snapshot(); err != nil {
			return err
		}
		left := time.Until(then)
		if left <= 0 {
			return nil
		}
		if err := pause(ctx, min(left, time.Second)); err != nil {
			return err
		}
	}
}

func causes(was, now admin.Mirror) string {
	var list []string
	for _, cause := range slices.Sorted(maps.Keys(now.Dropped)) {
		if n := now.Dropped[cause] - was.Dropped[cause]; n > 0 {
			list = append(list, fmt.Sprintf("%s %d", cause, n))
		}
	}
	return strings.Join(list, " ")
}
