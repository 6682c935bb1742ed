// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
)

// Policy is one linked mirror policy of a route (envoy.config.route.v3.RouteAction.RequestMirrorPolicy). Immutable.
type Policy struct {
	Target *Target // where copies go; by cluster name, known or not yet. Nil with ClusterHeader.
	Stats  *Stats  // counts of this mirror

	// ClusterHeader names the request field, in lower case, whose first value is the cluster (cluster_header). Without
	// the field there is no copy (skipped). Named finds the target of a name, nil if there is no such cluster (config).
	ClusterHeader string
	Named         func(cluster []byte) *Target

	// The share of requests: draw mod Denominator < Numerator, strictly.
	Numerator   uint32
	Denominator uint32 // 100, 10,000 or 1,000,000

	KeepHost bool   // disable_shadow_host_suffix_append
	Host     string // host_rewrite_literal: the copy's Host, without suffix
	// Headers are changes to the copy alone (request_headers_mutations); nil: none.
	Headers *filter.Mutations
	// Sampled says whether the copy's span is sampled (trace_sampled); TraceInherit: as the primary's.
	Sampled trace.Decision
}

// Selects reports whether a request that drew that number gets a copy. One draw serves all policies of a request, so
// that a 10 % mirror's requests are among a 50 % mirror's.
func (p *Policy) Selects(draw uint64) bool {
	return draw%uint64(p.Denominator) < uint64(p.Numerator)
}
