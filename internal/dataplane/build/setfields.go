// SPDX-License-Identifier: Apache-2.0

package build

import (
	"reflect"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// setField is a field of a message that is set.
type setField struct {
	name  protoreflect.Name
	fd    protoreflect.FieldDescriptor
	value reflect.Value // as it is in the message's struct
}

// eachSet calls see for the set fields of a message of generated type, in the order of their definition, until it finds
// a fault. Messages here have many fields of which few are set; looking at their structs is many times cheaper than
// asking for each field by its descriptor.
func eachSet(l *layout, m proto.Message, see func(setField) *fault) *fault {
	v := reflect.ValueOf(m).Elem()
	for i := range l.slots {
		f := &l.slots[i]
		value := v.Field(f.index)
		if f.choices != nil {
			if value.IsNil() {
				continue
			}
			w := value.Elem()
			if f.choices[w.Type()] != f.fd || w.IsNil() { // another of the group, whose turn it is not
				continue
			}
			value = w.Elem().Field(0)
		} else if empty(value) {
			continue
		}
		if bad := see(setField{f.fd.Name(), f.fd, value}); bad != nil {
			return bad
		}
	}
	return nil
}

// empty tells whether a field outside of a oneof is not set.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	default:
		return v.IsZero()
	}
}

// slot is where a message's struct has a field.
type slot struct {
	fd    protoreflect.FieldDescriptor
	index int
	// choices are the fields of a oneof by the types that stand for them there; nil outside of one.
	choices map[reflect.Type]protoreflect.FieldDescriptor
}

// layout is where the struct of a message type has its fields.
type layout struct {
	typ   reflect.Type
	slots []slot
}

var layouts sync.Map // reflect.Type -> *layout

// layoutOf returns the layout of m's type. Nodes of listed fields remember theirs.
func (f *field) layoutOf(m proto.Message) *layout {
	t := reflect.TypeOf(m).Elem()
	if l := f.layout.Load(); l != nil && l.typ == t {
		return l
	}
	l, ok := layouts.Load(t)
	if !ok {
		l, _ = layouts.LoadOrStore(t, newLayout(m, t))
	}
	f.layout.Store(l.(*layout))
	return l.(*layout)
}

func newLayout(m proto.Message, t reflect.Type) *layout {
	fields := m.ProtoReflect().Descriptor().Fields()
	byName := map[protoreflect.Name]slot{}
	groups := map[protoreflect.Name]int{}
	for i := range t.NumField() {
		if fd := fields.ByName(tagName(t.Field(i).Tag.Get("protobuf"))); fd != nil {
			byName[fd.Name()] = slot{fd: fd, index: i}
		} else if group := t.Field(i).Tag.Get("protobuf_oneof"); group != "" {
			groups[protoreflect.Name(group)] = i
		}
	}
	l := &layout{typ: t}
	for i := range fields.Len() {
		fd := fields.Get(i)
		if s, ok := byName[fd.Name()]; ok {
			l.slots = append(l.slots, s)
		} else if o := fd.ContainingOneof(); o != nil {
			l.slots = append(l.slots, slot{fd: fd, index: groups[o.Name()], choices: choices(m, o)})
		}
	}
	return l
}

// choices finds the types that stand for the fields of a oneof, by setting each.
func choices(m proto.Message, o protoreflect.OneofDescriptor) map[reflect.Type]protoreflect.FieldDescriptor {
	all := map[reflect.Type]protoreflect.FieldDescriptor{}
	for i := range o.Fields().Len() {
		fd := o.Fields().Get(i)
		one := m.ProtoReflect().New()
		one.Set(fd, one.NewField(fd))
		v := reflect.ValueOf(one.Interface()).Elem()
		for k := range v.NumField() {
			if v.Type().Field(k).Tag.Get("protobuf_oneof") == string(o.Name()) {
				all[v.Field(k).Elem().Type()] = fd
			}
		}
	}
	return all
}

// tagName reads the field's name in the definition out of a generated struct's tag.
func tagName(tag string) protoreflect.Name {
	for part := range strings.SplitSeq(tag, ",") {
		if name, ok := strings.CutPrefix(part, "name="); ok {
			return protoreflect.Name(name)
		}
	}
	return ""
}
