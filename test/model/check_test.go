// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// This file is what must hold.

// loud is a log whose errors are failures: mirror code has panicked.
type loud struct {
	slog.Handler
	m *model
}

func (*loud) Enabled(context.Context, slog.Level) bool { return true }

func (l *loud) Handle(_ context.Context, r slog.Record) error {
	if r.Level < slog.LevelError {
		return nil
	}
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	l.m.fail("log: %s", text)
	return nil
}

// checkAttempt: no request reaches upstreams more often than once, its retries, and once more where an idle connection
// proved dead.
func (m *model) checkAttempt(p *plan, a *attempt, q *message) {
	most := 1 + m.retries
	if p.method != "POST" {
		most++
	}
	m.checkOrder(p)
	if a.nth >= most {
		m.fail("%s: attempt %d at %s, of at most %d", p.id, a.nth+1, a.origin.name, most)
	}
	if p.good && a.nth > 0 {
		m.fail("%s was well, and sent again to %s", p.id, a.origin.name)
	}
	if !p.began {
		m.fail("%s reached %s before it was sent", p.id, a.origin.name)
	}
	switch asked := q.field("Upgrade"); {
	case asked != "" && !p.upgrade:
		m.fail("%s: %s was asked for another protocol: %q", p.id, a.origin.name, q.fields)
	case asked == "" && p.upgrade:
		m.fail("%s: %s was not asked for the other protocol", p.id, a.origin.name)
	case asked != "":
		p.upgraded = true
	}
	if q.field("X-Envoy-Internal") == "true" || q.field("X-Umbra-Mirror-Hops") != "" {
		m.fail("%s: a copy's fields at %s: %q", p.id, a.origin.name, q.fields)
	}
}

// checkCopy: a copy is sent once, for a request that production has taken, with its head as first sent but for the
// documented changes.
func (m *model) checkCopy(p *plan, a *attempt, q *message) {
	if a.nth > 0 {
		m.fail("%s was copied twice to %s", p.id, a.origin.name)
	}
	if !m.mirrored {
		m.fail("a copy of %s, without mirrors", p.id)
	}
	if p.upgrade || q.field("Upgrade") != "" {
		m.fail("a copy of %s, which asks for another protocol", p.id)
	}
	switch p.path {
	case "/dead", "/none", "/direct", "/nowhere", "/malformed":
		m.fail("%s reached no upstream, but %s", p.id, a.origin.name)
	}
	if got := q.field("Host"); got != "shop.example-shadow" {
		m.fail("%s: the copy's Host is %q", p.id, got)
	}
	if got := q.field("X-Umbra-Mirror-Hops"); got != "1" {
		m.fail("%s: the copy's hops are %q", p.id, got)
	}
	if got := q.field("X-Envoy-Attempt-Count"); got != "1" {
		m.fail("%s: the copy's attempt count is %q", p.id, got)
	}
	if q.field("Expect") != "" {
		m.fail("%s: the copy has Expect", p.id)
	}
	if p.head == nil {
		return
	}
	same := []string{"X-Request-Id", "Content-Length", "Transfer-Encoding", "X-Envoy-External-Address", "X-Forwarded-Proto"}
	for _, name := range same {
		find := func(fields []string) (v string) {
			for _, f := range fields {
				if n, value, _ := strings.Cut(f, ": "); strings.EqualFold(n, name) {
					v = value
				}
			}
			return v
		}
		if a, b := find(p.head), find(q.fields); a != b {
			m.fail("%s: %s is %q at production and %q at the mirror", p.id, name, a, b)
		}
	}
}

// checkAnswer finds what the answer's body must be; it is called with the head.
func (m *model) checkAnswer(p *plan) (key uint64) {
	if p.up == "" {
		if !slices.Contains([]int{200, 400, 404, 408, 418, 502, 503, 504}, p.status) ||
			p.status == 200 && p.path != "/direct" || p.status == 418 && p.path != "/fault" {
			m.fail("%s: a local answer of status %d", p.id, p.status)
		}
		return 0
	}
	a := m.attemptOf(p)
	if a == nil {
		m.fail("%s got an answer that is not its own: %q", p.id, p.up)
		return 0
	}
	if a.status != p.status {
		m.fail("%s: status %d became %d", p.id, a.status, p.status)
	}
	return a.key
}

func (m *model) attemptOf(p *plan) *attempt {
	for _, a := range p.attempts {
		if p.up == fmt.Sprintf("%s %s %d", a.origin.name, p.id, a.nth) && !a.copy {
			return a
		}
	}
	return nil
}

// checkWhole: an answer that seems whole is.
func (m *model) checkWhole(p *plan) {
	m.finished(p)
	m.court.checkUnanswered(p)
	if p.up == "" {
		if p.good && !m.excused(p) {
			m.fail("%s should have been answered by its upstream: %s", p.id, p.fate())
		}
		return
	}
	a := m.attemptOf(p)
	if a == nil {
		return
	}
	want := a.size
	if p.method == "HEAD" {
		want = 0
	}
	if p.got != want || p.wrong {
		m.fail("%s: %d bytes of answer that seem whole, of %d, or other ones", p.id, p.got, want)
	}
}

