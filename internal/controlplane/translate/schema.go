// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"math"
	"reflect"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	corev1 "k8s.io/api/core/v1"
)

// protoShape is the shape of an Istio message: both its JSON and its proto field names are read.
func protoShape(d protoreflect.MessageDescriptor) *shape {
	return (&protoReader{done: map[protoreflect.FullName]*shape{}}).message(d)
}

type protoReader struct {
	done map[protoreflect.FullName]*shape
}

func (r *protoReader) message(d protoreflect.MessageDescriptor) *shape {
	switch d.FullName() {
	case "google.protobuf.Duration":
		return &shape{form: duration}
	case "google.protobuf.Timestamp":
		return &shape{form: text}
	case "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.Any":
		return &shape{form: opaque}
	}
	if d.ParentFile().Path() == "google/protobuf/wrappers.proto" {
		return r.scalar(d.Fields().ByName("value"))
	}
	if s := r.done[d.FullName()]; s != nil {
		return s
	}
	s := &shape{form: message, members: map[string]*member{}}
	r.done[d.FullName()] = s
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		m := &member{name: f.JSONName(), shape: r.field(f)}
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
			m.oneof = string(o.Name())
		}
		s.members[f.JSONName()], s.members[string(f.Name())] = m, m
	}
	return s
}

func (r *protoReader) field(f protoreflect.FieldDescriptor) *shape {
	switch {
	case f.IsMap():
		return &shape{form: dict, elem: r.single(f.MapValue())}
	case f.IsList():
		return &shape{form: list, elem: r.single(f)}
	default:
		return r.single(f)
	}
}

func (r *protoReader) single(f protoreflect.FieldDescriptor) *shape {
	if f.Message() != nil {
		return r.message(f.Message())
	}
	return r.scalar(f)
}

func (r *protoReader) scalar(f protoreflect.FieldDescriptor) *shape {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return &shape{form: boolean}
	case protoreflect.EnumKind:
		s := &shape{form: enum}
		for i := range f.Enum().Values().Len() {
			s.values = append(s.values, string(f.Enum().Values().Get(i).Name()))
		}
		return s
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return &shape{form: integer, min: math.MinInt32, max: math.MaxInt32}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return &shape{form: integer, max: math.MaxUint32}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return &shape{form: integer, min: math.MinInt64, max: math.MaxInt64}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return &shape{form: integer, max: math.MaxUint64}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return &shape{form: number}
	default:
		return &shape{form: text}
	}
}

// goShape is the shape of a Kubernetes type by its JSON tags.
func goShape(t reflect.Type) *shape {
	return (&goReader{done: map[reflect.Type]*shape{}}).value(t)
}

// objectMeta is the shape of every resource's metadata. What package source reads of it, it has checked.
func objectMeta() *shape {
	f, _ := reflect.TypeFor[corev1.Service]().FieldByName("ObjectMeta")
	s := goShape(f.Type)
	for _, name := range []string{"labels", "annotations", "creationTimestamp"} {
		s.members[name] = &member{name: name, shape: &shape{form: opaque}}
	}
	return s
}

type goReader struct{ done map[reflect.Type]*shape }

func (r *goReader) value(t reflect.Type) *shape {
	if s := r.done[t]; s != nil {
		return s
	}
	switch t.Name() {
	case "IntOrString":
		return &shape{form: intOrString}
	case "Time":
		return &shape{form: text}
	case "FieldsV1":
		return &shape{form: opaque}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return r.value(t.Elem())
	case reflect.Struct:
		s := &shape{form: message, members: map[string]*member{}}
		r.done[t] = s
		for f := range t.Fields() {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && name != "-" && options != "inline" {
				s.members[name] = &member{name: name, shape: r.value(f.Type)}
			}
		}
		return s
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return &shape{form: text}
		}
		return &shape{form: list, elem: r.value(t.Elem())}
	case reflect.Map:
		return &shape{form: dict, elem: r.value(t.Elem())}
	case reflect.Bool:
		return &shape{form: boolean}
	case reflect.Int32:
		return &shape{form: integer, min: math.MinInt32, max: math.MaxInt32}
	case reflect.Int64, reflect.Int:
		return &shape{form: integer, min: math.MinInt64, max: math.MaxInt64}
	default:
		return &shape{form: text}
	}
}
