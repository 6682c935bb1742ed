// SPDX-License-Identifier: Apache-2.0

package mirror

// Policy is one linked mirror policy of a route (envoy.config.route.v3.RouteAction.RequestMirrorPolicy). Immutable.
type Policy struct {
	Target *Target // where copies go; by cluster name, known or not yet
	Stats  *Stats  // counts of this mirror

	// The share of requests: draw mod Denominator < Numerator, strictly.
	Numerator   uint32
	Denominator uint32 // 100, 10,000 or 1,000,000

	KeepHost bool // disable_shadow_host_suffix_append
}

// Selects reports whether a request that drew that number gets a copy. One draw serves all policies of a request, so
// that a 10 % mirror's requests are among a 50 % mirror's.
func (p *Policy) Selects(draw uint64) bool {
	return draw%uint64(p.Denominator) < uint64(p.Numerator)
}
