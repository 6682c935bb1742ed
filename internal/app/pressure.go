// SPDX-License-Identifier: Apache-2.0

package app

import (
	"math"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/umbra-mesh/umbra/internal/dataplane/pressure"
)

// This file says what the process may run out of, and what is given up then.

// newPressure makes the monitor. Descriptors and time never have requests refused: one that needs no connection is
// served whatever is left, and one that gets none is answered 503 by itself.
func (a *App) newPressure() *pressure.Monitor {
	lag := [3]float64{0.25, 1, pressure.Never}
	if a.opts.LateLoops {
		lag = [3]float64{pressure.Never, pressure.Never, pressure.Never}
	}
	return pressure.New([]*pressure.Resource{
		{Name: "memory", Read: pressure.Memory("/"), At: [3]float64{0.85, 0.92, 0.96}, Release: a.releaseMemory},
		{Name: "descriptors", Read: pressure.Descriptors, At: [3]float64{0.75, 0.9, pressure.Never}},
		{Name: "loop_lag", Read: pressure.Lag(a.workers), At: lag},
	}, a.giveUp, a.opts.Logger)
}

// giveUp carries a level out.
func (a *App) giveUp(l pressure.Level) {
	a.mirrors.SetShedding(l >= pressure.ShedCopies)
	a.listeners.paused.Store(l >= pressure.PauseAccepting)
	if l >= pressure.PauseAccepting {
		a.server.ShedCopies()
	}
	a.server.Refuse(l >= pressure.RefuseRequests)
}

// releaseMemory gives back what is kept for use again.
func (a *App) releaseMemory() {
	a.server.Trim()
	debug.FreeOSMemory()
}

// heapShare is the part of a small process's memory that Go aims to stay below; a GOMEMLIMIT of the user's own stays.
const heapShare = 0.9

// boundHeap tells the collector of the control group's limit.
func boundHeap() {
	limit := pressure.GroupLimit("/")
	if limit > 0 && debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(int64(float64(limit) * heapShare))
	}
}

// highestDescriptor is the one above which new connections wait: what is left is for upstreams, copies and files.
func highestDescriptor() int {
	limit := pressure.DescriptorLimit()
	if limit == 0 {
		return 0
	}
	return max(limit-max(limit/10, 16), 1)
}

func (a *App) registerPressure(r *prometheus.Registry) {
	gauge := func(name, help string, labels prometheus.Labels, f func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, f))
	}
	gauge("umbra_overload_level", "What is given up to keep the rest going: 0 nothing, 1 new copies, 2 also copies under "+
		"way and accepting, 3 also new requests.", nil, func() float64 { return float64(a.pressure.Level()) })
	for _, res := range a.pressure.Resources() {
		gauge("umbra_overload_pressure", "Share in use of what may run out; of loop_lag, seconds.",
			prometheus.Labels{"resource": res.Name}, res.Use)
		if res.Name == "memory" {
			gauge("envoy_overload_envoy_resource_monitors_cgroup_memory_pressure", "Percent of the control group's memory in use.",
				nil, func() float64 { return math.Floor(res.Use() * 100) })
		}
	}
	for _, action := range [...]struct {
		envoy string
		level pressure.Level
	}{
		{"stop_accepting_connections", pressure.PauseAccepting}, {"stop_accepting_requests", pressure.RefuseRequests},
	} {
		gauge("envoy_overload_envoy_overload_actions_"+action.envoy+"_active", "1 while overload has this done.", nil,
			func() float64 { return truth(a.pressure.Level() >= action.level) })
	}
	for l := pressure.ShedCopies; l <= pressure.RefuseRequests; l++ {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "umbra_overload_total", Help: "Times that a level of overload was reached.",
			ConstLabels: prometheus.Labels{"level": l.String()},
		}, func() float64 { return float64(a.pressure.Reached(l)) }))
	}
}
