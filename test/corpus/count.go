// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// count is all outcomes of a tree.
type count struct {
	outcomes []outcome
	byKind   map[string]*[panicked + 1]int
}

func newCount() *count { return &count{byKind: map[string]*[panicked + 1]int{}} }

func (c *count) add(o outcome) {
	c.outcomes = append(c.outcomes, o)
	kind := cmp.Or(o.kind, "(file)")
	if c.byKind[kind] == nil {
		c.byKind[kind] = &[panicked + 1]int{}
	}
	c.byKind[kind][o.result]++
}

func (c *count) panics() (n int) {
	for _, k := range c.byKind {
		n += k[panicked]
	}
	return n
}

func (c *count) print(w io.Writer, verbose bool) {
	fmt.Fprintf(w, "%-52s %8s %8s %8s %10s %8s\n", "kind", compiled, unused, refused, unreadable, panicked)
	var sum [panicked + 1]int
	for _, kind := range slices.Sorted(maps.Keys(c.byKind)) {
		n := c.byKind[kind]
		fmt.Fprintf(w, "%-52s %8d %8d %8d %10d %8d\n", kind, n[0], n[1], n[2], n[3], n[4])
		for i := range sum {
			sum[i] += n[i]
		}
	}
	fmt.Fprintf(w, "%-52s %8d %8d %8d %10d %8d\n\n", "all", sum[0], sum[1], sum[2], sum[3], sum[4])

	reasons := map[string]int{}
	for _, o := range c.outcomes {
		if o.result == refused {
			reasons[o.kind+": "+generic(o.reason)]++
		}
		if o.result == panicked || verbose && o.result >= refused {
			fmt.Fprintf(w, "%s: %s:%d: %s: %s\n", o.result, o.resource.File, o.resource.Line, o.resource, o.reason)
		}
	}
	fmt.Fprintln(w, "reasons of refusals")
	for _, r := range slices.SortedFunc(maps.Keys(reasons), func(a, b string) int {
		return cmp.Or(reasons[b]-reasons[a], cmp.Compare(a, b))
	}) {
		fmt.Fprintf(w, "%6d  %s\n", reasons[r], r)
	}
}

// generic is a reason without what differs from one resource to the next: indexes and quoted text.
func generic(reason string) string {
	var b strings.Builder
	quoted := false
	for _, c := range reason {
		switch {
		case c == '"':
			quoted = !quoted
			b.WriteRune(c)
		case quoted, '0' <= c && c <= '9':
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// verdict is what somebody else said of a resource.
type verdict struct{ said, text string }

func readVerdicts(path string) (map[string]verdict, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[string]verdict{}
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		p := strings.SplitN(s.Text(), "\t", 5)
		if len(p) != 5 {
			return nil, fmt.Errorf("%s: %q is not five columns", path, s.Text())
		}
		all[p[0]] = verdict{p[3], p[4]}
	}
	return all, s.Err()
}

// compare lists the resources that one side takes and the other does not. What is refused for not being implemented is
// told apart: it is no disagreement about meaning.
func (c *count) compare(w io.Writer, theirs map[string]verdict) {
	both, missing, unimplemented := 0, 0, 0
	var disagree []string
	for _, o := range c.outcomes {
		v, ok := theirs[fmt.Sprintf("%s:%d", o.resource.File, o.resource.Line)]
		switch {
		case o.result == unreadable || o.result == unused:
		case !ok:
			missing++
		case (v.said == "refused") == (o.result == refused):
			both++
		case o.result == refused && strings.Contains(o.reason, "not implemented"):
			unimplemented++
		default:
			disagree = append(disagree, fmt.Sprintf("%s:%d: %s: here %s (%s), there %s (%s)",
				o.resource.File, o.resource.Line, o.resource, o.result, o.reason, v.said, v.text))
		}
	}
	fmt.Fprintf(w, "\nverdicts: %d agree, %d are refused here as not implemented, %d have no verdict, %d disagree\n",
		both, unimplemented, missing, len(disagree))
	for _, d := range disagree {
		fmt.Fprintln(w, d)
	}
}
