// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// arm has tend called when the cluster wants it next, if it does. The caller holds mu.
func (d *Directory) arm(c *Cluster, cfg *Config, now time.Time) {
	var next time.Duration
	if o := cfg.Outlier; o != nil && c.sweeping() {
		if c.sweep.IsZero() { // they keep to their beat, as if they had gone on all the time
			every := o.interval()
			c.sweep = now.Add(every - now.Sub(c.born)%every)
		}
		next = max(c.sweep.Sub(now), 1)
	}
	if c.warming(cfg, now) {
		if step := cfg.warmStep(); next == 0 || step < next {
			next = step
		}
	}
	switch {
	case d.closed:
	case next > 0 && c.timer == nil:
		c.timer = time.AfterFunc(next, func() { d.tend(c) })
	case next > 0:
		c.timer.Reset(next)
	case c.timer != nil:
		c.timer.Stop()
	}
}

// tend does what time brings to a cluster.
func (d *Directory) tend(c *Cluster) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.inForce[c.Name]; d.closed || s == nil || s.Cluster() != c {
		return
	}
	now := time.Now()
	cfg := c.cfg.Load()
	changed := cfg.warms()
	if o := cfg.Outlier; o != nil && !c.sweep.IsZero() && !now.Before(c.sweep) {
		c.sweep = time.Time{}
		changed = d.sweep(c, o, now) || changed
	}
	if changed {
		d.rebuild(c, now)
	} else {
		d.arm(c, cfg, now)
	}
}

// counted is the membership as the metrics show it.
type counted struct{ total, healthy, changes int64 }

// show brings the membership's metrics up to date: changes holds those not told yet. The caller holds mu.
func (d *Directory) show(c *Cluster) {
	is := counted{total: int64(len(c.members))}
	for i := range c.members {
		if c.members[i].well(loop.Production) {
			is.healthy++
		}
	}
	add := counted{is.total - c.shown.total, is.healthy - c.shown.healthy, c.shown.changes}
	c.shown = is
	if add == (counted{}) || len(d.workers) == 0 {
		return
	}
	d.workers[0].Post(func() {
		b := c.cells[0].stats
		b.Add(MembershipTotal, add.total)
		b.Add(MembershipHealthy, add.healthy)
		b.Add(MembershipChange, add.changes)
	})
}

// count adds to a metric from outside the loops: a block is its worker's alone.
func (d *Directory) count(c *Cluster, metric int, n int64) {
	if n != 0 && len(d.workers) > 0 {
		d.workers[0].Post(func() { c.cells[0].stats.Add(metric, n) })
	}
}
