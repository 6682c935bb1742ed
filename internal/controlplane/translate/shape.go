// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

// form is what a value of a schema looks like in YAML.
type form int

const (
	opaque      form = iota // anything: not looked into
	message                 // a mapping with known keys
	list                    // a sequence
	dict                    // a mapping with free keys
	text                    // a string
	integer                 // an integer in a range
	number                  // an integer or a float
	boolean                 // a boolean
	enum                    // one of some strings
	duration                // a string that time.ParseDuration reads
	intOrString             // Kubernetes' IntOrString
)

// shape is the schema of a value, whatever it was declared in. It is immutable once its kind's shape was built.
type shape struct {
	form     form
	members  map[string]*member // message: by each spelling that is read
	elem     *shape             // list, dict
	min, max float64            // integer
	values   []string           // enum
}

// member is a field of a message. name is the spelling that documentation uses.
type member struct {
	name  string
	oneof string // the fields of a message with the same oneof exclude each other
	shape *shape
}

// names lists the spellings of a message's fields, one a field, sorted.
func (s *shape) names() []string {
	var names []string
	for spelling, m := range s.members {
		if spelling == m.name {
			names = append(names, m.name)
		}
	}
	slices.Sort(names)
	return names
}

// leaf tells whether a pattern ends at s: a scalar, or a list or mapping of scalars.
func (s *shape) leaf() bool {
	switch s.form {
	case message:
		return false
	case list, dict:
		return s.elem.form != message && s.elem.leaf()
	default:
		return true
	}
}

// want is what to write where something else stands.
func (s *shape) want() string {
	switch s.form {
	case message, dict:
		return "a mapping"
	case list:
		return "a list"
	case text:
		return "a string"
	case integer:
		return fmt.Sprintf("an integer from %.0f to %.0f", s.min, s.max)
	case number:
		return "a number"
	case boolean:
		return "a boolean"
	case enum:
		return "one of " + strings.Join(s.values, ", ")
	case duration:
		return "a duration"
	case intOrString:
		return "a port number or a name"
	default:
		return "a value"
	}
}

// fix is what to write in place of a node that s does not accept.
func (s *shape) fix(n *source.Node) string {
	switch {
	case s.form == list && n.Kind == yaml.ScalarNode && s.elem.form != message:
		return fmt.Sprintf("write [%s]", literal(n))
	case s.form == list:
		return "begin each item with -"
	case n.Kind == yaml.SequenceNode:
		return "write it without -: it is no list"
	case s.form == message && n.Kind == yaml.ScalarNode:
		return s.wrap(n)
	case s.form == dict:
		return "write key: value"
	case n.Kind != yaml.ScalarNode:
		return "write a single value"
	}
	switch plain := strings.TrimSuffix(n.Value, "%"); s.form {
	case enum:
		return cmp.Or(suggest(n.Value, s.values), "write one of these")
	case duration:
		if n.Tag == "!!int" {
			return fmt.Sprintf("it needs a unit: write %ss or %[1]sms", n.Value)
		}
		return "write it as 5s, 100ms or 1h30m"
	case boolean:
		return "write true or false, without quotes"
	case integer, number:
		if _, err := strconv.ParseFloat(plain, 64); err != nil || n.Tag != "!!str" {
			return "write a number"
		}
		if plain != n.Value {
			return "write " + plain + " without %"
		}
		return "write " + plain + " without quotes"
	default:
		return "put it in quotes"
	}
}

// wrap is what to write where a message belongs and n, which has no fields, stands.
func (s *shape) wrap(n *source.Node) string {
	names := s.names()
	var ways []string // for messages that are one of several texts, or have one field
	for _, name := range names {
		m := s.members[name]
		if m.shape.form == text && m.oneof != "" && m.oneof == s.members[names[0]].oneof || len(names) == 1 {
			ways = append(ways, fmt.Sprintf("{%s: %s}", name, literal(n)))
		}
	}
	switch {
	case len(ways) == len(names):
		return "write " + strings.Join(ways, " or ")
	case len(names) > maxPlaces:
		return "write fields below it"
	default:
		return "write fields below it: " + strings.Join(names, ", ")
	}
}

// literal is a scalar as one may write it.
func literal(n *source.Node) string {
	if n.Tag == "!!str" {
		return strconv.Quote(n.Value)
	}
	return n.Value
}

// accepts tells whether a node that is not null has the form of s, without looking at what it contains.
func (s *shape) accepts(n *source.Node) bool {
	switch s.form {
	case opaque:
		return true
	case message, dict:
		return n.Kind == yaml.MappingNode
	case list:
		return n.Kind == yaml.SequenceNode
	}
	if n.Kind != yaml.ScalarNode {
		return false
	}
	switch s.form {
	case integer:
		v, err := strconv.ParseFloat(n.Value, 64)
		return n.Tag == "!!int" && err == nil && s.min <= v && v <= s.max
	case number:
		_, err := strconv.ParseFloat(n.Value, 64)
		return (n.Tag == "!!int" || n.Tag == "!!float") && err == nil
	case boolean:
		return n.Tag == "!!bool"
	case enum:
		return n.Tag == "!!str" && slices.Contains(s.values, n.Value)
	case duration:
		_, err := time.ParseDuration(n.Value)
		return n.Tag == "!!str" && err == nil
	case intOrString:
		v, err := strconv.ParseFloat(n.Value, 64)
		return n.Tag == "!!str" || n.Tag == "!!int" && err == nil && math.MinInt32 <= v && v <= math.MaxInt32
	default:
		return n.Tag == "!!str"
	}
}

func isNull(n *source.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// resource is the shape of a whole object with the given spec.
func resource(spec *shape) *shape {
	word := &shape{form: text}
	return &shape{form: message, members: map[string]*member{
		"apiVersion": {name: "apiVersion", shape: word},
		"kind":       {name: "kind", shape: word},
		"metadata":   {name: "metadata", shape: objectMeta()},
		"spec":       {name: "spec", shape: spec},
		"status":     {name: "status", shape: &shape{form: opaque}},
	}}
}

// shapes builds the shape of each kind once.
var shapes = sync.OnceValue(func() map[string]*shape {
	m := map[string]*shape{}
	for _, k := range accepted {
		m[k.name] = k.shape()
	}
	return m
})
