// SPDX-License-Identifier: Apache-2.0

package build

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/umbra-mesh/umbra/internal/xds"
)

// listed is a field on one of the lists, or one beside them that is on none.
type listed struct {
	typ   protoreflect.FullName // the section's
	path  []protoreflect.Name
	fd    protoreflect.FieldDescriptor
	field *field // nil: refused
}

func (l listed) String() string {
	s := string(l.typ)
	for _, p := range l.path {
		s += "." + string(p)
	}
	return s
}

// everyField returns all fields of the messages that the lists reach into, in order.
func everyField(t testing.TB) []listed {
	var all []listed
	for _, typ := range slices.Sorted(maps.Keys(knownFields)) {
		m, err := protoregistry.GlobalTypes.FindMessageByName(typ)
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		all = append(all, fieldsBelow(t, listed{typ: typ, field: knownFields[typ]}, m.Descriptor())...)
	}
	return all
}

func fieldsBelow(t testing.TB, at listed, d protoreflect.MessageDescriptor) []listed {
	var all []listed
	found := 0
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		l := listed{
			typ: at.typ, path: append(slices.Clone(at.path), fd.Name()), fd: fd, field: at.field.children[fd.Name()],
		}
		if l.field != nil {
			found++
		}
		if l.field != nil && l.field.children != nil {
			if fd.Message() == nil {
				t.Fatalf("%v has nothing below it", l)
			}
			all = append(all, fieldsBelow(t, l, fd.Message())...)
			continue
		}
		all = append(all, l)
	}
	if found != len(at.field.children) {
		t.Errorf("%v has %v listed, of which only %d exist", at, slices.Collect(maps.Keys(at.field.children)), found)
	}
	return all
}

// edit calls fn for the messages of a type in the resources, those in an Any too, with their path without indexes,
// until it returns false.
func edit(t testing.TB, r *xds.Resources, typ protoreflect.FullName, fn func(protoreflect.Message, string) bool) {
	e := editor{t: t, typ: typ, fn: fn}
	for _, m := range r.Listeners {
		e.visit(m.ProtoReflect(), "")
	}
	for _, m := range r.Routes {
		e.visit(m.ProtoReflect(), "")
	}
	for _, m := range r.Clusters {
		e.visit(m.ProtoReflect(), "")
	}
	for _, m := range r.Endpoints {
		e.visit(m.ProtoReflect(), "")
	}
}

type editor struct {
	t    testing.TB
	typ  protoreflect.FullName
	fn   func(protoreflect.Message, string) bool
	done bool
}

func (e *editor) visit(m protoreflect.Message, path string) {
	if e.done {
		return
	}
	if a, ok := m.Interface().(*anypb.Any); ok {
		inner, err := a.UnmarshalNew()
		if err == nil {
			e.visit(inner.ProtoReflect(), path)
			err = a.MarshalFrom(inner)
		}
		if err != nil {
			e.t.Fatal(err)
		}
		return
	}
	if m.Descriptor().FullName() == e.typ && !e.fn(m, path) {
		e.done = true
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		below := join(path, string(fd.Name()))
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() == nil {
				break
			}
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				e.visit(v.Message(), below+"["+k.String()+"]")
				return !e.done
			})
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				e.visit(v.List().Get(i).Message(), below)
			}
		default:
			e.visit(v.Message(), below)
		}
		return !e.done
	})
}

// clearField removes the field at path wherever it is set below m, and tells how often that was.
func clearField(m protoreflect.Message, path []protoreflect.Name) (n int) {
	fd := m.Descriptor().Fields().ByName(path[0])
	switch {
	case !m.Has(fd):
	case len(path) == 1:
		m.Clear(fd)
		return 1
	case fd.IsList():
		for i := range m.Get(fd).List().Len() {
			n += clearField(m.Get(fd).List().Get(i).Message(), path[1:])
		}
	default:
		n = clearField(m.Get(fd).Message(), path[1:])
	}
	return n
}

// place sets the field at path below m, in the first element of every list on the way, making what is not there.
func place(t testing.TB, m protoreflect.Message, path []protoreflect.Name, v protoreflect.Value) {
	fd := m.Descriptor().Fields().ByName(path[0])
	switch {
	case len(path) == 1 && fd.IsList():
		m.Mutable(fd).List().Append(v)
	case len(path) == 1 && fd.IsMap():
		m.Mutable(fd).Map().Set(someValue(t, fd.MapKey()).MapKey(), someValue(t, fd.MapValue()))
	case len(path) == 1:
		m.Set(fd, v)
	case fd.IsList():
		l := m.Mutable(fd).List()
		if l.Len() == 0 {
			l.AppendMutable()
		}
		place(t, l.Get(0).Message(), path[1:], v)
	default:
		place(t, m.Mutable(fd).Message(), path[1:], v)
	}
}

// someValue is a value of the field's type that counts as set; of a message, an empty one; of a list, an element.
func someValue(t testing.TB, fd protoreflect.FieldDescriptor) protoreflect.Value {
	if fd.IsMap() {
		return protoreflect.Value{} // its entry is made where it is placed
	}
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(1)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(1)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(1)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("1")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("1"))
	default:
		m, err := protoregistry.GlobalTypes.FindMessageByName(fd.Message().FullName())
		if err != nil {
			t.Fatal(err)
		}
		return protoreflect.ValueOfMessage(m.New())
	}
}

var indexes = regexp.MustCompile(`\[\d+\]`)

func withoutIndexes(path string) string { return indexes.ReplaceAllString(path, "") }

func clone(r *xds.Resources) *xds.Resources {
	return &xds.Resources{
		Version: r.Version, Listeners: cloneAll(r.Listeners), Routes: cloneAll(r.Routes),
		Clusters: cloneAll(r.Clusters), Endpoints: cloneAll(r.Endpoints),
	}
}

func cloneAll[M proto.Message](list []M) []M {
	var all []M
	for _, m := range list {
		all = append(all, proto.Clone(m).(M))
	}
	return all
}

func pathText(path []protoreflect.Name) string {
	var s []string
	for _, p := range path {
		s = append(s, string(p))
	}
	return strings.Join(s, ".")
}
