// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// HeaderMatch looks at one header field (envoy.config.route.v3.HeaderMatcher). The values of a field that is there
// several times are joined by ",". Names are compared without case; ":method", ":authority" (also "host"), ":path"
// (with the query) and ":scheme" (x-forwarded-proto, if that is https, else http) name parts of the request line,
// ":status" that of an answer's.
type HeaderMatch struct {
	Name       string
	Kind       HeaderKind
	Value      string
	IgnoreCase bool // ASCII; not for HeaderRegex and HeaderPresent
	// Invert: invert_match. A missing field is no match for it either, unless MissingAsEmpty or HeaderPresent.
	Invert         bool
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

// HeaderMatcher is a HeaderMatch ready for use, on requests and on answers. It never changes.
type HeaderMatcher struct {
	id              codec.FieldID // of the field, Other if names have to be compared
	name            string        // in lower case
	part            part
	missing, invert bool
	text
}

// part is where in a head the value is.
type part uint8

const (
	field part = iota
	method
	authority
	target
	schemePart
	status
)

var parts = map[string]part{
	":method": method, ":authority": authority, "host": authority, ":path": target, ":scheme": schemePart,
	":status": status,
}

// NewHeaderMatcher compiles a matcher.
func NewHeaderMatcher(c HeaderMatch) (*HeaderMatcher, error) {
	m := &HeaderMatcher{name: lowerASCII(c.Name), missing: c.MissingAsEmpty, invert: c.Invert}
	m.part = parts[m.name]
	switch {
	case m.name == "":
		return nil, fmt.Errorf("header without a name")
	case m.part == field && strings.HasPrefix(m.name, ":"):
		return nil, fmt.Errorf("header %s: no such part of a request", c.Name)
	}
	if m.id = codec.Identify([]byte(m.name)); m.id == codec.EnvoyEdge {
		m.id = codec.Other // several names have this id
	}
	var err error
	if m.text, err = newText(c.Kind, c.Value, c.IgnoreCase); err != nil {
		return nil, fmt.Errorf("header %s: %w", c.Name, err)
	}
	return m, nil
}

// Match reports whether the head has the header. The room behind h.Buf's content serves as scratch space.
func (m *HeaderMatcher) Match(h *codec.Head) bool {
	at := len(h.Buf)
	v, ok := m.value(h)
	h.Buf = h.Buf[:at] // v stays readable: nothing is stored meanwhile
	switch {
	case m.kind == HeaderPresent:
		return (ok || m.missing) != m.invert
	case !ok && !m.missing:
		return false
	}
	return m.text.match(v) != m.invert
}

var comma = []byte(",")

// value is the field's value; several are joined in h.Buf's free room, which the caller gives back.
func (m *HeaderMatcher) value(h *codec.Head) (v []byte, ok bool) {
	switch m.part {
	case method:
		return h.Method, len(h.Method) > 0
	case authority:
		return h.Authority, len(h.Authority) > 0
	case target:
		return h.Target, len(h.Target) > 0
	case schemePart:
		return scheme(h), h.Status == 0
	case status:
		return statusText(h), h.Status != 0
	}
	joined := -1 // where in h.Buf the joined value starts
	for i := range h.Fields {
		f := &h.Fields[i]
		switch {
		case f.Name == nil || m.id != codec.Other && f.ID != m.id ||
			m.id == codec.Other && !codec.EqualFold(f.Name, m.name):
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

// statusText is an answer's status in memory of the head.
func statusText(h *codec.Head) []byte {
	var b [8]byte
	return h.Store(strconv.AppendInt(b[:0], int64(h.Status), 10))
}
