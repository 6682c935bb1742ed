// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"regexp"
	"time"
)

// Rewrite changes a request's path and authority (envoy.config.route.v3.RouteAction). At most one of Prefix and Regex
// is given. The path's query stays. Immutable.
type Rewrite struct {
	HasPrefix bool
	Prefix    string // prefix_rewrite: replaces what Match matched
	Match     PathKind
	MatchLen  int // length of the route's prefix, for MatchPrefix

	Regex *regexp.Regexp // regex_rewrite.pattern
	Sub   string         // regex_rewrite.substitution, with \\1 for groups

	Host string // host_rewrite_literal; "": keep
	// HostHeader: host_rewrite_header, in lower case; HostPath, HostSub: host_rewrite_path_regex.
	HostHeader string
	HostPath   *regexp.Regexp
	HostSub    string
	// AppendForwardedHost: append_x_forwarded_host.
	AppendForwardedHost bool
}

// PathKind is what of a path the route matched, and so what prefix_rewrite replaces.
type PathKind uint8

// The kinds: a prefix of MatchLen bytes, or all of it (exact and regular expression).
const (
	MatchPrefix PathKind = iota
	MatchAll
)

// Fault holds requests back or ends them (envoy.extensions.filters.http.fault.v3.HTTPFault). Immutable.
type Fault struct {
	Delay       time.Duration
	DelayShare  Share // zero: no delay
	AbortStatus int   // HTTP; 0: none
	AbortGRPC   int   // gRPC status; -1: none
	AbortShare  Share // zero: no abort
}

// Share is envoy.type.v3.FractionalPercent: a draw selects if draw mod Denominator < Numerator.
type Share struct{ Numerator, Denominator uint32 }

// Selects reports whether the draw falls in the share. The zero share selects nothing.
func (s Share) Selects(draw uint64) bool {
	return s.Denominator > 0 && draw%uint64(s.Denominator) < uint64(s.Numerator)
}
