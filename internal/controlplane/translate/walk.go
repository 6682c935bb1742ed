// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"cmp"
	"fmt"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

// walker compares a resource with its schema and with the lists of fields.
type walker struct {
	*report
	visit func(path string) // of each value that is not null; nil: nothing
}

// walk visits a whole resource of a kind.
func (w *walker) walk(kind string, n *source.Node, s *shape) {
	w.value(&spot{node: n, line: w.resource.Line}, s, classes()[kind])
}

// class is what the lists say of a value and of what is below it.
type class struct {
	listed bool  // the value is on a list: what is below it only needs its form
	rule   *rule // of the list it is on; nil: implemented
	keys   map[string]*class
	item   *class
	entry  *class
}

// formOnly is the class of everything below a value that is on a list.
var formOnly = &class{listed: true}

// classes are the lists of fields of each kind as trees.
var classes = sync.OnceValue(func() map[string]*class {
	all := map[string]*class{}
	for _, k := range accepted {
		root := &class{}
		root.add("spec")
		for pattern := range implemented[k.name] {
			root.add(pattern).listed = true
		}
		for _, list := range []map[string]rule{rules[k.name], metadataRules} {
			for pattern, r := range list {
				*root.add(pattern) = class{listed: true, rule: &r}
			}
		}
		all[k.name] = root
	}
	return all
})

// add is the class of a pattern.
func (c *class) add(pattern string) *class {
	for pattern != "" {
		next := &c.item
		switch {
		case strings.HasPrefix(pattern, "[]"):
			pattern = pattern[2:]
		case strings.HasPrefix(pattern, "{}"):
			next, pattern = &c.entry, pattern[2:]
		default:
			name := strings.TrimPrefix(pattern, ".")
			end := strings.IndexAny(name, ".[{")
			if end < 0 {
				end = len(name)
			}
			name, pattern = name[:end], name[end:]
			if c.keys == nil {
				c.keys = map[string]*class{}
			}
			if c.keys[name] == nil {
				c.keys[name] = &class{}
			}
			c = c.keys[name]
			continue
		}
		if *next == nil {
			*next = &class{}
		}
		c = *next
	}
	return c
}

// below is the class of a part: formOnly below what is on a list, nil for what is not on one.
func (c *class) below(part *class) *class {
	if c == formOnly {
		return formOnly
	}
	return part
}

// value visits a value.
func (w *walker) value(at *spot, s *shape, c *class) {
	at.shape = s
	if isNull(at.node) {
		return
	}
	if w.visit != nil {
		w.visit(at.path())
	}
	if !s.accepts(at.node) {
		w.add(mesh.Error, at.place(), "is not "+s.want(), cmp.Or(at.sibling(), s.fix(at.node)))
		return
	}
	switch {
	case c == nil: // The schema is newer than the lists.
		w.unsupported(at.place(), "is not implemented")
		c = formOnly
	case c.listed:
		if c.rule != nil {
			w.apply(*c.rule, at, s)
		}
		c = formOnly
	}
	switch s.form {
	case message:
		w.message(at, s, c)
	case list:
		part := c.below(c.item)
		for i, n := range at.node.Content {
			w.element(at.item(i, n), s.elem, part)
		}
	case dict:
		part := c.below(c.entry)
		for i := 0; i+1 < len(at.node.Content); i += 2 {
			w.element(at.entry(at.node.Content[i], at.node.Content[i+1]), s.elem, part)
		}
	}
}

// element visits a value of a list or mapping, where null is no way to leave it out.
func (w *walker) element(at *spot, s *shape, c *class) {
	if isNull(at.node) && s.form != opaque {
		w.add(mesh.Error, at.place(), "cannot be null", "remove it")
		return
	}
	w.value(at, s, c)
}

// setBy is a field or a oneof of a message, and the spelling that set it.
type setBy struct {
	oneof          bool
	name, spelling string
}

