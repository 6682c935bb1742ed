// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// fault is a way to be an outlier.
type fault uint8

const (
	fault5xx fault = iota
	faultGateway
	faultLocal
	faults
)

// Envoy's defaults for what an Outlier leaves out.
const (
	defaultSweep       = 10 * time.Second
	defaultMaxEjection = 300 * time.Second
)

// monitor is what outlier detection knows of a host, apart for production and copies: what a mirror answers keeps no
// request of production away from a host, even where both go to the same cluster.
type monitor struct {
	row     [faults]atomic.Uint32 // failures in a row; written by the workers
	due     atomic.Uint32         // faults whose row is long enough, as bits; not 0 while it is among the suspects
	ejected atomic.Bool
	next    *monitor // in the stack of suspects

	// Immutable.
	host  *Host
	class loop.Class

	// Guarded by the directory's mu.
	at       time.Time // of the ejection
	returned time.Time
	times    uint32 // how many base times the next ejection lasts, less one
}

// Report tells what became of an attempt at h; outlier detection goes by it. It is a nil check without outlier
// detection, and writes nothing for a success after a success.
func (c *Cluster) Report(_ *loop.Worker, h *Host, r Result) {
	if o := c.cfg.Load().Outlier; o != nil {
		c.judge(o, &h.monitor[r.Class], r)
	}
}

func (c *Cluster) judge(o *Outlier, m *monitor, r Result) {
	status := r.Status
	switch {
	case status != 0:
		if o.SplitLocal {
			m.clear(faultLocal)
		}
	case !r.Local:
		return
	case o.SplitLocal:
		if r.Connected {
			m.clear(faultLocal)
		}
		c.failed(m, faultLocal, o.ConsecutiveLocal)
		return
	default:
		status = 503
	}
	if status < 500 || status > 599 {
		m.clear(fault5xx)
		m.clear(faultGateway)
		return
	}
	if status >= 502 && status <= 504 {
		c.failed(m, faultGateway, o.ConsecutiveGateway)
	} else {
		m.clear(faultGateway)
	}
	c.failed(m, fault5xx, o.Consecutive5xx)
}

func (m *monitor) clear(f fault) {
	if m.row[f].Load() != 0 {
		m.row[f].Store(0)
	}
}

// failed counts a failure, and calls attend when there are enough: the loop itself ejects nobody.
func (c *Cluster) failed(m *monitor, f fault, enough uint32) {
	if n := m.row[f].Add(1); n < enough || enough == 0 || m.ejected.Load() {
		return
	}
	if m.due.Or(1<<f) != 0 {
		return // it is among the suspects already
	}
	for {
		m.next = c.suspects.Load()
		if c.suspects.CompareAndSwap(m.next, m) {
			break
		}
	}
	if c.alarm.CompareAndSwap(false, true) {
		go c.dir.attend(c)
	}
}

// attend ejects suspects.
func (d *Directory) attend(c *Cluster) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.alarm.Store(false) // who comes from now on wants another look
	cfg := c.cfg.Load()
	now := time.Now()
	changed := false
	// An OriginalDst cluster has nobody to turn to instead.
	judged := cfg.Outlier != nil && cfg.Discovery != OriginalDst && !d.closed
	for m := c.suspects.Swap(nil); m != nil; {
		next := m.next // it may be pushed again as soon as it is not due
		due := m.due.Swap(0)
		if judged && !m.host.gone.Load() && d.trial(c, cfg.Outlier, m, due, now) {
			changed = true
		}
		m = next
	}
	if changed {
		d.rebuild(c, now)
	}
}

// What is counted of each fault.
var (
	detected = [faults]int{EjectionsDetected5xx, EjectionsDetectedGateway, EjectionsDetectedLocal}
	enforced = [faults]int{EjectionsEnforced5xx, EjectionsEnforcedGateway, EjectionsEnforcedLocal}
)

// faultNames are what the log calls them.
var faultNames = [faults]string{"5xx", "gateway failure", "local origin failure"}

