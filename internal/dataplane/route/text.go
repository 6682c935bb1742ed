// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// text compares a value with what a matcher wants (envoy.type.matcher.v3.StringMatcher).
type text struct {
	kind  HeaderKind
	fold  bool
	want  string // lower-case if fold
	regex *regexp.Regexp
}

func newText(kind HeaderKind, value string, fold bool) (t text, err error) {
	t = text{kind: kind, fold: fold, want: value}
	switch kind {
	case HeaderPresent, HeaderExact, HeaderPrefix, HeaderSuffix, HeaderContains:
		if fold {
			t.want = lowerASCII(value)
		}
	case HeaderRegex:
		t.regex, err = wholeRegexp(value)
	default:
		err = fmt.Errorf("unknown kind %d", kind)
	}
	return t, err
}

func (t *text) match(v []byte) bool {
	n := len(t.want)
	switch t.kind {
	case HeaderPresent:
		return true
	case HeaderExact:
		return len(v) == n && t.equal(v)
	case HeaderPrefix:
		return len(v) >= n && t.equal(v[:n])
	case HeaderSuffix:
		return len(v) >= n && t.equal(v[len(v)-n:])
	case HeaderContains:
		return t.contains(v)
	default:
		return t.regex.Match(v)
	}
}

// equal compares strings of the same length.
func (t *text) equal(b []byte) bool {
	return string(b) == t.want || t.fold && codec.EqualFold(b, t.want)
}

func (t *text) contains(v []byte) bool {
	for i := 0; i+len(t.want) <= len(v); i++ {
		if t.equal(v[i : i+len(t.want)]) {
			return true
		}
	}
	return false
}

func foldByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

// wholeRegexp compiles an expression that has to match all of a text. The expression alone has to be valid: otherwise
// an unbalanced one could become valid between our parentheses.
func wholeRegexp(expr string) (*regexp.Regexp, error) {
	if _, err := syntax.Parse(expr, syntax.Perl); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + expr + `)\z`)
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = foldByte(c)
	}
	return string(b)
}

// pathOf is the target up to its query, or up to a fragment that should not be there.
func pathOf(target []byte) []byte {
	for i, c := range target {
		if c == '?' || c == '#' {
			return target[:i]
		}
	}
	return target
}

// scheme is what :scheme is with Envoy: x-forwarded-proto, if that is a scheme of HTTP, else that of the listener.
func scheme(h *codec.Head) []byte {
	if codec.EqualFold(h.Get(codec.ForwardedProto), "https") {
		return https
	}
	return http
}

var http, https = []byte("http"), []byte("https")
