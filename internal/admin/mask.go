// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// trim cuts m down to the fields that the paths name (google.protobuf.FieldMask); a path may go on inside a packed
// message. It reports whether every path names a field; if one does not, m is in no useful state.
func trim(m protoreflect.Message, paths []string) bool {
	if a, ok := m.Interface().(*anypb.Any); ok {
		return trimPacked(a, paths)
	}
	inner := make(map[protoreflect.Name][]string) // field -> what to keep inside; nil: all
	for _, p := range paths {
		first, rest, deeper := strings.Cut(p, ".")
		name := protoreflect.Name(first)
		fd := m.Descriptor().Fields().ByName(name)
		if fd == nil || deeper && (fd.Message() == nil || fd.IsList() || fd.IsMap()) {
			return false
		}
		have, seen := inner[name]
		switch {
		case !deeper || seen && have == nil:
			inner[name] = nil
		default:
			inner[name] = append(have, rest)
		}
	}
	ok := true
	m.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		rest, keep := inner[fd.Name()]
		switch {
		case !keep:
			m.Clear(fd)
		case rest != nil:
			ok = trim(m.Mutable(fd).Message(), rest) && ok
		}
		return true
	})
	return ok
}

func trimPacked(a *anypb.Any, paths []string) bool {
	inner, err := a.UnmarshalNew()
	if err != nil || !trim(inner.ProtoReflect(), paths) {
		return false
	}
	return anypb.MarshalFrom(a, inner, proto.MarshalOptions{Deterministic: true}) == nil
}
