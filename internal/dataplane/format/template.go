// SPDX-License-Identifier: Apache-2.0

package format

import (
	"fmt"
	"strconv"
	"strings"
)

// Template is an Envoy format string, parsed (%REQ(X)%, %DOWNSTREAM_REMOTE_ADDRESS%, %% for a percent). Immutable; the
// zero value is the empty string.
type Template struct {
	parts []part
}

// part is literal text, or an operator.
type part struct {
	text string
	op   operator // nil: text
}

// operator appends its value, nothing if that is absent.
type operator func(dst []byte, v *Values) []byte

// Literal returns the text of a template without operators.
func (t Template) Literal() (text string, ok bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) == 1 && t.parts[0].op == nil:
		return t.parts[0].text, true
	}
	return "", false
}

// Append appends the template's text with v's values. What is absent is nothing, as in Envoy's header values. The
// result may stand in a field of a head: bytes of values that may not (RFC 9110 §5.5) are left out. It allocates
// nothing.
func (t Template) Append(dst []byte, v *Values) []byte {
	for i := range t.parts {
		if p := &t.parts[i]; p.op != nil {
			dst = p.op(dst, v)
		} else {
			dst = append(dst, p.text...)
		}
	}
	return dst
}

// ParseTemplate parses an Envoy format string as it stands in header values. It refuses text that may not stand in a
// field of a head, and operators that are not known or not to be had here, by their name.
func ParseTemplate(s string) (Template, error) {
	var t Template
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			t.parts = append(t.parts, part{text: text.String()})
			text.Reset()
		}
	}
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c != '%':
			if !inField(c) {
				return Template{}, fmt.Errorf("%q: the byte %#02x at position %d may not stand in a header", s, c, i)
			}
			text.WriteByte(c)
			i++
			continue
		case strings.HasPrefix(s[i:], "%%"):
			text.WriteByte('%')
			i += 2
			continue
		}
		call, ok := parseCall(s[i:])
		if !ok {
			return Template{}, fmt.Errorf("incorrect configuration: %s. Couldn't find valid command at position %d", s, i)
		}
		op, err := call.operator()
		if err != nil {
			return Template{}, fmt.Errorf("%s: %w", s[i:i+call.size], err)
		}
		flush()
		t.parts = append(t.parts, part{op: op})
		i += call.size
	}
	flush()
	return t, nil
}

// call is one %COMMAND(ARG):LENGTH%.
type call struct {
	command string
	arg     string
	hasArg  bool
	length  int // -1: none
	size    int // bytes in the format string, percent signs included
}

// parseCall reads a call at the start of s, which begins with a percent sign.
func parseCall(s string) (c call, ok bool) {
	c.length = -1
	i := 1
	for i < len(s) && (s[i] == '_' || 'A' <= s[i] && s[i] <= 'Z' || '0' <= s[i] && s[i] <= '9') {
		i++
	}
	if c.command = s[1:i]; c.command == "" {
		return c, false
	}
	if i < len(s) && s[i] == '(' {
		end := strings.IndexByte(s[i:], ')')
		if end < 0 {
			return c, false
		}
		c.arg, c.hasArg = s[i+1:i+end], true
		i += end + 1
	}
	if i < len(s) && s[i] == ':' {
		end := strings.IndexByte(s[i:], '%')
		if end < 0 {
			return c, false
		}
		n, err := strconv.ParseUint(s[i+1:i+end], 10, 31)
		if err != nil {
			return c, false
		}
		c.length = int(n)
		i += end
	}
	if i == len(s) || s[i] != '%' {
		return c, false
	}
	c.size = i + 1
	return c, true
}

// inField reports whether a byte may stand in a field's value (RFC 9110 §5.5).
func inField(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' }

// appendField appends at most limit bytes of v, all if limit is negative, without those that may not stand in a field.
func appendField[T string | []byte](dst []byte, v T, limit int) []byte {
	if limit >= 0 && len(v) > limit {
		v = v[:limit]
	}
	for i := range len(v) {
		if !inField(v[i]) {
			for k := range len(v) {
				if inField(v[k]) {
					dst = append(dst, v[k])
				}
			}
			return dst
		}
	}
	return append(dst, v...)
}
