// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// Validate applies Envoy's own rules (the generated ValidateAll) to every resource, and to the typed configurations
// packed in them, which ValidateAll alone does not open. It gives nil or all that is wrong, joined. It does not check
// references between resources.
func (r *Resources) Validate() error {
	var errs []error
	check(&errs, "Listener", r.Listeners)
	check(&errs, "RouteConfiguration", r.Routes)
	check(&errs, "Cluster", r.Clusters)
	check(&errs, "ClusterLoadAssignment", r.Endpoints)
	return errors.Join(errs...)
}

func check[M proto.Message](errs *[]error, kind string, list []M) {
	for i, m := range list {
		if err := validate(m); err != nil {
			*errs = append(*errs, fmt.Errorf("%s %d: %w", kind, i, err))
		}
	}
}

// validate returns the errors of m and of every message packed below it.
func validate(m proto.Message) error {
	var errs []error
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		errs = append(errs, v.ValidateAll())
	}
	packed(m.ProtoReflect(), func(a *anypb.Any) {
		inner, err := a.UnmarshalNew()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", a.GetTypeUrl(), err))
			return
		}
		errs = append(errs, validate(inner))
	})
	return errors.Join(errs...)
}

// packed calls f with every Any below m. Depth is that of the message, which its producer bounds.
func packed(m protoreflect.Message, f func(*anypb.Any)) {
	if a, ok := m.Interface().(*anypb.Any); ok {
		f(a)
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					packed(v.Message(), f)
					return true
				})
			}
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				packed(v.List().Get(i).Message(), f)
			}
		default:
			packed(v.Message(), f)
		}
		return true
	})
}
