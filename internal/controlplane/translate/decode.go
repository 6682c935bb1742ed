// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"encoding/json"

	"google.golang.org/protobuf/proto"
)

// decode reads a resource's spec into what use takes, and gives what use makes of it.
func decode[M, R any](p *report, opts Options, use func(*report, *M, Options) *R) any {
	spec := new(M)
	if m, ok := any(spec).(proto.Message); ok && !p.failed {
		if n := specNode(p.resource.Node); n == nil || fill(m.ProtoReflect(), n) == nil {
			return use(p, spec, opts)
		}
		spec = new(M)
	}
	var object struct {
		Spec json.RawMessage `json:"spec"`
	}
	err := json.Unmarshal(p.resource.JSON(), &object)
	if err == nil && len(object.Spec) > 0 && string(object.Spec) != "null" {
		err = json.Unmarshal(object.Spec, spec)
	}
	if err != nil {
		p.undecoded("spec", err)
		return nil
	}
	return use(p, spec, opts)
}

// decodeWhole is decode for kinds that are read beyond their spec.
func decodeWhole[M, R any](p *report, opts Options, use func(*report, *M, Options) *R) any {
	object := new(M)
	if err := json.Unmarshal(p.resource.JSON(), object); err != nil {
		p.undecoded("kind", err)
		return nil
	}
	return use(p, object, opts)
}

func (p *report) undecoded(path string, err error) {
	if !p.failed { // else the schema check has said it better
		p.error(path, "correct the value", "cannot be decoded: %v", err)
	}
}
