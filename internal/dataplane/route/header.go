// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// HeaderMatch looks at one header field (envoy.config.route.v3.HeaderMatcher). The values of a field that is there
// several times are joined by ",". Names are compared without case; ":method", ":authority" (also "host") and ":path"
// (with the query) name parts of the request line.
type HeaderMatch struct {
	Name           string
	Kind           HeaderKind
	Value          string
	IgnoreCase     bool // ASCII; not for HeaderRegex and HeaderPresent
	Invert         bool // invert_match. A missing field is no match for it either, unless MissingAsEmpty or HeaderPresent.
	MissingAsEmpty bool // treat_missing_header_as_empty
}

// HeaderKind is how a value is compared.
type HeaderKind uint8

// The kinds of header matchers.
const (
	HeaderPresent HeaderKind = iota
	HeaderExact
	HeaderPrefix
	HeaderSuffix
	HeaderContains
	HeaderRegex // the whole value matches the RE2 expression Value
)

type headerMatcher struct {
	HeaderMatch
	part  part
	regex *regexp.Regexp
}

// part is where in a head the value is.
type part uint8

const (
	field part = iota
	method
	authority
	target
)

func newHeaderMatcher(c HeaderMatch) (headerMatcher, error) {
	m := headerMatcher{HeaderMatch: c}
	m.Name = lowerASCII(c.Name)
	switch m.Name {
	case "":
		return m, fmt.Errorf("header without a name")
	case ":method":
		m.part = method
	case ":authority", "host":
		m.part = authority
	case ":path":
		m.part = target
	default:
		if strings.HasPrefix(m.Name, ":") {
			return m, fmt.Errorf("header %s: no such part of a request", c.Name)
		}
	}
	switch c.Kind {
	case HeaderPresent, HeaderExact, HeaderPrefix, HeaderSuffix, HeaderContains:
		if c.IgnoreCase {
			m.Value = lowerASCII(c.Value)
		}
	case HeaderRegex:
		var err error
		if m.regex, err = wholeRegexp(c.Value); err != nil {
			return m, fmt.Errorf("header %s: %w", c.Name, err)
		}
	default:
		return m, fmt.Errorf("header %s: unknown kind %d", c.Name, c.Kind)
	}
	return m, nil
}

func (m *headerMatcher) match(h *codec.Head) bool {
	at := len(h.Buf)
	v, ok := m.value(h)
	if m.Kind == HeaderPresent {
		h.Buf = h.Buf[:at]
		return (ok || m.MissingAsEmpty) != m.Invert
	}
	if !ok && !m.MissingAsEmpty {
		return false
	}
	got := m.compare(v)
	h.Buf = h.Buf[:at]
	return got != m.Invert
}

func (m *headerMatcher) compare(v []byte) bool {
	n := len(m.Value)
	switch m.Kind {
	case HeaderExact:
		return len(v) == n && m.equal(v)
	case HeaderPrefix:
		return len(v) >= n && m.equal(v[:n])
	case HeaderSuffix:
		return len(v) >= n && m.equal(v[len(v)-n:])
	case HeaderContains:
		return m.contains(v)
	default:
		return m.regex.Match(v)
	}
}

// equal compares strings of the same length.
func (m *headerMatcher) equal(b []byte) bool {
	return string(b) == m.Value || m.IgnoreCase && codec.EqualFold(b, m.Value)
}

func (m *headerMatcher) contains(v []byte) bool {
	for i := 0; i+len(m.Value) <= len(v); i++ {
		if m.equal(v[i : i+len(m.Value)]) {
			return true
		}
	}
	return false
}

var comma = []byte(",")

// value is the field's value; several are joined in h.Buf's free room, which the caller gives back.
func (m *headerMatcher) value(h *codec.Head) (v []byte, ok bool) {
	switch m.part {
	case method:
		return h.Method, true
	case authority:
		return h.Authority, len(h.Authority) > 0
	case target:
		return h.Target, true
	}
	joined := -1 // where in h.Buf the joined value starts
	for i := range h.Fields {
		f := &h.Fields[i]
		switch {
		case f.Name == nil || !codec.EqualFold(f.Name, m.Name):
		case !ok:
			v, ok = f.Value, true
		default:
			if joined < 0 {
				joined = len(h.Buf)
				h.Store(v)
			}
			h.Store(comma, f.Value)
		}
	}
	if joined >= 0 {
		v = h.Buf[joined:]
	}
	return v, ok
}
