// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

// spot is a value of a resource on the way down to it. Its path is only written when somebody asks for it.
type spot struct {
	up      *spot // nil: the whole resource
	node    *source.Node
	shape   *shape // once it is visited
	line    int
	by      segment
	name    string // of a field, as documentation writes it; the key of an entry
	written string // of a field, as the user wrote it
	i       int    // of an item
}

// segment is how one gets to a value from the one that has it.
type segment int

const (
	byField segment = iota
	byItem
	byEntry
)

func (s *spot) key(name, written string, key, value *source.Node) *spot {
	return &spot{up: s, node: value, line: key.Line, name: name, written: written}
}

func (s *spot) item(i int, value *source.Node) *spot {
	return &spot{up: s, node: value, line: value.Line, by: byItem, i: i}
}

func (s *spot) entry(key, value *source.Node) *spot {
	return &spot{up: s, node: value, line: key.Line, by: byEntry, name: key.Value}
}

// path is as documentation writes it.
func (s *spot) path() string { return s.text(func(s *spot) string { return s.name }, false) }

// pattern is as the lists write it.
func (s *spot) pattern() string { return s.text(func(s *spot) string { return s.name }, true) }

// place is where the value stands, with the path as the user wrote it.
func (s *spot) place() mesh.Place {
	return mesh.Place{Field: s.text(func(s *spot) string { return s.written }, false), Line: s.line}
}

func (s *spot) text(name func(*spot) string, pattern bool) string {
	var way []*spot
	for at := s; at.up != nil; at = at.up {
		way = append(way, at)
	}
	var b strings.Builder
	for i := len(way) - 1; i >= 0; i-- {
		at := way[i]
		switch {
		case at.by == byField:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(name(at))
		case at.by == byItem && pattern:
			b.WriteString("[]")
		case at.by == byItem:
			b.WriteString("[" + strconv.Itoa(at.i) + "]")
		case pattern:
			b.WriteString("{}")
		default:
			b.WriteString("[" + at.name + "]")
		}
	}
	return b.String()
}

// at is where the field with a path, as documentation writes it, stands. One that is not there is at its nearest
// ancestor's line.
func (p *remarks) at(path string) mesh.Place {
	var way []string // pairs: a name as documentation and as the user writes it, where these differ
	n, s, line, rest := p.resource.Node, p.shape, p.resource.Line, path
	for rest != "" && s != nil {
		next, ok := find(n, s, rest)
		if !ok {
			break
		}
		if next.name != next.written {
			way = append(way, path[:len(path)-len(rest)], next.name, next.written)
		}
		n, s, line, rest = next.node, next.shape, next.line, next.rest
	}
	if len(way) > 0 {
		path = rename(path, way)
	}
	return mesh.Place{Field: path, Line: line}
}

// given tells whether the field with a path, as documentation writes it, is there.
func (p *remarks) given(path string) bool {
	n, s := p.resource.Node, p.shape
	for path != "" {
		next, ok := find(n, s, path)
		if !ok {
			return false
		}
		n, s, path = next.node, next.shape, next.rest
	}
	return true
}

// rename writes fields of a path as the user did. Changes are triples: the path before a name, the name, what to write.
func rename(path string, changes []string) string {
	for i := len(changes) - 3; i >= 0; i -= 3 {
		before, name, written := changes[i], changes[i+1], changes[i+2]
		at := strings.TrimPrefix(path[len(before):], ".")
		start := len(path) - len(at)
		path = path[:start] + written + path[start+len(name):]
	}
	return path
}

// part is what is one step below a value. The names are empty but for fields.
type part struct {
	node          *source.Node
	shape         *shape
	line          int
	name, written string
	rest          string // of the path; it begins with "." or "[", or is empty
}

// find goes one step down a path.
func find(n *source.Node, s *shape, path string) (part, bool) {
	if key, found := strings.CutPrefix(path, "["); found {
		end := strings.IndexByte(key, ']')
		if end < 0 {
			return part{}, false
		}
		key, rest := key[:end], key[end+1:]
		switch {
		case s.form == list && n.Kind == yaml.SequenceNode:
			i, err := strconv.Atoi(key)
			if err == nil && 0 <= i && i < len(n.Content) && !isNull(n.Content[i]) {
				return part{node: n.Content[i], shape: s.elem, line: n.Content[i].Line, rest: rest}, true
			}
		case s.form == dict && n.Kind == yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == key && !isNull(n.Content[i+1]) {
					return part{node: n.Content[i+1], shape: s.elem, line: n.Content[i].Line, rest: rest}, true
				}
			}
		}
		return part{}, false
	}
	name, rest := strings.TrimPrefix(path, "."), ""
	if end := strings.IndexAny(name, ".["); end >= 0 {
		name, rest = name[:end], name[end:]
	}
	if s.form != message || n.Kind != yaml.MappingNode {
		return part{}, false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if m := s.members[k.Value]; m != nil && m.name == name && !isNull(v) {
			return part{node: v, shape: m.shape, line: k.Line, name: name, written: k.Value, rest: rest}, true
		}
	}
	return part{}, false
}
