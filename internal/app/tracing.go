// SPDX-License-Identifier: Apache-2.0

package app

import (
	"cmp"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
	"github.com/umbra-mesh/umbra/internal/otlp"
)

// startTracing makes the tracer and what carries its spans away, if they are asked for.
func (a *App) startTracing() (err error) {
	o := a.opts.Trace
	if o.Endpoint == "" {
		return nil
	}
	host, _ := os.Hostname() // "" if it cannot be told
	a.spans, err = otlp.New(otlp.Config{
		Endpoint: o.Endpoint, Service: cmp.Or(o.Service, "umbra"), Instance: host, Logger: a.opts.Logger,
	})
	if err != nil {
		return err
	}
	a.tracer = trace.New(trace.Config{
		Sink: a.spans, Workers: a.opts.Workers, Registry: a.registry, Sampling: o.Sampling, ServiceName: o.Service,
		Formats: o.Formats,
	})
	return nil
}

// stopTracing sends what is left; the workers must have ended.
func (a *App) stopTracing() {
	if a.tracer == nil {
		return
	}
	a.tracer.Close()
	if err := a.spans.Close(); err != nil {
		a.opts.Logger.Debug("trace exporter cut", "error", err)
	}
}

func (a *App) registerTracing(r *prometheus.Registry) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "umbra_trace_spans_lost_total", Help: "Spans that the collector did not take.",
	}, func() float64 {
		if a.spans == nil {
			return 0
		}
		return float64(a.spans.Lost())
	}))
}
