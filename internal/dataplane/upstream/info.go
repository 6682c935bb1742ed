// SPDX-License-Identifier: Apache-2.0

package upstream

import "github.com/umbra-mesh/umbra/internal/dataplane/loop"

// Info is what is shown of a host.
type Info struct {
	Weight    uint32
	Priority  uint32
	Locality  Locality
	Hostname  string
	Unhealthy bool    // by its endpoint (failed_eds_health)
	Ejected   [2]bool // by loop.Class: production's requests, or copies, do not go there (failed_outlier_check)
}

// Info is the host's present state. Safe from every goroutine.
func (h *Host) Info() Info {
	e := h.meta.Load()
	return Info{
		Weight: max(e.Weight, 1), Priority: e.Priority, Locality: e.Locality, Hostname: e.Hostname,
		Unhealthy: e.Unhealthy,
		Ejected:   [2]bool{h.Ejected(loop.Production), h.Ejected(loop.Copy)},
	}
}

// Hostname is what auto_host_rewrite sends as Host; empty if the endpoint has none.
func (h *Host) Hostname() string { return h.meta.Load().Hostname }

// Ejected reports whether outlier detection keeps requests of that class away from the host.
func (h *Host) Ejected(class loop.Class) bool { return h.monitor[class].ejected.Load() }