// trial decides on a host with faults and reports whether it is ejected.
func (d *Directory) trial(c *Cluster, o *Outlier, m *monitor, due uint32, now time.Time) bool {
	class := m.class
	shares := [faults]uint32{o.Enforce5xx, o.EnforceGateway, o.EnforceLocal}
	for _, f := range [...]fault{faultGateway, fault5xx, faultLocal} { // in Envoy's order
		if due>>f&1 == 0 || m.ejected.Load() {
			continue
		}
		m.row[f].Store(0)
		d.count(c, detected[f], 1)
		share := 100 * float64(c.ejected[class]+1) / float64(len(c.members))
		if share > float64(min(o.MaxEjectionPercent, 100)) && (!o.AlwaysEjectOne || c.ejected[class] > 0) {
			d.count(c, EjectionsOverflow, 1)
			continue
		}
		if rand.Uint32N(100) >= shares[f] {
			continue
		}
		d.count(c, enforced[f], 1)
		d.count(c, EjectionsEnforcedTotal, 1)
		d.count(c, EjectionsActive, 1)
		c.ejected[class]++
		m.at = now
		if base := o.base(); time.Duration(m.times)*base < o.longest()+base {
			m.times++
		}
		m.ejected.Store(true)
		d.Logger.Debug("host ejected", "cluster", c.Name, "host", m.host.Name, "for", faultNames[f], "copies", class == loop.Copy, "times", m.times)
	}
	return m.ejected.Load()
}

func (o *Outlier) base() time.Duration { return max(o.BaseEjection, time.Millisecond) }

// longest bounds an ejection.
func (o *Outlier) longest() time.Duration {
	if o.MaxEjection > 0 {
		return o.MaxEjection
	}
	return max(defaultMaxEjection, o.BaseEjection)
}

func (o *Outlier) interval() time.Duration {
	if o.Interval > 0 {
		return o.Interval
	}
	return defaultSweep
}

// sweep lets hosts return whose time is over, and forgives those that have behaved. It reports whether one returned.
func (d *Directory) sweep(c *Cluster, o *Outlier, now time.Time) bool {
	changed := false
	for i := range c.members {
		for class := range c.ejected {
			m := &c.members[i].host.monitor[class]
			if m.ejected.Load() {
				if now.Sub(m.at) >= min(time.Duration(m.times)*o.base(), o.longest()) {
					d.restore(c, m, class, now)
					changed = true
				}
			} else if m.times > 0 && now.Sub(m.returned) >= o.interval() {
				m.times--
			}
		}
	}
	return changed
}

// restore ends an ejection.
func (d *Directory) restore(c *Cluster, m *monitor, class int, now time.Time) {
	for f := range m.row {
		m.row[f].Store(0)
	}
	m.returned = now
	m.ejected.Store(false)
	d.Logger.Debug("ejected host returns", "cluster", c.Name, "host", m.host.Name, "copies", class == int(loop.Copy))
	c.ejected[class]--
	d.count(c, EjectionsActive, -1)
}

// pardon ends all ejections: outlier detection is off.
func (d *Directory) pardon(c *Cluster) {
	for i := range c.members {
		for class := range c.ejected {
			if m := &c.members[i].host.monitor[class]; m.ejected.Load() {
				d.restore(c, m, class, time.Now())
				m.times = 0
			}
		}
	}
}

// leaves takes a host's ejections out of the account.
func (c *Cluster) leaves(h *Host) {
	for class := range c.ejected {
		if h.monitor[class].ejected.Load() {
			c.ejected[class]--
			c.dir.count(c, EjectionsActive, -1)
		}
	}
}

// sweeping reports whether a sweep has something to do.
func (c *Cluster) sweeping() bool {
	if c.ejected != [2]int{} {
		return true
	}
	for i := range c.members {
		for class := range c.ejected {
			if c.members[i].host.monitor[class].times > 0 {
				return true
			}
		}
	}
	return false
}
