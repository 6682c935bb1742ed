// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
)

// collector takes what an OpenTelemetry collector takes over HTTP.
func collector(t *testing.T, got chan<- *tracepb.ResourceSpans) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/traces" {
			t.Errorf("path %s", r.URL.Path)
		}
		body := io.Reader(r.Body)
		if r.Header.Get("content-encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		raw, err := io.ReadAll(body)
		var msg coltracepb.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(raw, &msg) != nil {
			t.Errorf("not an export request: %v", err)
			return
		}
		for _, rs := range msg.GetResourceSpans() {
			got <- rs
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestSpansReachACollectorWithAllTheySay(t *testing.T) {
	got := make(chan *tracepb.ResourceSpans, 1)
	e, err := New(Config{Endpoint: collector(t, got), Service: "edge", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	span := trace.Span{
		Context: trace.Context{Trace: trace.ID{1}, Span: trace.SpanID{2}, Sampled: true}, Parent: trace.SpanID{3},
		Kind: trace.Client, Start: time.Unix(1, 0), End: time.Unix(2, 0), Status: 503, Tries: 2, Failed: true,
	}
	trace.Set(&span, trace.Name, "mirror")
	trace.Set(&span, trace.Target, "/\xff")
	e.Export([]trace.Span{span})
	select {
	case rs := <-got:
		s := rs.GetScopeSpans()[0].GetSpans()[0]
		if s.GetName() != "mirror" || s.GetSpanId()[0] != 2 || s.GetParentSpanId()[0] != 3 || s.GetTraceId()[0] != 1 ||
			s.GetKind() != tracepb.Span_SPAN_KIND_CLIENT || s.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR {
			t.Errorf("span %v", s)
		}
		said := rs.GetResource().String() + s.String()
		for _, want := range []string{"service.name", "edge", "http.response.status_code", "503", "http.request.resend_count"} {
			if !strings.Contains(said, want) {
				t.Errorf("%q is not in %s", want, said)
			}
		}
	case <-time.After(30 * time.Second):
		t.Fatal("nothing arrived")
	}
	if e.Lost() != 0 {
		t.Errorf("%d lost", e.Lost())
	}
}

func TestSpansOfACollectorThatRefusesAreCountedAsLost(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) }))
	defer s.Close()
	e, err := New(Config{Endpoint: s.URL, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	e.Export(make([]trace.Span, 3))
	if e.Lost() != 3 {
		t.Errorf("%d lost, want 3", e.Lost())
	}
}

func TestWrongEndpointsAreRefused(t *testing.T) {
	for _, endpoint := range []string{"", "collector:4318", "ftp://a", "grpc://a/x", "http://u:p@a", ":"} {
		if _, err := New(Config{Endpoint: endpoint}); err == nil {
			t.Errorf("%q was taken", endpoint)
		}
	}
}
