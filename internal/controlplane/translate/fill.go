// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

// fill writes a mapping that the walker accepted whole into an empty message: what decoding its JSON gives, for a
// fraction of the work. It is an error where it does not know the type or the spelling of a value: JSON then tells.
func fill(m protoreflect.Message, n *source.Node) error {
	fields := m.Descriptor().Fields()
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		if isNull(value) {
			continue
		}
		f := fields.ByJSONName(key)
		if f == nil {
			f = fields.ByTextName(key)
		}
		if f == nil {
			return fmt.Errorf("unknown field %q", key)
		}
		if err := fillField(m, f, value); err != nil {
			return err
		}
	}
	return nil
}

func fillField(m protoreflect.Message, f protoreflect.FieldDescriptor, n *source.Node) error {
	switch {
	case f.IsMap():
		if n.Kind != yaml.MappingNode || f.MapKey().Kind() != protoreflect.StringKind {
			return errKind
		}
		to := m.Mutable(f).Map()
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := fillValue(f.MapValue(), n.Content[i+1], to.NewValue)
			if err != nil {
				return err
			}
			to.Set(protoreflect.ValueOfString(n.Content[i].Value).MapKey(), v)
		}
	case f.IsList():
		if n.Kind != yaml.SequenceNode {
			return errKind
		}
		to := m.Mutable(f).List()
		for _, c := range n.Content {
			v, err := fillValue(f, c, to.NewElement)
			if err != nil {
				return err
			}
			to.Append(v)
		}
	default:
		v, err := fillValue(f, n, func() protoreflect.Value { return m.NewField(f) })
		if err != nil {
			return err
		}
		m.Set(f, v)
	}
	return nil
}

var errKind = errors.New("not of a kind that is filled in")

// fillValue is one value; empty makes the message that it is, if it is one.
func fillValue(f protoreflect.FieldDescriptor, n *source.Node, empty func() protoreflect.Value) (protoreflect.Value, error) {
	if f.Message() == nil {
		return fillScalar(f, n)
	}
	v := empty()
	switch name := f.Message().FullName(); {
	case name == "google.protobuf.Duration":
		d, err := time.ParseDuration(n.Value)
		proto.Merge(v.Message().Interface(), durationpb.New(d))
		return v, err
	case f.Message().ParentFile().Path() == "google/protobuf/wrappers.proto":
		inner := f.Message().Fields().ByName("value")
		x, err := fillScalar(inner, n)
		if err == nil {
			v.Message().Set(inner, x)
		}
		return v, err
	case name.Parent() == "google.protobuf" || n.Kind != yaml.MappingNode:
		return v, errKind
	}
	return v, fill(v.Message(), n)
}

func fillScalar(f protoreflect.FieldDescriptor, n *source.Node) (protoreflect.Value, error) {
	none := protoreflect.Value{}
	if n.Kind != yaml.ScalarNode {
		return none, errKind
	}
	switch f.Kind() {
	case protoreflect.StringKind:
		if n.Tag == "!!str" {
			return protoreflect.ValueOfString(n.Value), nil
		}
	case protoreflect.BoolKind:
		switch n.Value {
		case "true":
			return protoreflect.ValueOfBool(true), nil
		case "false":
			return protoreflect.ValueOfBool(false), nil
		}
	case protoreflect.EnumKind:
		if v := f.Enum().Values().ByName(protoreflect.Name(n.Value)); v != nil {
			return protoreflect.ValueOfEnum(v.Number()), nil
		}
	case protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.Int64Kind, protoreflect.Uint64Kind,
		protoreflect.DoubleKind:
		return fillNumber(f.Kind(), n)
	case protoreflect.BytesKind:
		b, err := base64.StdEncoding.DecodeString(n.Value)
		return protoreflect.ValueOfBytes(b), err
	}
	return none, errKind
}

// fillNumber reads numbers as JSON spells them. YAML has more spellings.
func fillNumber(kind protoreflect.Kind, n *source.Node) (protoreflect.Value, error) {
	if digits := n.Value; len(digits) > 1 && digits[0] == '0' && digits[1] != '.' || n.Tag == "!!str" {
		return protoreflect.Value{}, errKind
	}
	switch kind {
	case protoreflect.Int32Kind:
		v, err := strconv.ParseInt(n.Value, 10, 32)
		return protoreflect.ValueOfInt32(int32(v)), err
	case protoreflect.Uint32Kind:
		v, err := strconv.ParseUint(n.Value, 10, 32)
		return protoreflect.ValueOfUint32(uint32(v)), err
	case protoreflect.Int64Kind:
		v, err := strconv.ParseInt(n.Value, 10, 64)
		return protoreflect.ValueOfInt64(v), err
	case protoreflect.Uint64Kind:
		v, err := strconv.ParseUint(n.Value, 10, 64)
		return protoreflect.ValueOfUint64(v), err
	default:
		v, err := strconv.ParseFloat(n.Value, 64)
		return protoreflect.ValueOfFloat64(v), err
	}
}

// specNode is the spec of a resource; nil if it has none.
func specNode(resource *source.Node) *source.Node {
	for i := 0; i+1 < len(resource.Content); i += 2 {
		if n := resource.Content[i+1]; resource.Content[i].Value == "spec" && n.Kind == yaml.MappingNode {
			return n
		}
	}
	return nil
}
