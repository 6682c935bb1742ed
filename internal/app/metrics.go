// SPDX-License-Identifier: Apache-2.0

package app

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// newMetrics gathers what the workers count and what is known of the process. Nothing here is touched by a request.
func (a *App) newMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	a.rejected = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "umbra_config_rejected", Help: "1 for each resource or file whose newest version is not served.",
	}, []string{"resource"})
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	r.MustRegister(
		a.registry, a.rejected,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge("envoy_server_live", "1 while the process takes new connections.", func() float64 {
			return truth(!a.draining.Load())
		}),
		gauge("umbra_mirrors_enabled", "The kill switch: 0 while no request gets a copy.", func() float64 {
			return truth(a.mirrors.Enabled())
		}),
		gauge("umbra_mirror_memory_bytes", "Memory that copies hold.", func() float64 { return float64(a.mirrors.Held()) }),
		gauge("umbra_mirror_memory_limit_bytes", "Memory that copies may hold.", func() float64 {
			return float64(a.mirrors.MemoryLimit())
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "umbra_access_log_lost_total", Help: "Access log lines that did not reach the file.",
		}, func() float64 {
			if a.log == nil {
				return 0
			}
			return float64(a.log.Lost())
		}),
	)
	a.listeners.register(r)
	a.registerLog(r)
	a.registerTracing(r)
	a.registerPressure(r)
	return r
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// countRejected shows what is not served as written.
func (a *App) countRejected() {
	a.rejected.Reset()
	for name := range a.refused() {
		a.rejected.WithLabelValues(name).Set(1)
	}
}

// wholeFile tells of a file that is not served as it is now: what cannot be read of it, or that it is empty.
func wholeFile(p mesh.Problem) bool {
	return p.Severity >= mesh.Warning && p.Resource.Kind == "" && p.Resource.Line > 0
}

// refused names what is not served as written: resources, files with a syntax error, "input" if nothing could be read,
// and what the data plane refused.
func (a *App) refused() map[string]bool {
	names := map[string]bool{}
	problems, refused, unread := a.control.status()
	if unread != nil {
		names["input"] = true
	}
	for _, r := range refused {
		names[r.String()] = true
	}
	for _, p := range problems {
		if wholeFile(p) {
			names[p.Resource.String()] = true
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.nacks {
		names[n.Type+" "+n.Name] = true
	}
	return names
}
