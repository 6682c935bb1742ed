// SPDX-License-Identifier: Apache-2.0

package build

import (
	_ "embed" // the lists
	"fmt"
	"slices"
	"strings"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// The lists of xDS fields: what is on neither of these two is refused. testdata/refused.txt spells that third one out,
// so that a field that a new version of the API brings is seen and decided on.
var (
	//go:embed implemented.txt
	implementedList string
	//go:embed tolerated.txt
	toleratedList string

	knownFields = parseLists()
)

// field is a node in the tree of listed fields of a type.
type field struct {
	tolerated bool
	values    []string // what it may be set to; none: anything
	note      string   // the golden, or the reason
	children  map[protoreflect.Name]*field
}

// fields are the trees by the full name of the type they start from.
type fields map[protoreflect.FullName]*field

func parseLists() fields {
	known := fields{}
	known.parse(implementedList, false)
	known.parse(toleratedList, true)
	return known
}

// parse reads one list. The lists are part of the program: what it cannot read, a test finds as a field not listed.
func (fs fields) parse(list string, tolerated bool) {
	var root *field
	for line := range strings.Lines(list) {
		line, note, _ := strings.Cut(strings.TrimSpace(line), "|")
		path, values, _ := strings.Cut(line, "=")
		path = strings.TrimSpace(path)
		if path == "" || path[0] == '#' {
			continue
		}
		if path[0] == '[' {
			name := protoreflect.FullName(strings.Trim(path, "[]"))
			if fs[name] == nil {
				fs[name] = &field{}
			}
			root = fs[name]
			continue
		}
		f := root
		for name := range strings.SplitSeq(path, ".") {
			f = f.child(protoreflect.Name(name))
		}
		f.tolerated, f.values, f.note = tolerated, strings.Fields(values), strings.TrimSpace(note)
	}
}

func (f *field) child(name protoreflect.Name) *field {
	if f.children == nil {
		f.children = map[protoreflect.Name]*field{}
	}
	if f.children[name] == nil {
		f.children[name] = &field{}
	}
	return f.children[name]
}

// fault is why a resource is refused, and where in it.
type fault struct {
	path   string
	reason string
}

func faultf(path, format string, args ...any) *fault {
	return &fault{path: path, reason: fmt.Sprintf(format, args...)}
}

// under puts the fault below a field.
func (f *fault) under(path string) *fault {
	if f == nil {
		return nil
	}
	return &fault{path: join(path, f.path), reason: f.reason}
}

func join(path, name string) string {
	if path == "" || name == "" {
		return path + name
	}
	return path + "." + name
}

// checkFields finds the first field, in the order of the message's definition, that is set and not listed.
func checkFields(m proto.Message) *fault {
	r := m.ProtoReflect()
	return knownFields[r.Descriptor().FullName()].check(r, "")
}

func (f *field) check(m protoreflect.Message, path string) *fault {
	if f == nil {
		return faultf(path, "type %s is not implemented", m.Descriptor().FullName())
	}
	if u := m.GetUnknown(); len(u) > 0 {
		number, _, _ := protowire.ConsumeTag(u)
		return faultf(path, "%s has no field number %d that is known here", m.Descriptor().FullName(), number)
	}
	all := m.Descriptor().Fields()
	for i := range all.Len() {
		fd := all.Get(i)
		if !m.Has(fd) {
			continue
		}
		if bad := f.checkField(fd, m.Get(fd), join(path, string(fd.Name()))); bad != nil {
			return bad
		}
	}
	return nil
}

func (f *field) checkField(fd protoreflect.FieldDescriptor, v protoreflect.Value, path string) *fault {
	c := f.children[fd.Name()]
	if c == nil {
		return faultf(path, "not implemented")
	}
	if fd.IsMap() {
		return nil // listed as a whole
	}
	if !fd.IsList() {
		return c.checkValue(fd, v, path)
	}
	for i, l := 0, v.List(); i < l.Len(); i++ {
		if bad := c.checkValue(fd, l.Get(i), fmt.Sprintf("%s[%d]", path, i)); bad != nil {
			return bad
		}
	}
	return nil
}

func (f *field) checkValue(fd protoreflect.FieldDescriptor, v protoreflect.Value, path string) *fault {
	if fd.Message() == nil {
		return f.checkScalar(fd, v, path)
	}
	m := v.Message()
	name := m.Descriptor().FullName()
	switch {
	case f.children != nil:
		if isSkipped(m) {
			return nil
		}
		return f.check(m, path)
	case name == "google.protobuf.Any" && !f.tolerated:
		return checkAny(m.Interface().(*anypb.Any), path)
	case name.Parent() == "google.protobuf":
		if inner := m.Descriptor().Fields().ByName("value"); len(f.values) > 0 {
			return f.checkScalar(inner, m.Get(inner), path)
		}
		return nil
	case f.tolerated:
		return nil
	case knownFields[name] != nil:
		return knownFields[name].check(m, path)
	default: // a message that is a mark and has no fields
		return f.check(m, path)
	}
}

func (f *field) checkScalar(fd protoreflect.FieldDescriptor, v protoreflect.Value, path string) *fault {
	if len(f.values) == 0 {
		return nil
	}
	s := v.String()
	if e := fd.Enum(); e != nil {
		if d := e.Values().ByNumber(v.Enum()); d != nil {
			s = string(d.Name())
		}
	}
	if !slices.Contains(f.values, s) {
		return faultf(path, "%s is not implemented, only %s", s, strings.Join(f.values, ", "))
	}
	return nil
}

func checkAny(a *anypb.Any, path string) *fault {
	known := knownFields[a.MessageName()]
	if known == nil {
		return faultf(path, "type %s is not implemented", a.MessageName())
	}
	m, err := a.UnmarshalNew()
	if err != nil {
		return faultf(path, "%v", err)
	}
	return known.check(m.ProtoReflect(), path)
}

// isSkipped tells whether m is an HTTP filter that may be left out
// (envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter.is_optional), and has to be.
func isSkipped(m protoreflect.Message) bool {
	f, ok := m.Interface().(*hcmv3.HttpFilter)
	return ok && f.GetIsOptional() && knownFields[f.GetTypedConfig().MessageName()] == nil
}
