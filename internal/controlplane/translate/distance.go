// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"
	"strings"
)

// suggest is "did you mean ...?" with the candidates nearest to name, or "".
func suggest(name string, candidates []string) string {
	near := nearest(name, candidates)
	if len(near) == 0 {
		return ""
	}
	for i := range near {
		near[i] = fmt.Sprintf("%q", near[i])
	}
	return "did you mean " + strings.Join(near, " or ") + "?"
}

// maxSuggestions is how many references of one translation are compared with all names there are: that is slow, and
// where so many do not resolve, it is no misspelling.
const maxSuggestions = 100

type suggester struct{ left int }

func (s *suggester) suggest(name string, candidates []string) string {
	if s.left == 0 {
		return ""
	}
	s.left--
	return suggest(name, candidates)
}

// nearest is at most three candidates that look like name, the nearest first.
func nearest(name string, candidates []string) []string {
	type scored struct {
		name string
		d    int
	}
	var near []scored
	limit := max(2, len(name)/3)
	for _, c := range candidates {
		d := limit + 1
		if diff := len(name) - len(c); -limit <= diff && diff <= limit {
			d = distance(strings.ToLower(name), strings.ToLower(c))
		}
		if first, _, _ := strings.Cut(c, "."); first == name || strings.HasPrefix(c, name+".") {
			d = min(d, 1)
		}
		if d <= limit && c != name {
			near = append(near, scored{c, d})
		}
	}
	slices.SortStableFunc(near, func(a, b scored) int {
		if a.d != b.d {
			return a.d - b.d
		}
		return strings.Compare(a.name, b.name)
	})
	var names []string
	for _, s := range near {
		if len(names) < 3 && !slices.Contains(names, s.name) {
			names = append(names, s.name)
		}
	}
	return names
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
