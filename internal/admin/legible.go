// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/base64"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// legible replaces, anywhere in m, packed messages of types that this binary does not know, as an optional filter may
// have them, by a google.protobuf.Struct of type_url and value (base64). Without that one such message would cost the
// whole dump.
func legible(m protoreflect.Message) error {
	if a, ok := m.Interface().(*anypb.Any); ok {
		return legiblePacked(a)
	}
	var err error
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					err = legible(v.Message())
					return err == nil
				})
			}
		case fd.Message() == nil:
		case fd.IsList():
			list := v.List()
			for i := 0; i < list.Len() && err == nil; i++ {
				err = legible(list.Get(i).Message())
			}
		default:
			err = legible(v.Message())
		}
		return err == nil
	})
	return err
}

func legiblePacked(a *anypb.Any) error {
	if a.GetTypeUrl() == "" && len(a.GetValue()) == 0 {
		return nil
	}
	inner, err := a.UnmarshalNew()
	if err != nil {
		inner, err = structpb.NewStruct(map[string]any{
			"type_url": a.GetTypeUrl(),
			"value":    base64.StdEncoding.EncodeToString(a.GetValue()),
		})
	} else {
		err = legible(inner.ProtoReflect())
	}
	if err != nil {
		return err
	}
	return anypb.MarshalFrom(a, inner, proto.MarshalOptions{Deterministic: true})
}
