// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
)

// log writes the request's line to the access log.
func (s *Stream) log(took time.Duration) {
	d, h := s.d, &s.head
	r := format.Record{
		Start: s.wk.w.Wall().Add(-took), Method: h.Method, Path: h.Target, Protocol: "HTTP/1.1",
		Code: s.status, Flags: s.flag, Details: s.details,
		BytesReceived: s.bytesIn, BytesSent: s.bytesOut, Duration: took.Milliseconds(), UpstreamServiceTime: s.served,
		ForwardedFor: h.Get(codec.ForwardedFor), UserAgent: h.Get(codec.UserAgent), RequestID: h.Get(codec.RequestID),
		Authority: h.Authority, DownstreamLocal: d.local, DownstreamRemote: d.peer,
	}
	if h.Minor == 0 && s.headDone {
		r.Protocol = "HTTP/1.0"
	}
	if s.exhausted {
		r.Flags = "URX"
		if s.flag != "" {
			r.Flags = s.flag + ",URX"
		}
	}
	if s.cluster != nil {
		r.Cluster = s.cluster.Name
	}
	if s.host != nil {
		r.UpstreamHost = s.host.Addr
		r.UpstreamLocal = s.upLocal
	}
	if s.action != nil {
		r.RouteName = s.action.Name
	}
	s.wk.logBuf = format.AppendAccessLog(s.wk.logBuf[:0], &r)
	s.wk.server.logs.Append(s.wk.w.Index, s.wk.logBuf)
}