func (w *walker) message(at *spot, s *shape, c *class) {
	var known [8]setBy
	set := known[:0]
	taken := func(oneof bool, name string) string {
		for _, x := range set {
			if x.oneof == oneof && x.name == name {
				return x.spelling
			}
		}
		return ""
	}
	for i := 0; i+1 < len(at.node.Content); i += 2 {
		k, v := at.node.Content[i], at.node.Content[i+1]
		m := s.members[k.Value]
		if m == nil {
			w.add(mesh.Error, at.key(k.Value, k.Value, k, v).place(), fmt.Sprintf("unknown field %q", k.Value),
				suggestField(k.Value, at))
			continue
		}
		next := at.key(m.name, k.Value, k, v)
		if isNull(v) {
			continue
		}
		if first := taken(false, m.name); first != "" {
			w.add(mesh.Error, next.place(), fmt.Sprintf("is set twice: as %s and as %s", first, k.Value), "keep one")
			continue
		}
		set = append(set, setBy{false, m.name, k.Value})
		if m.oneof != "" {
			if first := taken(true, m.oneof); first != "" {
				w.add(mesh.Error, next.place(), fmt.Sprintf("excludes %s beside it", first), "keep one")
				continue
			}
			set = append(set, setBy{true, m.oneof, k.Value})
		}
		w.value(next, m.shape, c.below(c.keys[m.name]))
	}
}

// suggestField says what to do about a field that the message at a spot does not have.
func suggestField(name string, at *spot) string {
	known := at.shape.names()
	return cmp.Or(suggest(name, known), misplaced(name, at),
		"remove it, or move it to where it belongs; known here: "+strings.Join(known, ", "))
}

func (w *walker) apply(r rule, at *spot, s *shape) {
	if r.verdict == inert || unset(at.node, s) || r.same != nil && r.same(at.node) {
		return
	}
	name := strings.TrimPrefix(at.pattern(), "spec.")
	name = name[strings.LastIndexAny(name, "]}")+1:]
	name = strings.TrimPrefix(name, ".")
	if r.same != nil && at.node.Kind == yaml.ScalarNode {
		name += " " + at.node.Value // some values are implemented
	}
	deepest := narrow(at, s)
	switch r.verdict {
	case noted:
		w.add(mesh.Note, deepest.place(), r.says, "")
	case warned:
		w.add(mesh.Warning, deepest.place(), fmt.Sprintf("%s is not implemented: %s", name, r.says), "")
	case refused:
		w.drop(at.path())
		w.unsupported(deepest.place(), fmt.Sprintf("%s is not implemented, and it decides %s", name, r.says))
	}
}

// unset tells whether a value is its type's zero, which protobuf and the API server do not tell from none.
func unset(n *source.Node, s *shape) bool {
	switch s.form {
	case list, dict:
		return len(n.Content) == 0
	case text:
		return n.Value == ""
	case integer:
		return n.Value == "0"
	case boolean:
		return n.Value == "false"
	default:
		return false
	}
}

// narrow goes down while a value sets one thing only, so that a problem names the very field, and the whole if it sets
// several.
func narrow(at *spot, s *shape) *spot {
	for {
		n := at.node
		switch {
		case s.form == message && len(n.Content) == 2 && s.members[n.Content[0].Value] != nil && !isNull(n.Content[1]):
			m := s.members[n.Content[0].Value]
			at, s = at.key(m.name, n.Content[0].Value, n.Content[0], n.Content[1]), m.shape
		case s.form == list && s.elem.form == message && len(n.Content) == 1 && n.Content[0].Kind == yaml.MappingNode:
			at, s = at.item(0, n.Content[0]), s.elem
		case s.form == dict && s.elem.form == message && len(n.Content) == 2 && n.Content[1].Kind == yaml.MappingNode:
			at, s = at.entry(n.Content[0], n.Content[1]), s.elem
		default:
			return at
		}
	}
}
