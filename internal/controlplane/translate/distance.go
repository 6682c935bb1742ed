// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"
	"strings"
)

// suggest is "did you mean ...?" with the candidates nearest to name, or "".
func suggest(name string, candidates []string) string {
	return didYouMean(nearest(name, candidates, undivided))
}

func didYouMean(near []string) string {
	if len(near) == 0 {
		return ""
	}
	for i := range near {
		near[i] = fmt.Sprintf("%q", near[i])
	}
	return "did you mean " + strings.Join(near, " or ") + "?"
}

// cut divides what can be misspelled into a name and its scope, which all names of a place share.
type cut func(string) (name, scope string)

func undivided(s string) (name, scope string) { return s, "" }

// ofHost is a host's first label, and its domain.
func ofHost(s string) (name, scope string) {
	name, scope, _ = strings.Cut(s, ".")
	return name, scope
}

// ofNamespace is for "namespace/name".
func ofNamespace(s string) (name, scope string) {
	scope, name, _ = strings.Cut(s, "/")
	return name, scope
}

// maxSuggestions is how many references of one translation are compared with all names there are: that is slow, and
// where so many do not resolve, it is no misspelling.
const maxSuggestions = 100

type suggester struct{ left int }

// nearest is what function nearest is, and nothing once enough was compared.
func (s *suggester) nearest(name string, candidates []string, by cut) []string {
	if s.left == 0 {
		return nil
	}
	s.left--
	return nearest(name, candidates, by)
}

// nearest is at most three candidates that look like name, all as near. Names are compared without their scopes: these
// are long, and would make all names of one scope alike. Another number is another thing, and no misspelling.
func nearest(name string, candidates []string, by cut) []string {
	own, scope := by(name)
	limit := 2
	if len(own) > 11 {
		limit = 3
	}
	best := 3*limit + 3
	var near []string
	for _, c := range candidates {
		other, of := by(c)
		if diff := len(own) - len(other); c == name || diff < -limit || diff > limit {
			continue
		}
		d := distance(strings.ToLower(own), strings.ToLower(other))
		if d > limit || d > 0 && (d >= max(len(own), len(other)) || strings.Trim(own, digits) == strings.Trim(other, digits)) {
			continue
		}
		far, ok := apart(scope, of, d == 0)
		if far += 3 * d; !ok || far > best {
			continue
		}
		if far < best {
			best, near = far, near[:0]
		}
		if !slices.Contains(near, c) {
			near = append(near, c)
		}
	}
	slices.Sort(near)
	return near[:min(3, len(near))]
}

const digits = "0123456789"

// apart tells how far the scope of a candidate is from the one that was written, and whether that may be meant: it is
// the same, or not written out, or, if the names are the same, another namespace or a misspelled domain.
func apart(scope, other string, same bool) (far int, ok bool) {
	_, domain, long := strings.Cut(scope, ".")
	_, others, _ := strings.Cut(other, ".")
	switch {
	case scope == other:
		return 0, true
	case strings.HasPrefix(other, scope+"."):
		return 1, true
	case !same:
		return 0, false
	default:
		return 2, !long || domain == others && strings.Contains(domain, ".") ||
			distance(scope, other) <= max(2, len(scope)/3)
	}
}

// distance is the number of bytes to insert, delete or replace to make b of a. Names longer than 300 bytes are as far
// from each other as they are long: the cost stays bounded.
func distance(a, b string) int {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if len(a) > 300 || len(b) > 300 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
