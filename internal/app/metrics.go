// SPDX-License-Identifier: Apache-2.0

package app

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// newMetrics gathers what the workers count and what is known of the process. Nothing here is touched by a request.
func (a *App) newMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	a.rejected = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "umbra_config_rejected", Help: "1 for each resource whose newest version is not served.",
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
	return r
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// countRejected shows the resources that are not served as written.
func (a *App) countRejected() {
	a.rejected.Reset()
	_, refused := a.control.status()
	for _, r := range refused {
		a.rejected.WithLabelValues(r.String()).Set(1)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.nacks {
		a.rejected.WithLabelValues(n.Type + " " + n.Name).Set(1)
	}
}
