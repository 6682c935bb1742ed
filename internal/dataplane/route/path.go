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
	// PathSeparatedPrefix: the path is Value, or starts with Value and a '/' (path_separated_prefix).
	PathSeparatedPrefix
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
	case PathPrefix, PathExact, PathSeparatedPrefix:
		if m.fold {
			m.value = lowerASCII(p.Value)
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
	n := len(m.value)
	switch m.kind {
	case PathPrefix:
		return len(path) >= n && m.equal(path[:n])
	case PathExact:
		return len(path) == n && m.equal(path)
	case PathSeparatedPrefix:
		return len(path) >= n && (len(path) == n || path[n] == '/') && m.equal(path[:n])
	default:
		return m.regex.Match(path)
	}
}

// equal compares strings of the same length.
func (m *pathMatcher) equal(b []byte) bool {
	return string(b) == m.value || m.fold && codec.EqualFold(b, m.value)
}
