// SPDX-License-Identifier: Apache-2.0

package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/umbra-mesh/umbra/internal/logging"
)

// registerLog counts the lines that are missing from the process's log.
func (a *App) registerLog(r *prometheus.Registry) {
	if a.opts.Log == nil {
		return
	}
	for cause, lines := range map[string]func(*logging.Log) int64{
		"limit":  (*logging.Log).Limited,
		"output": (*logging.Log).Lost,
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "umbra_log_lost_total",
			Help:        "Lines missing from the log: more debug lines of a kind than the limit, or an output that does not take them.",
			ConstLabels: prometheus.Labels{"cause": cause},
		}, func() float64 { return float64(lines(a.opts.Log)) }))
	}
}
