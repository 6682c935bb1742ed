// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
)

// log writes the request's line to the access log.
func (s *Stream) log(took time.Duration) {
	d, h := s.d, &s.head
	r := format.Record{
		Start: s.wk.w.Wall().Add(-took), Method: h.Method, Path: originalPath(h), Protocol: s.protocol(),
		Code: s.status, Flags: s.flags(), Details: s.details,
		BytesReceived: s.bytesIn, BytesSent: s.bytesOut, Duration: took.Milliseconds(), UpstreamServiceTime: s.served,
		ForwardedFor: h.Get(codec.ForwardedFor), UserAgent: h.Get(codec.UserAgent), RequestID: h.Get(codec.RequestID),
		Authority: h.Authority, DownstreamLocal: d.local, DownstreamRemote: s.remote(),
	}
	if original := h.Get(codec.EnvoyOriginalPath); len(original) > 0 {
		r.Path = original
	}
	if s.cluster != nil {
		r.Cluster = s.cluster.Name
	}
	if s.host != nil {
		r.UpstreamHost = s.upRemote
		r.UpstreamLocal = s.upLocal
	}
	if s.action != nil {
		r.RouteName = s.action.Name
	}
	s.wk.logBuf = format.AppendAccessLog(s.wk.logBuf[:0], &r)
	s.wk.server.logs.Append(s.wk.w.Index, s.wk.logBuf)
}

// originalPath is the target before it was rewritten.
func originalPath(h *codec.Head) []byte {
	if v := h.Get(codec.EnvoyOriginalPath); v != nil {
		return v
	}
	return h.Target
}

// flags are the response flags, in Envoy's order: those of the upstream's failure, DI, all others.
func (s *Stream) flags() string {
	f := s.flag
	if s.delayed {
		switch f {
		case "":
			f = filter.DelayFlag
		case "UH", "UT", "UF", "UC", "UO", "NR":
			f += "," + filter.DelayFlag
		default:
			f = filter.DelayFlag + "," + f
		}
	}
	switch {
	case !s.exhausted:
	case f == "":
		f = "URX"
	default:
		f += ",URX"
	}
	return f
}
