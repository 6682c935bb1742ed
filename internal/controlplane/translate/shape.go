// SPDX-License-Identifier: Apache-2.0

package translate

import (
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
		return "true or false"
	case enum:
		return "one of " + strings.Join(s.values, ", ")
	case duration:
		return `a duration such as "5s" or "100ms"`
	case intOrString:
		return "a port number or a name"
	default:
		return "a value"
	}
}

// fix is what to write in place of a node that s does not accept.
func (s *shape) fix(n *source.Node) string {
	fix := "write " + s.want()
	if n.Kind != yaml.ScalarNode {
		return fix
	}
	value := n.Value
	if n.Tag == "!!str" {
		value = strconv.Quote(value)
	}
	switch s.form {
	case message:
		if names := s.names(); len(names) == 1 {
			return fmt.Sprintf("write {%s: %s}", names[0], value)
		}
	case list:
		if s.elem.form != message {
			return fmt.Sprintf("write [%s]", value)
		}
	case text, enum:
		return fix + "; a string that looks like something else needs quotes"
	case duration:
		if n.Tag != "!!str" {
			return fix + "; it needs a unit"
		}
	case integer, number, boolean:
		if n.Tag == "!!str" {
			return fix + " without quotes"
		}
	}
	return fix
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