// finished: what is well goes well, in time.
func (m *model) finished(p *plan) {
	if p.good && !m.ending && p.up != "" && p.status != 200 {
		m.fail("%s: status %d", p.id, p.status)
	}
}

// checkAccounts holds at the end of every turn.
func (m *model) checkAccounts() {
	if m.server == nil || m.failed {
		return
	}
	for _, s := range m.counters {
		c := s.Counts()
		sum := c.Delivered + c.Live
		for _, n := range c.Dropped {
			sum += n
		}
		if c.Selected != sum || c.Live < 0 || c.Sent < c.Delivered || c.Selected+c.Skipped > c.Eligible {
			m.fail("accounts of %s do not add up: %+v", s.Cluster, c)
		}
	}
	held, limit := m.engine.Held(), m.engine.MemoryLimit()
	if held < 0 || len(m.workers) == 1 && held > limit {
		m.fail("copies hold %d of at most %d bytes", held, limit)
	}
}

// checkDrained: a drained worker's copies have ended.
func (m *model) checkDrained() {
	if m.left < 0 {
		m.fail("a worker drained twice")
	}
	if m.left > 0 {
		return
	}
	m.sim.After(0, func() { // the turn has published
		for _, s := range m.counters {
			if n := s.Counts().Live; n != 0 {
				m.fail("drained with %d copies to %s alive", n, s.Cluster)
			}
		}
	})
}

// checkEnd holds when nothing is under way any more.
func (m *model) checkEnd() {
	for _, left := range m.sim.Left() {
		m.fail("left behind: %s", left)
	}
	if held := m.engine.Held(); held != 0 {
		m.fail("copies still hold %d bytes", held)
	}
	if m.drained && m.left != 0 {
		m.fail("%d workers never drained", m.left)
	}
	m.checkGauges()
	m.checkTunnels()
	m.checkListener()
	m.court.checkReturned()
	for i, t := range m.targets {
		c := m.counters[i].Counts()
		if n := t.InFlight(); n != 0 || c.Live != 0 {
			m.fail("%s: %d places taken, %d copies live in the end", t.Name(), n, c.Live)
		}
		m.checkDelivered(i)
	}
	for _, c := range m.clients {
		if !c.over && c.reads < 0 {
			m.fail("%s never ended", c.name)
		}
	}
}

// checkListener: it has no connection left, and tells when it is retired.
func (m *model) checkListener() {
	if n := m.listener.Conns.Load(); n != 0 {
		m.fail("the listener has %d connections in the end", n)
	}
	ended := false
	select {
	case <-m.listener.Ended():
		ended = true
	default:
	}
	if ended != m.retired {
		m.fail("the listener has ended: %v, was retired: %v", ended, m.retired)
	}
}

// checkGauges: what is counted as under way is nothing.
func (m *model) checkGauges() {
	metrics := make(chan prometheus.Metric)
	go func() {
		defer close(metrics)
		m.registry.Collect(metrics)
	}()
	for metric := range metrics {
		var out dto.Metric
		name := metric.Desc().String()
		if err := metric.Write(&out); err != nil {
			m.fail("%s: %v", name, err)
		} else if strings.Contains(name, "upstream_cx_overflow") {
			m.waited += int64(out.GetCounter().GetValue())
		} else if g := out.GetGauge(); g != nil && !strings.Contains(name, "membership") && g.GetValue() != 0 {
			m.fail("%v in the end of %s", g.GetValue(), name)
		}
	}
	for _, c := range m.clusters.Clusters() {
		for _, h := range c.Hosts() {
			if n := h.Active(); n != 0 {
				m.fail("host %s: %d active", h.Name, n)
			}
		}
	}
}

// checkDelivered: no copy counts as delivered that the mirror has not got whole and answered; and where all is well, all
// are.
func (m *model) checkDelivered(i int) {
	c := m.counters[i].Counts()
	var whole, due int64
	for _, p := range m.order {
		reached := false
		for _, a := range p.attempts {
			if a.copy && a.whole && a.final && strings.HasPrefix(a.origin.name, m.mirrors[i]+"-") {
				whole++
			}
			reached = reached || !a.copy && !p.upgrade
		}
		if reached {
			due++
		}
	}
	if c.Delivered > whole {
		m.fail("%s: %d copies counted as delivered, %d were", m.mirrors[i], c.Delivered, whole)
	}
	rude := slices.ContainsFunc(m.clients, func(c *client) bool { return c.rude })
	if m.calm && m.mirrored && !m.ending && !rude && c.Delivered != due {
		m.fail("%s: %d copies delivered of %d, all was well: %+v", m.mirrors[i], c.Delivered, due, c)
	}
}
