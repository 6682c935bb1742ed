// SPDX-License-Identifier: Apache-2.0

package source

import "go.yaml.in/yaml/v3"

// Node is a value of a resource: plain YAML, without aliases, merge keys and comments. It is half of a yaml.Node, of
// which large configurations have millions. It is immutable once its document is read.
type Node struct {
	Kind    yaml.Kind // MappingNode, SequenceNode or ScalarNode
	Line    int       // 1-based
	Tag     string    // !!map, !!seq, !!str, !!int, !!float, !!bool or !!null
	Value   string    // of a scalar, as JSON spells it
	Content []*Node   // of a sequence: its items; of a mapping: key, value, key, value
}

// nodes makes nodes, many at a time.
type nodes struct {
	made []Node
	left int // how many more there are likely to be
}

// maxSlab bounds what one node keeps in memory that others of its document do not use any more.
const maxSlab = 64

func (s *nodes) node(n Node) *Node {
	if len(s.made) == 0 {
		s.made = make([]Node, min(max(s.left, 4), maxSlab))
		s.left -= len(s.made)
	}
	p := &s.made[0]
	*p, s.made = n, s.made[1:]
	return p
}

func count(n *yaml.Node) int {
	sum := 1
	for _, c := range n.Content {
		sum += count(c)
	}
	return sum
}
