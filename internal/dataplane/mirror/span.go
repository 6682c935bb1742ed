// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
)

// startSpan makes the copy's span a child of production's, sampled as the policy says.
func (c *Copy) startSpan() {
	if c.local.engine.cfg.Tracer != nil {
		c.span = c.tap.span.Child(c.policy.Sampled, c.local.w.Rand())
	}
}

// endSpan hands the span of a copy over that was begun, if it is sampled.
func (c *Copy) endSpan() {
	l := c.local
	tr := l.engine.cfg.Tracer
	if tr == nil || !c.span.Sampled {
		return
	}
	s := tr.Open(l.w.Index)
	if s == nil {
		return
	}
	s.Context, s.Parent, s.Kind = c.span, c.tap.span.Span, trace.Client
	s.End = l.w.Wall()
	s.Start = s.End.Add(-c.elapsed)
	s.Status, s.Tries = c.status, 1
	s.Failed = c.outcome != delivered || c.status >= 500
	trace.Set(s, trace.Name, "mirror")
	trace.Set(s, trace.RequestID, c.tap.reqID[:c.tap.reqIDLen])
	trace.Set(s, trace.Cluster, c.clusterName())
	if c.to != nil {
		trace.Set(s, trace.Upstream, c.to.Name)
	}
	trace.Set(s, trace.Mirror, c.policy.Stats.ID)
	trace.Set(s, trace.Outcome, c.outcome.String())
	tr.Commit(l.w.Index)
}
