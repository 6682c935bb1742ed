// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// walker compares a resource with its schema and with the lists of fields.
type walker struct {
	*report
	kind string
}

// spot is a value on the way: its path as the user wrote it, as documentation writes it, and as the lists write it.
type spot struct {
	node    *yaml.Node
	place   mesh.Place // with the path as the user wrote it
	path    string
	pattern string
}

func (s spot) key(name, written string, key, value *yaml.Node) spot {
	dot := "."
	if s.pattern == "" {
		dot = ""
	}
	return spot{value, s.below(dot+written, key.Line), s.path + dot + name, s.pattern + dot + name}
}

func (s spot) item(i int, value *yaml.Node) spot {
	at := fmt.Sprintf("[%d]", i)
	return spot{value, s.below(at, value.Line), s.path + at, s.pattern + "[]"}
}

func (s spot) entry(key, value *yaml.Node) spot {
	at := "[" + key.Value + "]"
	return spot{value, s.below(at, key.Line), s.path + at, s.pattern + "{}"}
}

func (s spot) below(written string, line int) mesh.Place {
	return mesh.Place{Field: s.place.Field + written, Line: line}
}

// walk visits a value. classified is set below a field that was found on a list: only its form is still checked.
func (w *walker) walk(at spot, s *shape, classified bool) {
	if isNull(at.node) {
		return
	}
	w.places[at.path] = at.place
	if !s.accepts(at.node) {
		w.add(mesh.Error, at.place, "is not "+s.want(), s.fix(at.node))
		return
	}
	if !classified && at.pattern != "" {
		classified = w.classify(at, s)
	}
	switch s.form {
	case message:
		w.message(at, s, classified)
	case list:
		for i, c := range at.node.Content {
			w.element(at.item(i, c), s.elem, classified)
		}
	case dict:
		for i := 0; i+1 < len(at.node.Content); i += 2 {
			w.element(at.entry(at.node.Content[i], at.node.Content[i+1]), s.elem, classified)
		}
	}
}

// element visits a value of a list or mapping, where null is no way to leave it out.
func (w *walker) element(at spot, s *shape, classified bool) {
	if isNull(at.node) && s.form != opaque {
		w.add(mesh.Error, at.place, "cannot be null", "remove it")
		return
	}
	w.walk(at, s, classified)
}

func (w *walker) message(at spot, s *shape, classified bool) {
	set := map[string]string{} // by canonical name or oneof: the spelling that set it
	for i := 0; i+1 < len(at.node.Content); i += 2 {
		k, v := at.node.Content[i], at.node.Content[i+1]
		m := s.members[k.Value]
		if m == nil {
			w.add(mesh.Error, at.key(k.Value, k.Value, k, v).place, fmt.Sprintf("unknown field %q", k.Value),
				suggestField(k.Value, s.names()))
			continue
		}
		next := at.key(m.name, k.Value, k, v)
		if isNull(v) {
			continue
		}
		if first, ok := set[m.name]; ok {
			w.add(mesh.Error, next.place, fmt.Sprintf("is set twice: as %s and as %s", first, k.Value), "keep one")
			continue
		}
		set[m.name] = k.Value
		if m.oneof != "" {
			if first, ok := set["oneof "+m.oneof]; ok {
				w.add(mesh.Error, next.place, fmt.Sprintf("excludes %s beside it", first), "keep one")
				continue
			}
			set["oneof "+m.oneof] = k.Value
		}
		w.walk(next, m.shape, classified)
	}
}

func suggestField(name string, known []string) string {
	if s := suggest(name, known); s != "" {
		return s
	}
	return "remove it, or move it to where it belongs; known here: " + strings.Join(known, ", ")
}

// classify finds a value on the lists and says what they say. It is false if only deeper values can be on a list.
func (w *walker) classify(at spot, s *shape) bool {
	if _, ok := implemented[w.kind][at.pattern]; ok {
		return true
	}
	r, ok := rules[w.kind][at.pattern]
	if !ok {
		r, ok = metadataRules[at.pattern]
	}
	switch {
	case ok:
		w.apply(r, at, s)
		return true
	case above(w.kind, at.pattern):
		return false
	default:
		// The schema is newer than the lists.
		w.unsupported(at.place, "is not implemented")
		return true
	}
}

// above tells whether a listed pattern is below this one.
func above(kind, pattern string) bool {
	below := func(p string) bool {
		return strings.HasPrefix(p, pattern) && len(p) > len(pattern) && strings.IndexByte(".[{", p[len(pattern)]) >= 0
	}
	for p := range implemented[kind] {
		if below(p) {
			return true
		}
	}
	for p := range rules[kind] {
		if below(p) {
			return true
		}
	}
	return pattern == "spec"
}

func (w *walker) apply(r rule, at spot, s *shape) {
	if r.verdict == inert || unset(at.node, s) || r.same != nil && r.same(at.node) {
		return
	}
	name := strings.TrimPrefix(at.pattern, "spec.")
	name = name[strings.LastIndexAny(name, "]}")+1:]
	name = strings.TrimPrefix(name, ".")
	if r.same != nil && at.node.Kind == yaml.ScalarNode {
		name += " " + at.node.Value // some values are implemented
	}
	deepest := narrow(at, s)
	switch r.verdict {
	case noted:
		w.add(mesh.Note, deepest.place, r.says, "")
	case warned:
		w.add(mesh.Warning, deepest.place, fmt.Sprintf("%s is not implemented: %s", name, r.says), "")
	case refused:
		w.dropped[at.path] = true
		w.unsupported(deepest.place, fmt.Sprintf("%s is not implemented, and it decides %s", name, r.says))
	}
}

// unset tells whether a value is its type's zero, which protobuf and the API server do not tell from none.
func unset(n *yaml.Node, s *shape) bool {
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
func narrow(at spot, s *shape) spot {
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
