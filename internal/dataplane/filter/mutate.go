// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
)

// Mutation is one change to a head's fields. Remove: the field is taken out. Otherwise Value is written by Action.
// Fields that belong to one connection, content-length and trailer are the encoders': what would write them has no
// effect, and content-length is not removed.
type Mutation struct {
	Name   string // without regard to case
	Remove bool
	Value  format.Template
	Action AppendAction
	// KeepEmpty writes a field whose value comes out empty (keep_empty_value); otherwise it is left out.
	KeepEmpty bool
}

// AppendAction is envoy.config.core.v3.HeaderValueOption.HeaderAppendAction.
type AppendAction uint8

// The actions.
const (
	AppendIfExistsOrAdd AppendAction = iota
	AddIfAbsent
	OverwriteIfExistsOrAdd
	OverwriteIfExists
)

// Mutations are changes to a head's fields, compiled. Immutable; nil changes nothing.
type Mutations struct {
	steps []step
}

// step is changes that are made together: removals, then what overwrites, then what is added, each value taken from the
// head as the removals left it.
type step struct {
	remove []name
	write  []write
}

type name struct {
	id    codec.FieldID // Other and EnvoyEdge stand for more than one name
	lower string
	bytes []byte
}

type write struct {
	name
	value   format.Template
	literal []byte // of a template without operators
	isText  bool
	action  AppendAction
	empty   bool
}

// NewMutations compiles changes that are made one after another, as Envoy does with lists of HeaderMutation
// (request_headers_mutations). They have to pass Check: those that do not are left out. Without any it returns nil.
func NewMutations(list []Mutation) *Mutations {
	m := &Mutations{}
	for i := range list {
		m.add(list[i : i+1])
	}
	return m.orNil()
}

// NewHeaderOps compiles the ..._headers_to_add and ..._headers_to_remove of several levels, the first first: with Envoy
// that is the weighted cluster, the route, the virtual host, the route configuration. Within a level fields are
// removed, then overwritten, then added, whatever their order here, and the values see the head as the removals left
// it. They have to pass Check: those that do not are left out. Without any it returns nil.
func NewHeaderOps(levels ...[]Mutation) *Mutations {
	m := &Mutations{}
	for _, l := range levels {
		m.add(l)
	}
	return m.orNil()
}

func (m *Mutations) orNil() *Mutations {
	if len(m.steps) == 0 {
		return nil
	}
	return m
}

// add compiles one step.
func (m *Mutations) add(list []Mutation) {
	var s step
	for i := range list {
		c := &list[i]
		if c.Check() != nil {
			continue
		}
		n := newName(c.Name)
		switch {
		case n.id == codec.ContentLength:
			continue
		case c.Remove:
			s.remove = append(s.remove, n)
			continue
		case n.id.HopByHop(), n.id == codec.Trailer:
			continue
		}
		w := write{name: n, value: c.Value, action: c.Action, empty: c.KeepEmpty}
		if text, ok := c.Value.Literal(); ok {
			w.isText, w.literal = true, []byte(text)
		}
		if !w.isText || w.empty || len(w.literal) > 0 {
			s.write = append(s.write, w)
		}
	}
	if len(s.remove)+len(s.write) > 0 {
		m.steps = append(m.steps, s)
	}
}

// Check refuses what Envoy refuses, in its words, and names that would break a head.
func (c *Mutation) Check() error {
	switch {
	case (strings.HasPrefix(c.Name, ":") || strings.EqualFold(c.Name, "host")) && c.Remove:
		return errors.New(":-prefixed or host headers may not be removed")
	case strings.HasPrefix(c.Name, ":") || strings.EqualFold(c.Name, "host"):
		return errors.New(":-prefixed or host headers may not be modified")
	case c.Name == "" || strings.ContainsFunc(c.Name, notToken):
		return fmt.Errorf("%q is no field name", c.Name)
	case c.Action > OverwriteIfExists:
		return fmt.Errorf("unknown append action %d", c.Action)
	}
	return nil
}

// notToken: RFC 9110 §5.6.2.
func notToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
}

