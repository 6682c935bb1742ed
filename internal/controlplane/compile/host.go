// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"iter"
	"strings"
)

// covers reports whether every name that host stands for is one that pattern stands for. "*.x" does not stand for x.
func covers(pattern, host string) bool {
	if pattern == host {
		return true
	}
	suffix, wild := strings.CutPrefix(pattern, "*")
	return wild && strings.HasSuffix(host, suffix) && len(strings.TrimPrefix(host, "*")) > len(suffix)
}

// wildcardsOver are the wildcards of whole labels, longest first, that cover host and are not host itself.
func wildcardsOver(host string) iter.Seq[string] {
	return func(yield func(string) bool) {
		rest := strings.TrimPrefix(host, "*")
		for i := 0; i < len(rest); i++ {
			// "*" before the first byte would be host again, or stand for one name only.
			if rest[i] == '.' && i > 0 && !yield("*"+rest[i:]) {
				return
			}
		}
		if host != "*" {
			yield("*")
		}
	}
}

// wholeLabels reports whether the star of a wildcard stands for whole labels, as in "*.x". "*-a.x" is a host too.
func wholeLabels(wildcard string) bool { return wildcard == "*" || strings.HasPrefix(wildcard, "*.") }

// domain is a host as it stands in requests: an IPv6 address in brackets.
func domain(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// bySpecificity orders full names before wildcards, longer wildcards before shorter ones, then by alphabet.
func bySpecificity(a, b string) int {
	wildA, wildB := strings.HasPrefix(a, "*"), strings.HasPrefix(b, "*")
	switch {
	case wildA && !wildB:
		return 1
	case !wildA && wildB:
		return -1
	case wildA && len(a) != len(b):
		return cmp.Compare(len(b), len(a))
	}
	return cmp.Compare(a, b)
}
