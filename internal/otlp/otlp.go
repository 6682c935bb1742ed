// SPDX-License-Identifier: Apache-2.0

// Package otlp sends spans to an OpenTelemetry collector, over HTTP or gRPC. It makes no spans and decides on none.
package otlp

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
)

const (
	uploadTime = 5 * time.Second // of one batch; it is lost then
	startTime  = 5 * time.Second
	complain   = 30 * time.Second // least time between two log lines about lost spans
)

// Config says where spans go.
type Config struct {
	// Endpoint is http:// or https:// and a host (OTLP over HTTP; the path is /v1/traces unless one is given), or grpc://
	// and a host (OTLP over gRPC, plain text).
	Endpoint string
	Service  string // resource attribute service.name
	Version  string // service.version
	Instance string // service.instance.id
	Logger   *slog.Logger
}

// Exporter sends spans. It implements trace.Sink.
type Exporter struct {
	client   otlptrace.Client
	resource *resourcepb.Resource
	logger   *slog.Logger
	lost     atomic.Uint64
	said     time.Time // used by Export alone
}

var _ trace.Sink = (*Exporter)(nil)

// New returns an exporter that is ready to send; a collector that is not there yet is no error. Close it.
func New(cfg Config) (*Exporter, error) {
	client, err := client(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	e := &Exporter{client: client, logger: cfg.Logger, resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
		text("service.name", cfg.Service), text("service.version", cfg.Version), text("service.instance.id", cfg.Instance),
	}}}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := client.Start(ctx); err != nil {
		return nil, fmt.Errorf("export traces to %s: %w", cfg.Endpoint, err)
	}
	return e, nil
}

func client(endpoint string) (otlptrace.Client, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("export traces: %w", err)
	}
	switch {
	case u.Host == "" || u.User != nil || u.RawQuery != "":
	case u.Scheme == "http" || u.Scheme == "https":
		if u.Path == "" || u.Path == "/" {
			u.Path = "/v1/traces"
		}
		return otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(u.String())), nil
	case u.Scheme == "grpc" && u.Path == "":
		return otlptracegrpc.NewClient(otlptracegrpc.WithEndpoint(u.Host), otlptracegrpc.WithInsecure()), nil
	}
	return nil, fmt.Errorf("export traces: %q is none of http://HOST:PORT, https://HOST:PORT and grpc://HOST:PORT", endpoint)
}

// Export implements trace.Sink: it sends the spans and waits for the answer. What cannot be sent is lost, counted and,
// from time to time, said.
func (e *Exporter) Export(spans []trace.Span) {
	batch := make([]*tracepb.Span, len(spans))
	for i := range spans {
		batch[i] = convert(&spans[i])
	}
	ctx, cancel := context.WithTimeout(context.Background(), uploadTime)
	defer cancel()
	err := e.client.UploadTraces(ctx, []*tracepb.ResourceSpans{{
		Resource:   e.resource,
		ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: "umbra"}, Spans: batch}},
	}})
	if err == nil {
		return
	}
	lost := e.lost.Add(uint64(len(spans)))
	if now := time.Now(); now.Sub(e.said) >= complain {
		e.said = now
		e.logger.Warn("spans could not be exported", "lost", lost, "error", err)
	}
}

// Lost is the number of spans that could not be sent.
func (e *Exporter) Lost() uint64 { return e.lost.Load() }

// Close ends the connection to the collector.
func (e *Exporter) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), uploadTime)
	defer cancel()
	return e.client.Stop(ctx)
}
