// SPDX-License-Identifier: Apache-2.0

package build

import (
	_ "embed" // the lists
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
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
	layout    atomic.Pointer[layout] // of the messages that were checked against it last
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
	if path == "" || name == "" || name[0] == '[' {
		return path + name
	}
	return path + "." + name
}

// checkFields finds the first field, in the order of the message's definition, that is set and not listed.
func checkFields(m proto.Message) *fault {
	return knownFields[proto.MessageName(m)].check(m)
}

func (f *field) check(m proto.Message) *fault {
	if f == nil {
		return faultf("", "type %s is not implemented", proto.MessageName(m))
	}
	if u := m.ProtoReflect().GetUnknown(); len(u) > 0 {
		number, _, _ := protowire.ConsumeTag(u)
		return faultf("", "%s has no field number %d that is known here", proto.MessageName(m), number)
	}
	return eachSet(f.layoutOf(m), m, func(s setField) *fault {
		c := f.children[s.name]
		if c == nil {
			return faultf(string(s.name), "not implemented")
		}
		switch {
		case s.fd.IsMap():
			return c.checkMap(s).under(string(s.name))
		case !s.fd.IsList():
			return c.checkValue(s.fd, s.value).under(string(s.name))
		}
		for i := range s.value.Len() {
			if bad := c.checkValue(s.fd, s.value.Index(i)); bad != nil {
				return bad.under(fmt.Sprintf("%s[%d]", s.name, i))
			}
		}
		return nil
	})
}

// checkMap takes a map as a whole, but looks into messages that are packed in it.
func (f *field) checkMap(s setField) *fault {
	packed, ok := s.value.Interface().(map[string]*anypb.Any)
	if !ok || f.tolerated {
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(packed)) {
		if bad := checkAny(packed[k]); bad != nil {
			return bad.under("[" + k + "]")
		}
	}
	return nil
}

func (f *field) checkValue(fd protoreflect.FieldDescriptor, v reflect.Value) *fault {
	if fd.Message() == nil {
		return f.checkScalar(fd, v)
	}
	m := v.Interface().(proto.Message)
	name := fd.Message().FullName()
	switch {
	case f.children != nil:
		if isSkipped(m) {
			return nil
		}
		return f.check(m)
	case name == "google.protobuf.Any" && !f.tolerated:
		return checkAny(m.(*anypb.Any))
	case name.Parent() == "google.protobuf":
		if len(f.values) > 0 { // a wrapper
			inner := fd.Message().Fields().ByName("value")
			return f.checkText(m.ProtoReflect().Get(inner).String())
		}
		return nil
	case knownFields[name] != nil:
		return knownFields[name].check(m)
	case f.tolerated:
		return nil
	default: // a message that is a mark and has no fields
		return f.check(m)
	}
}

func (f *field) checkScalar(fd protoreflect.FieldDescriptor, v reflect.Value) *fault {
	if len(f.values) == 0 {
		return nil
	}
	text := fmt.Sprint(v)
	if e := fd.Enum(); e != nil {
		text = strconv.FormatInt(v.Int(), 10)
		if d := e.Values().ByNumber(protoreflect.EnumNumber(v.Int())); d != nil {
			text = string(d.Name())
		}
	}
	return f.checkText(text)
}

func (f *field) checkText(s string) *fault {
	if !slices.Contains(f.values, s) {
		return faultf("", "%s is not implemented, only %s", s, strings.Join(f.values, ", "))
	}
	return nil
}

func checkAny(a *anypb.Any) *fault {
	known := knownFields[a.MessageName()]
	if known == nil {
		return faultf("", "type %s is not implemented", a.MessageName())
	}
	m, err := a.UnmarshalNew()
	if err != nil {
		return faultf("", "%v", err)
	}
	if isSkipped(m) {
		return nil
	}
	return known.check(m)
}

// isSkipped tells whether m is an HTTP filter, or a route's settings of one, that may be left out (is_optional of
// envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter and envoy.config.route.v3.FilterConfig), and
// has to be.
func isSkipped(m proto.Message) bool {
	switch f := m.(type) {
	case *hcmv3.HttpFilter:
		return f.GetIsOptional() && knownFields[f.GetTypedConfig().MessageName()] == nil
	case *routev3.FilterConfig:
		return f.GetIsOptional() && f.GetConfig() != nil && knownFields[f.GetConfig().MessageName()] == nil
	}
	return false
}
