// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"regexp"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// PathMatch looks at a request's path without its query and fragment (envoy.config.route.v3.RouteMatch). The zero value
// matches every path.
type PathMatch struct {
	Kind       PathKind
	Value      string
	IgnoreCase bool // case_sensitive false, ASCII; without effect on PathRegex
}

// PathKind is how a path is compared.
type PathKind uint8

// The kinds of path matchers.
const (
	PathPrefix PathKind = iota // the path starts with Value, wherever its segments end
	PathExact
	PathRegex // the whole path matches the RE2 expression Value
)

type pathMatcher struct {
	kind  PathKind
	fold  bool
	value string // lower-case if fold
	regex *regexp.Regexp
}

func newPathMatcher(p PathMatch) (pathMatcher, error) {
	m := pathMatcher{kind: p.Kind, fold: p.IgnoreCase, value: p.Value}
	switch p.Kind {
	case PathPrefix, PathExact:
		if m.fold {
			m.value = lowerASCII(m.value)
		}
	case PathRegex:
		var err error
		if m.regex, err = wholeRegexp(p.Value); err != nil {
			return m, fmt.Errorf("path: %w", err)
		}
	default:
		return m, fmt.Errorf("path: unknown kind %d", p.Kind)
	}
	return m, nil
}

func (m *pathMatcher) match(path []byte) bool {
	switch m.kind {
	case PathPrefix:
		return len(path) >= len(m.value) && m.equal(path[:len(m.value)])
	case PathExact:
		return len(path) == len(m.value) && m.equal(path)
	default:
		return m.regex.Match(path)
	}
}

// equal compares strings of the same length.
func (m *pathMatcher) equal(b []byte) bool {
	return string(b) == m.value || m.fold && codec.EqualFold(b, m.value)
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

// wholeRegexp compiles an expression that has to match all of a text. The expression alone has to be valid: otherwise
// an unbalanced one could become valid between our parentheses.
func wholeRegexp(expr string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(expr); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + expr + `)\z`)
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}
