// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// pickCluster chooses the cluster, false if there is none. The request keeps it, should it go from the configuration.
func (s *Stream) pickCluster() bool {
	a := s.action
	var slot *upstream.Slot
	if a.ClusterHeader == "" {
		s.weighted = a.pick(s.draw[1])
		slot = s.weighted.Slot
	} else if name, _ := filter.View(&s.head).Lookup(a.ClusterHeader); len(name) > 0 {
		slot = a.Named(name)
	}
	if slot == nil {
		return false
	}
	s.cluster = slot.Cluster()
	return s.cluster != nil
}

// pick chooses the cluster of one request.
func (a *Action) pick(draw uint64) *Weighted {
	if len(a.Clusters) == 1 || a.TotalWeight == 0 {
		return &a.Clusters[0]
	}
	at := draw % a.TotalWeight
	for i := range a.Clusters {
		if at < a.Clusters[i].Weight {
			return &a.Clusters[i]
		}
		at -= a.Clusters[i].Weight
	}
	return &a.Clusters[0]
}

// shape makes the client's request what the upstream gets, in Envoy's order: the attempt's fields can be changed by the
// route's; the weighted cluster's operations come before the route's, and these before the rewrites; the hash is of
// what came of it (Router::Filter::decodeHeaders, WeightedClusterEntry::finalizeRequestHeaders).
func (s *Stream) shape() {
	a, h := s.action, &s.head
	s.setTimes()
	s.writeAttempt(1)
	if w := s.weighted; w != nil {
		w.Request.Request(h, s.valuesFor(w.Request))
		if w.Host != "" { // plainly: only the route's rewrite tells what was there before
			at := len(h.Buf)
			h.Buf = append(h.Buf, w.Host...)
			h.Authority = h.Buf[at:len(h.Buf):len(h.Buf)]
		}
	}
	a.Request.Request(h, s.valuesFor(a.Request))
	a.Rewrite.Apply(h)
	if len(a.Hash) > 0 {
		s.choice.Hash, s.choice.Hashed, s.cookies = filter.Hash(a.Hash, h, s.remote(), s.d.peer, s.d.local)
	}
	s.writeSpan()
	if r := a.Retry; r != nil && (len(r.RequestHeaders) == 0 || anyMatches(r.RequestHeaders, h)) {
		s.retryOn = r.On
	}
	s.startTimeout()
}

// arm lets the mirrors choose: the cluster's, or those of the action. What they copy is the request as it is now.
func (s *Stream) arm() {
	policies := s.action.Mirrors
	if own, ok := s.cluster.Config().Mirrors.([]mirror.Policy); ok && len(own) > 0 {
		policies = own
	}
	if len(policies) == 0 {
		return
	}
	s.tap = s.wk.mirror.Arm(policies, &mirror.Request{
		Draw: s.draw[0], Head: &s.head, Timeout: s.times.all, Hash: s.choice.Hash, Hashed: s.choice.Hashed, Span: s.span,
	})
}

// forHost is the head as the attempt's host gets it: with auto_host_rewrite its Host is the host's name. That is for
// this attempt alone, and never for a copy.
func (s *Stream) forHost() *codec.Head {
	if !s.action.AutoHost {
		return &s.head
	}
	name := s.host.Hostname() // once: it may change
	if name == "" {
		return &s.head
	}
	c := &s.wk.auto
	buf, fields := c.Buf[:0], append(c.Fields[:0], s.head.Fields...)
	*c = s.head
	c.Buf, c.Fields = append(buf, name...), fields
	filter.RewriteHost(c, c.Buf, s.action.Rewrite != nil && s.action.Rewrite.AppendForwardedHost)
	return c
}

// dress makes the upstream's final head the client's.
func (s *Stream) dress(h *codec.Head, took time.Duration) {
	a := s.action
	for _, c := range s.cookies {
		h.Fields = append(h.Fields, codec.Field{Name: setCookie, Value: c})
	}
	s.renameSpan(h)
	filter.Answer(h, s.d.cfg.server, took, s.wk.now())
	var own *filter.Mutations
	if s.weighted != nil {
		own = s.weighted.Response
	}
	if own == nil && a.Response == nil && s.origin.Origin == nil {
		return
	}
	own.Answer(h, s.valuesFor(own))
	a.Response.Answer(h, s.valuesFor(a.Response))
	if s.origin.Origin != nil {
		s.cors().Answer(h, s.origin)
	}
	// The connection manager has the last word on these.
	if server := s.d.cfg.server; len(server) > 0 {
		h.Set(codec.Server, server)
	}
	if h.Get(codec.Date) == nil {
		h.Set(codec.Date, s.wk.now())
	}
}

var setCookie = []byte("set-cookie")

// remote is the client as far as it is trusted: at an edge the peer, elsewhere the last entry of x-forwarded-for.
func (s *Stream) remote() netip.AddrPort {
	if s.d.cfg.UseRemoteAddress {
		return s.d.peer
	}
	var last []byte
	for i := range s.head.Fields {
		if f := &s.head.Fields[i]; f.ID == codec.ForwardedFor && f.Name != nil {
			last = f.Value
		}
	}
	if last == nil {
		return s.d.peer
	}
	last = bytes.TrimSpace(last[bytes.LastIndexByte(last, ',')+1:])
	addr, err := netip.ParseAddr(string(last))
	if err != nil {
		return s.d.peer
	}
	return netip.AddrPortFrom(addr, 0)
}

// valuesFor is what the operators of m's templates take their text from, nil if there are none.
func (s *Stream) valuesFor(m *filter.Mutations) *format.Values {
	if m.Literal() {
		return nil
	}
	return s.values()
}

// values is what templates may ask for. Valid until the worker's next.
func (s *Stream) values() *format.Values {
	w, v := s.wk.w, &s.wk.values
	age := time.Duration(w.Now() - s.start)
	*v = format.Values{
		Request: filter.View(&s.head), Start: w.Wall().Add(-age), Duration: age, Protocol: s.protocol(),
		RequestID: s.head.Get(codec.RequestID), RouteName: s.action.Name,
		Remote: s.remote(), DirectRemote: s.d.peer, Local: s.d.local,
		UpstreamLocal: s.upLocal, Attempts: s.attempts,
		Code: s.status, Flags: s.flag, Details: s.details, BytesReceived: s.bytesIn, BytesSent: s.bytesOut,
	}
	if s.span.Valid() {
		v.TraceID = s.traceID()
	}
	if s.cluster != nil {
		v.Cluster = s.cluster.Name
	}
	if s.host != nil {
		v.Upstream, v.UpstreamName = s.upRemote, s.host.Name
	}
	return v
}

func (s *Stream) protocol() string {
	if s.headDone && s.head.Minor == 0 {
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}
