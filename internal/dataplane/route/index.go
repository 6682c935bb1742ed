// SPDX-License-Identifier: Apache-2.0

package route

import (
	"strings"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// indexFrom is how many literal paths make an index worth its lookup; up to there a scan is as fast (BenchmarkMatch).
const indexFrom = 16

// maxLists bounds the literal paths that are prefixes of each other and all match one request. Beyond it the routes are
// scanned.
const maxLists = 14

// index finds the routes whose paths can match: those with a literal path by the bytes of the request's, all others
// always. What it finds it gives in the order of the routes.
type index struct {
	exact  *node   // by path as it is; nil if there are none
	folded *node   // by path in lower case
	others []int32 // routes with a regular expression
}

// node stands for the path that leads to it from the root.
type node struct {
	label string // what it adds to its parent's path
	first string // of the labels below, in the order of below
	below []*node

	// The routes whose path ends here, by kind, in order.
	prefix, whole, separated []int32
}

// newIndex returns nil if there is too little to index.
func newIndex[A any](routes []route[A]) *index {
	x := &index{}
	for i := range routes {
		p := &routes[i].path
		root := &x.exact
		switch {
		case p.kind == PathRegex:
			x.others = append(x.others, int32(i))
			continue
		case p.fold:
			root = &x.folded
		}
		if *root == nil {
			*root = &node{}
		}
		n := (*root).insert(p.value)
		switch p.kind {
		case PathPrefix:
			n.prefix = append(n.prefix, int32(i))
		case PathExact:
			n.whole = append(n.whole, int32(i))
		case PathSeparatedPrefix:
			n.separated = append(n.separated, int32(i))
		}
	}
	if len(routes)-len(x.others) < indexFrom {
		return nil
	}
	return x
}

// insert returns the node of a path, which it makes if need be.
func (n *node) insert(path string) *node {
	for len(path) > 0 {
		i := strings.IndexByte(n.first, path[0])
		if i < 0 {
			leaf := &node{label: path}
			n.first, n.below = n.first+path[:1], append(n.below, leaf)
			return leaf
		}
		next := n.below[i]
		common := 1
		for common < len(path) && common < len(next.label) && path[common] == next.label[common] {
			common++
		}
		if common < len(next.label) {
			split := &node{label: next.label[:common], first: next.label[common : common+1], below: []*node{next}}
			next.label = next.label[common:]
			n.below[i], next = split, split
		}
		n, path = next, path[common:]
	}
	return n
}

// candidates are lists of routes that are given out in order.
type candidates struct {
	lists [maxLists + 1][]int32
	n     int
}

// add takes a list; it reports false when there is no room.
func (c *candidates) add(list []int32) bool {
	if len(list) == 0 {
		return true
	}
	if c.n == len(c.lists) {
		return false
	}
	c.lists[c.n] = list
	c.n++
	return true
}

// next gives out the first route of those that are left, -1 at the end.
func (c *candidates) next() int32 {
	if c.n == 0 {
		return -1
	}
	least := 0
	for i := 1; i < c.n; i++ {
		if c.lists[i][0] < c.lists[least][0] {
			least = i
		}
	}
	l := c.lists[least]
	if len(l) > 1 {
		c.lists[least] = l[1:]
	} else {
		c.n--
		c.lists[least] = c.lists[c.n]
	}
	return l[0]
}

// find collects the routes for a path. It reports false when there are too many lists to hold.
func (x *index) find(c *candidates, path []byte) bool {
	return c.add(x.others) && x.exact.find(c, path, false) && x.folded.find(c, path, true)
}

func (n *node) find(c *candidates, path []byte, fold bool) bool {
	if n == nil {
		return true
	}
	for {
		if !c.add(n.prefix) {
			return false
		}
		if len(path) == 0 {
			return c.add(n.whole) && c.add(n.separated)
		}
		if path[0] == '/' && !c.add(n.separated) {
			return false
		}
		b := path[0]
		if fold {
			b = foldByte(b)
		}
		i := strings.IndexByte(n.first, b)
		if i < 0 {
			return true
		}
		n = n.below[i]
		l := len(n.label)
		if len(path) < l || string(path[:l]) != n.label && !(fold && codec.EqualFold(path[:l], n.label)) {
			return true
		}
		path = path[l:]
	}
}
