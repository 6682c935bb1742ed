// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"encoding/hex"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
)

// startSpan begins the request's span, if there is a tracer.
func (s *Stream) startSpan() {
	if t := s.wk.server.tracer; t != nil {
		w := s.wk.w
		s.span, s.parent = t.Begin(&s.head, [3]uint64{w.Rand(), w.Rand(), w.Rand()})
	}
}

// writeSpan makes the upstream's spans children of ours, and tells it the operation's name.
func (s *Stream) writeSpan() {
	t := s.wk.server.tracer
	if t == nil {
		return
	}
	h := &s.head
	if op := s.action.Operation; op != "" {
		at := len(h.Buf)
		h.Buf = append(h.Buf, op...)
		h.Set(codec.EnvoyDecorator, h.Buf[at:len(h.Buf):len(h.Buf)])
	}
	trace.Write(h, t.Formats(), &s.span, s.parent.Valid())
}

// renameSpan takes the name that the upstream gives the operation; the field is for us alone.
func (s *Stream) renameSpan(h *codec.Head) {
	if s.wk.server.tracer == nil {
		return
	}
	if v := h.Get(codec.EnvoyDecorator); v != nil {
		s.spanName = s.head.Store(v)
		h.Del(codec.EnvoyDecorator)
	}
}

// endSpan hands the request's span over, if it is sampled.
func (s *Stream) endSpan(took time.Duration) {
	t := s.wk.server.tracer
	if t == nil || !s.span.Sampled {
		return
	}
	w, h := s.wk.w, &s.head
	p := t.Open(w.Index)
	if p == nil {
		return
	}
	p.Context, p.Parent, p.Kind = s.span, s.parent.Span, trace.Server
	p.End = w.Wall()
	p.Start = p.End.Add(-took)
	p.Status, p.Tries, p.BytesIn, p.BytesOut = s.status, s.attempts, s.bytesIn, s.bytesOut
	p.Failed = s.status == 0 || s.status >= 500
	switch { // Envoy: the decorator's operation, or "egress" and the host
	case s.spanName != nil:
		trace.Set(p, trace.Name, s.spanName)
	case s.action != nil && s.action.Operation != "":
		trace.Set(p, trace.Name, s.action.Operation)
	default:
		s.wk.logBuf = append(append(s.wk.logBuf[:0], "egress "...), h.Authority...)
		trace.Set(p, trace.Name, s.wk.logBuf)
	}
	trace.Set(p, trace.Method, h.Method)
	trace.Set(p, trace.Target, h.Target)
	trace.Set(p, trace.Authority, h.Authority)
	trace.Set(p, trace.RequestID, h.Get(codec.RequestID))
	trace.Set(p, trace.UserAgent, h.Get(codec.UserAgent))
	s.wk.logBuf = s.d.peer.AppendTo(s.wk.logBuf[:0])
	trace.Set(p, trace.Peer, s.wk.logBuf)
	if s.action != nil {
		trace.Set(p, trace.RouteName, s.action.Name)
	}
	if s.cluster != nil {
		trace.Set(p, trace.Cluster, s.cluster.Name)
	}
	if s.host != nil {
		trace.Set(p, trace.Upstream, s.host.Name)
	}
	trace.Set(p, trace.Flags, s.flags())
	t.Commit(w.Index)
}

// traceID is the trace's id as text.
func (s *Stream) traceID() []byte {
	var text [32]byte
	hex.Encode(text[:], s.span.Trace[:])
	return s.head.Store(text[:])
}
