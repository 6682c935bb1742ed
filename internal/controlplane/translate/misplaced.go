// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// How far from where it stands a field is looked for, in messages up and down, how many places are named that it may
// belong to (of more, none is likely to be meant), and how many names are listed.
const (
	maxSteps  = 3
	maxMoves  = 3
	maxPlaces = 8
)

// misplaced says where a field belongs that the message at a spot does not have: the nearest messages that have it,
// those above before those below. It is "" if there is none, or too many.
func misplaced(field string, at *spot) string {
	above := at.messages()
	if field != "" && at.by == byField && len(above) > 1 {
		long := at.name + strings.ToUpper(field[:1]) + field[1:]
		if above[1].shape.members[long] != nil { // mirror: {percentage: ...}
			return "write " + long + " beside " + at.written
		}
	}
	for steps := 1; steps <= maxSteps; steps++ {
		for up := min(steps, len(above)-1); up >= 0; up-- {
			base := ""
			if up > 0 {
				base = above[up].place().Field
			}
			if places := above[up].shape.having(field, steps-up, base); len(places) > 0 {
				return moveInto(places)
			}
		}
	}
	return ""
}

func moveInto(places []string) string {
	switch n := len(places); {
	case n > maxMoves:
		return ""
	case n > 1:
		return "move it into " + strings.Join(places[:n-1], ", ") + " or " + places[n-1]
	case places[0] == "":
		return "move it to the top, beside kind"
	default:
		return "move it into " + places[0]
	}
}

// sibling says which field beside a spot takes the mapping that stands there, where the spot takes none and has the
// older or shorter name of the two; "" if none does.
func (s *spot) sibling() string {
	if s.up == nil || s.by != byField || s.up.shape.form != message || s.node.Kind != yaml.MappingNode {
		return ""
	}
	for _, name := range s.up.shape.names() {
		m := s.up.shape.members[name]
		if name == s.name || m.shape.form != message || !strings.HasPrefix(name, s.name) {
			continue
		}
		known := true
		for i := 0; i+1 < len(s.node.Content); i += 2 {
			known = known && m.shape.members[s.node.Content[i].Value] != nil
		}
		if known {
			return "did you mean " + strconv.Quote(name) + "?"
		}
	}
	return ""
}

// messages are those on the way from a spot up to the whole resource.
func (s *spot) messages() []*spot {
	var all []*spot
	for ; s != nil; s = s.up {
		if s.shape.form == message {
			all = append(all, s)
		}
	}
	return all
}

// having are the messages so many steps below one at a path that have a field.
func (s *shape) having(field string, steps int, path string) []string {
	switch {
	case s.form == list || s.form == dict:
		return s.elem.having(field, steps, path+"[]")
	case s.form != message || steps == 0 && s.members[field] == nil:
		return nil
	case steps == 0:
		return []string{path}
	}
	var all []string
	for _, name := range s.names() {
		all = append(all, s.members[name].shape.having(field, steps-1, strings.TrimPrefix(path+"."+name, "."))...)
	}
	return all
}
