// SPDX-License-Identifier: Apache-2.0

package route

import (
	"bytes"
	"fmt"
)

// QueryMatch looks at one query parameter (envoy.config.route.v3.QueryParameterMatcher): the first of that name, as it
// stands in the target, without decoding. A parameter without '=' is empty.
type QueryMatch struct {
	Name       string
	Kind       HeaderKind // HeaderPresent and so on: values compare as those of headers do
	Value      string
	IgnoreCase bool
	Absent     bool // with HeaderPresent: the parameter must not be there (present_match false)
}

type queryMatcher struct {
	name   string
	absent bool
	text
}

func newQueryMatcher(c QueryMatch) (m queryMatcher, err error) {
	if c.Name == "" {
		return m, fmt.Errorf("query parameter without a name")
	}
	m.name, m.absent = c.Name, c.Absent && c.Kind == HeaderPresent
	if m.text, err = newText(c.Kind, c.Value, c.IgnoreCase); err != nil {
		return m, fmt.Errorf("query parameter %s: %w", c.Name, err)
	}
	return m, nil
}

// match looks at a target's query. Without a query there is no parameter.
func (m *queryMatcher) match(query []byte) bool {
	v, ok := parameter(query, m.name)
	if m.absent {
		return !ok
	}
	return ok && m.text.match(v)
}

// queryOf is what follows the first '?' of the target.
func queryOf(target []byte) []byte {
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		return target[i+1:]
	}
	return nil
}

// QueryParameter is the value of the first parameter of that name in a target's query, as it stands there.
func QueryParameter(target []byte, name string) (value []byte, ok bool) {
	return parameter(queryOf(target), name)
}

// parameter is the value of the first parameter of that name.
func parameter(query []byte, name string) (value []byte, ok bool) {
	for len(query) > 0 {
		one := query
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			one, query = query[:i], query[i+1:]
		} else {
			query = nil
		}
		n := len(name)
		switch {
		case len(one) < n || string(one[:n]) != name:
		case len(one) == n:
			return nil, true
		case one[n] == '=':
			return one[n+1:], true
		}
	}
	return nil, false
}
