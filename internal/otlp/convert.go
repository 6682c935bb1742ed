// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
)

// attributes are the names of a span's texts, by OpenTelemetry's conventions where they have one.
var attributes = [trace.Keys]string{
	trace.Method: "http.request.method", trace.Target: "http.target", trace.Authority: "server.address",
	trace.RequestID: "guid:x-request-id", trace.UserAgent: "user_agent.original", trace.Peer: "client.address",
	trace.Cluster: "upstream_cluster.name", trace.Upstream: "network.peer.address", trace.RouteName: "route_name",
	trace.Flags: "response_flags", trace.Mirror: "umbra.mirror", trace.Outcome: "umbra.mirror.outcome",
}

// The flags of a span say that its trace's context came or did not come from elsewhere (opentelemetry.proto.trace.v1.
// SpanFlags); bit 0 is W3C's sampled.
const sampled = 1

func convert(s *trace.Span) *tracepb.Span {
	out := &tracepb.Span{
		TraceId: s.Trace[:], SpanId: s.Span[:], Name: legible(s.Get(trace.Name)), Flags: sampled,
		Kind:              tracepb.Span_SPAN_KIND_SERVER,
		StartTimeUnixNano: uint64(s.Start.UnixNano()), EndTimeUnixNano: uint64(s.End.UnixNano()),
	}
	if s.Kind == trace.Client {
		out.Kind = tracepb.Span_SPAN_KIND_CLIENT
	}
	if s.Parent != (trace.SpanID{}) {
		out.ParentSpanId = s.Parent[:]
	}
	for key, name := range attributes {
		if v := s.Get(trace.Key(key)); name != "" && len(v) > 0 {
			out.Attributes = append(out.Attributes, text(name, legible(v)))
		}
	}
	if s.Status != 0 {
		out.Attributes = append(out.Attributes, number("http.response.status_code", int64(s.Status)))
	}
	out.Attributes = append(out.Attributes,
		number("http.request.body.size", s.BytesIn), number("http.response.body.size", s.BytesOut))
	if s.Tries > 1 {
		out.Attributes = append(out.Attributes, number("http.request.resend_count", int64(s.Tries-1)))
	}
	if s.Failed {
		out.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR}
	}
	return out
}

// legible is v as protobuf can carry it.
func legible(v []byte) string { return strings.ToValidUTF8(string(v), "\uFFFD") }

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

func number(key string, value int64) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: value}}}
}