// Request makes the changes to a request's head. v may be nil if no value has an operator; its Request is set to h.
func (m *Mutations) Request(h *codec.Head, v *format.Values) {
	if m == nil {
		return
	}
	if v != nil {
		v.Request = View(h)
	}
	m.apply(h, v)
}

// Answer makes the changes to an answer's head. v may be nil if no value has an operator; its Answer is set to h.
func (m *Mutations) Answer(h *codec.Head, v *format.Values) {
	if m == nil {
		return
	}
	if v != nil {
		v.Answer = View(h)
	}
	m.apply(h, v)
}

// Literal reports whether no value has an operator, so that nil Values will do.
func (m *Mutations) Literal() bool {
	return m == nil || !slices.ContainsFunc(m.steps, func(s step) bool {
		return slices.ContainsFunc(s.write, func(w write) bool { return !w.isText })
	})
}

func (m *Mutations) apply(h *codec.Head, v *format.Values) {
	var room [8]outcome
	for i := range m.steps {
		s := &m.steps[i]
		for k := range s.remove {
			s.remove[k].remove(h)
		}
		outcomes := room[:]
		if len(s.write) > len(room) {
			outcomes = make([]outcome, len(s.write))
		}
		for k := range s.write {
			outcomes[k] = s.write[k].decide(h, v)
		}
		for k := range s.write {
			if w := &s.write[k]; outcomes[k].overwrite {
				w.overwrite(h, outcomes[k].value)
			}
		}
		for k := range s.write {
			if w := &s.write[k]; outcomes[k].add {
				w.append(h, outcomes[k].value)
			}
		}
	}
}

// outcome is what becomes of one write.
type outcome struct {
	value          []byte
	overwrite, add bool
}

func (w *write) decide(h *codec.Head, v *format.Values) (o outcome) {
	o.value = w.literal
	if !w.isText {
		if v == nil {
			return o
		}
		at := len(h.Buf)
		h.Buf = w.value.Append(h.Buf, v)
		o.value = h.Buf[at:len(h.Buf):len(h.Buf)]
		if len(o.value) == 0 && !w.empty {
			return o
		}
	}
	switch w.action {
	case AppendIfExistsOrAdd:
		o.add = true
	case AddIfAbsent:
		o.add = w.first(h) < 0
	case OverwriteIfExists:
		o.overwrite = w.first(h) >= 0
	case OverwriteIfExistsOrAdd:
		o.overwrite = true
	}
	return o
}

func newName(s string) name {
	b := []byte(strings.ToLower(s))
	return name{id: codec.Identify(b), lower: string(b), bytes: b}
}

// is reports whether f has the name.
func (n *name) is(f *codec.Field) bool {
	return f.Name != nil && f.ID == n.id &&
		(n.id != codec.Other && n.id != codec.EnvoyEdge || codec.EqualFold(f.Name, n.lower))
}

func (n *name) first(h *codec.Head) int {
	for i := range h.Fields {
		if n.is(&h.Fields[i]) {
			return i
		}
	}
	return -1
}

func (n *name) remove(h *codec.Head) {
	for i := range h.Fields {
		if n.is(&h.Fields[i]) {
			h.Fields[i].Name = nil
		}
	}
}

// overwrite keeps the place of the first field of the name and removes the others.
func (n *name) overwrite(h *codec.Head, value []byte) {
	at := n.first(h)
	if at < 0 {
		h.Fields = append(h.Fields, codec.Field{ID: n.id, Name: n.bytes, Value: value})
		return
	}
	h.Fields[at].Value = value
	for i := at + 1; i < len(h.Fields); i++ {
		if n.is(&h.Fields[i]) {
			h.Fields[i].Name = nil
		}
	}
}

// append adds a field. To x-forwarded-for it adds an entry instead, as Envoy does: many read one field alone.
func (n *name) append(h *codec.Head, value []byte) {
	for i := len(h.Fields) - 1; i >= 0 && n.id == codec.ForwardedFor; i-- {
		if f := &h.Fields[i]; n.is(f) {
			f.Value = h.Store(f.Value, comma, value)
			return
		}
	}
	h.Fields = append(h.Fields, codec.Field{ID: n.id, Name: n.bytes, Value: value})
}

var comma = []byte(",")
