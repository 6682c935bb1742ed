// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"regexp"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// CORS is envoy.extensions.filters.http.cors.v3.CorsPolicy. Immutable. It holds for routes that lead to a cluster.
type CORS struct {
	Origins          []StringMatch
	Methods          string
	AllowHeaders     string
	ExposeHeaders    string
	MaxAge           string
	Credentials      bool
	ForwardUnmatched bool // forward_not_matching_preflights
}

// CrossOrigin is what a policy says of one request.
type CrossOrigin struct {
	HasOrigin bool   // an Origin was there: cors.origin_valid or cors.origin_invalid counts
	Origin    []byte // the Origin, if it is allowed; memory of the request
	Preflight bool   // the request is to be answered here: CORSAnswer with the fields of Preflight
}

// CORSAnswer is the answer to preflights, but for its fields.
var CORSAnswer = Local{Status: 200, Details: "cors_response"}

var (
	allowOrigin      = newName("access-control-allow-origin")
	allowCredentials = newName("access-control-allow-credentials")
	allowMethods     = newName("access-control-allow-methods")
	allowHeaders     = newName("access-control-allow-headers")
	exposeHeaders    = newName("access-control-expose-headers")
	maxAge           = newName("access-control-max-age")
)

// Request looks at a request of a route with the policy, before anything is changed. c may be nil.
func (c *CORS) Request(h *codec.Head) (o CrossOrigin) {
	if c == nil {
		return o
	}
	origin, _ := h.Lookup("origin")
	if len(origin) == 0 {
		return o
	}
	o.HasOrigin = true
	if c.allows(origin) {
		o.Origin = origin
	}
	if string(h.Method) == "OPTIONS" && (o.Origin != nil || !c.ForwardUnmatched) {
		method, _ := h.Lookup("access-control-request-method")
		o.Preflight = len(method) > 0
	}
	return o
}

// allows reports whether a matcher takes the origin, or every origin: "*".
func (c *CORS) allows(origin []byte) bool {
	for i := range c.Origins {
		if c.Origins[i].match(origin) || c.Origins[i].match([]byte{'*'}) {
			return true
		}
	}
	return false
}

// Preflight adds the fields of the answer to a preflight. An origin that is not allowed is told what is, but not that
// it is allowed.
func (c *CORS) Preflight(answer, request *codec.Head, o CrossOrigin) {
	if c.Credentials && o.Origin == nil {
		allowCredentials.overwrite(answer, store(answer, "true"))
	}
	if v := c.Methods; v == "*" {
		asked, _ := request.Lookup("access-control-request-method")
		allowMethods.overwrite(answer, answer.Store(asked))
	} else if v != "" {
		allowMethods.overwrite(answer, store(answer, v))
	}
	if v := c.AllowHeaders; v == "*" {
		asked, _ := request.Lookup("access-control-request-headers")
		allowHeaders.overwrite(answer, answer.Store(asked))
	} else if v != "" {
		allowHeaders.overwrite(answer, store(answer, v))
	}
	if c.MaxAge != "" {
		maxAge.overwrite(answer, store(answer, c.MaxAge))
	}
	c.Answer(answer, o)
}

// Answer writes the fields that let the origin read the answer, over those of the upstream. It is for all answers to a
// request of an allowed Origin, also those made here; for others it does nothing. c may be nil.
func (c *CORS) Answer(answer *codec.Head, o CrossOrigin) {
	if c == nil || o.Origin == nil {
		return
	}
	allowOrigin.overwrite(answer, answer.Store(o.Origin))
	if c.Credentials {
		allowCredentials.overwrite(answer, store(answer, "true"))
	}
	if c.ExposeHeaders != "" {
		exposeHeaders.overwrite(answer, store(answer, c.ExposeHeaders))
	}
}

// StringMatch is envoy.type.matcher.v3.StringMatcher.
type StringMatch struct {
	Kind       StringKind
	Value      string
	IgnoreCase bool           // ASCII; not for RegexMatch
	Regex      *regexp.Regexp // for RegexMatch: matches the whole value
}

// StringKind is how a value is compared.
type StringKind uint8

// The kinds.
const (
	ExactMatch StringKind = iota
	PrefixMatch
	SuffixMatch
	ContainsMatch
	RegexMatch
)

func (m *StringMatch) match(v []byte) bool {
	n := len(m.Value)
	switch m.Kind {
	case ExactMatch:
		return len(v) == n && m.equal(v)
	case PrefixMatch:
		return len(v) >= n && m.equal(v[:n])
	case SuffixMatch:
		return len(v) >= n && m.equal(v[len(v)-n:])
	case ContainsMatch:
		for i := 0; i+n <= len(v); i++ {
			if m.equal(v[i : i+n]) {
				return true
			}
		}
		return false
	default:
		return m.Regex != nil && m.Regex.Match(v)
	}
}

// equal compares strings of the same length.
func (m *StringMatch) equal(v []byte) bool {
	if !m.IgnoreCase {
		return string(v) == m.Value
	}
	for i, c := range v {
		if lower(c) != lower(m.Value[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}
