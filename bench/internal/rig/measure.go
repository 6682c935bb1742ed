// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/load"
	"github.com/umbra-mesh/umbra/bench/internal/process"
	"github.com/umbra-mesh/umbra/bench/internal/upstream"
)

// minShare is the part of the requests that must arrive as copies: below it a proxy was cheap by not doing its work.
const minShare = 0.999

// sample is one run of one case through one proxy.
type sample struct {
	CPU      time.Duration // of the proxy's processes for one request, copies included
	Rate     float64       // requests a second
	P50, P99 time.Duration
	RSS      int64   // bytes, of the proxy's processes after the run
	Share    float64 // whole copies that B counted, of the requests that A counted; mirrored cases only
	Faults   []string
}

// run measures one case through one proxy. The proxy's CPU time is read when every answer and copy of the warm-up has
// arrived, and again when every answer and copy of the run has: what is still under way would be work not charged.
func (b *bench) run(ctx context.Context, c Case, p *proxy) (sample, error) {
	b.runs++
	path, warm := fmt.Sprintf("/run/%d", b.runs), fmt.Sprintf("/warm/%d", b.runs)
	before, err := b.seen(ctx, warm, false)
	if err != nil {
		return sample{}, err
	}

	l, err := b.startLoad(c, p, path, warm)
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = l.Stop() }() // of one that an error left running
	stop := context.AfterFunc(ctx, func() { _ = l.Child.Stop() })
	defer stop()

	if _, err := l.Line(); err != nil {
		return sample{}, b.failed(ctx, l.Child, p)
	}
	if _, err := b.seen(ctx, warm, c.Mirror); err != nil {
		return sample{}, err
	}
	begin, err := process.Measure(p.child.PID())
	if err != nil {
		return sample{}, err
	}
	if err := l.Say("go"); err != nil {
		return sample{}, b.failed(ctx, l.Child, p)
	}
	said, err := l.Line()
	if err != nil {
		return sample{}, b.failed(ctx, l.Child, p)
	}
	var r load.Result
	if err := json.Unmarshal([]byte(said), &r); err != nil {
		return sample{}, fmt.Errorf("the load said %q: %w", said, err)
	}
	after, err := b.seen(ctx, path, c.Mirror)
	if err != nil {
		return sample{}, err
	}
	end, err := process.Measure(p.child.PID())
	if err != nil {
		return sample{}, err
	}
	if err := l.Wait(); err != nil {
		return sample{}, err
	}
	if r.Requests == 0 {
		return sample{}, fmt.Errorf("%s through %s: no request was answered: %v", c.Name, p.name, r.Told)
	}

	s := sample{
		CPU:  (end.CPU - begin.CPU) / time.Duration(r.Requests),
		Rate: float64(r.Requests) / r.Took.Seconds(),
		P50:  r.P50, P99: r.P99,
		RSS: end.Bytes,
	}
	s.check(c, path, r, before, after)
	if len(s.Faults) > 0 {
		b.explain(ctx, p)
	}
	return s, nil
}

func (b *bench) startLoad(c Case, p *proxy, path, warm string) (*process.Piped, error) {
	return process.StartPiped("load", process.Quiet, b.self, "load", p.addr.String(), path, warm,
		fmt.Sprint(c.Connections), fmt.Sprint(c.Body), b.cfg.Warm.String(), b.cfg.Span.String())
}

// both is what the two upstreams saw.
type both struct{ a, b upstream.Counts }

// seen asks A, and B too once every copy of that path has arrived or no more come.
func (b *bench) seen(ctx context.Context, path string, copies bool) (both, error) {
	var s both
	var err error
	if s.a, err = countsOf(ctx, b.a.addr); err != nil {
		return s, err
	}
	want := int64(0)
	if copies {
		want = s.a.Paths[path].Requests
	}
	s.b, err = settle(ctx, b.b.addr, path, want)
	return s, err
}

// check finds what makes a run worthless as a figure.
func (s *sample) check(c Case, path string, r load.Result, before, after both) {
	fault := func(format string, args ...any) { s.Faults = append(s.Faults, fmt.Sprintf(format, args...)) }
	a, b := after.a.Paths[path], after.b.Paths[path]
	if r.Failed > 0 {
		fault("%d requests failed: %v", r.Failed, r.Told)
	}
	if a.Requests != r.Requests {
		fault("A saw %d requests, the client has %d answers", a.Requests, r.Requests)
	}
	if a.Bytes != a.Requests*int64(c.Body) {
		fault("A read %d body bytes of %d requests", a.Bytes, a.Requests)
	}
	if n := after.a.Broken - before.a.Broken; n > 0 {
		fault("A saw %d broken connections", n)
	}
	if !c.Mirror {
		if b.Requests > 0 {
			fault("B saw %d requests without a mirror", b.Requests)
		}
		return
	}
	s.Share = float64(b.Requests) / float64(max(a.Requests, 1))
	if s.Share < minShare || b.Requests > a.Requests {
		fault("share of copies %.4f", s.Share)
	}
	if b.Shadow != b.Requests {
		fault("B saw %d of %d copies with a -shadow host", b.Shadow, b.Requests)
	}
	if b.Bytes != b.Requests*int64(c.Body) {
		fault("B read %d body bytes of %d copies", b.Bytes, b.Requests)
	}
}

// failed says why a load did not come to its end.
func (b *bench) failed(ctx context.Context, l *process.Child, p *proxy) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := p.child.Ended(); err != nil {
		return err
	}
	if err := l.Wait(); err != nil {
		return fmt.Errorf("through %s: %w", p.name, err)
	}
	return fmt.Errorf("through %s: the load ended without a result", p.name)
}

// explain prints what an Umbra says about its copies.
func (b *bench) explain(ctx context.Context, p *proxy) {
	if !p.admin.IsValid() {
		return
	}
	if said, err := process.Get(ctx, p.admin, "/mirrors"); err == nil {
		fmt.Fprintf(os.Stderr, "umbra /mirrors: %s\n", said)
	}
}
