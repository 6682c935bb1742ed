// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// configDump answers as Envoy's page does: all sections, or with ?resource= the elements of one repeated field;
// ?mask= keeps only some fields of each; ?name_regex= only resources whose whole name matches; ?include_eds adds the
// endpoints.
func (s *server) configDump(w http.ResponseWriter, r *http.Request) {
	s.dumping.Lock()
	body, fault := s.renderDump(r.URL.Query())
	s.dumping.Unlock()
	if fault != nil {
		http.Error(w, fault.text, fault.status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	writeWithin(w)       // the time is for the client, not for rendering ten thousand hosts
	_, _ = w.Write(body) // the client went away: nobody to tell
}

// fault is an answer other than 200.
type fault struct {
	status int
	text   string
}

func (s *server) renderDump(q url.Values) ([]byte, *fault) {
	var names *regexp.Regexp
	if expr := q.Get("name_regex"); expr != "" {
		re, err := regexp.Compile(`^(?:` + expr + `)$`)
		if err != nil {
			return nil, &fault{http.StatusBadRequest, "Error while parsing name_regex from " + expr + ": " + err.Error()}
		}
		names = re
	}
	var accepted Accepted
	if s.Dump != nil {
		accepted = s.Dump()
	}
	all, err := sections(accepted, names, q.Has("include_eds"))
	if err != nil {
		return nil, &fault{http.StatusInternalServerError, "render the configuration: " + err.Error()}
	}
	var ft *fault
	if resource := q.Get("resource"); resource != "" {
		all, ft = elements(all, resource, q.Get("mask"))
	} else if mask := q.Get("mask"); mask != "" {
		all, ft = masked(all, mask)
	}
	if ft != nil {
		return nil, ft
	}
	body, err := marshal(all)
	if err != nil {
		return nil, &fault{http.StatusInternalServerError, "render the configuration: " + err.Error()}
	}
	return body, nil
}

// elements returns the elements of the sections' field of that name, each cut down to the mask if there is one.
func elements(all []proto.Message, resource, mask string) ([]proto.Message, *fault) {
	for _, section := range all {
		m := section.ProtoReflect()
		fd := m.Descriptor().Fields().ByName(protoreflect.Name(resource))
		if fd == nil {
			continue
		}
		if !fd.IsList() {
			return nil, &fault{http.StatusBadRequest, fmt.Sprintf(
				"%[1]s is not a repeated field. Use ?mask=%[1]s to get only this field", resource)}
		}
		var out []proto.Message
		list := m.Get(fd).List()
		for i := range list.Len() {
			element := list.Get(i).Message()
			if mask != "" && !trim(element, strings.Split(mask, ",")) {
				return nil, &fault{http.StatusBadRequest, "FieldMask " + mask + " could not be successfully used."}
			}
			out = append(out, element.Interface())
		}
		return out, nil
	}
	return nil, &fault{http.StatusNotFound, resource + " not found in config dump"}
}

// masked returns the sections that have all fields of the mask, cut down to it.
func masked(all []proto.Message, mask string) ([]proto.Message, *fault) {
	var out []proto.Message
	for _, section := range all {
		section = proto.Clone(section) // the bootstrap is not ours to cut
		if trim(section.ProtoReflect(), strings.Split(mask, ",")) {
			out = append(out, section)
		}
	}
	if len(out) == 0 {
		return nil, &fault{http.StatusBadRequest,
			"FieldMask " + mask + " could not be successfully applied to any configs."}
	}
	return out, nil
}

// marshal renders the dump with Envoy's indentation. protojson keeps the order of declaration, but varies its white
// space from build to build on purpose.
func marshal(configs []proto.Message) ([]byte, error) {
	dump := &adminv3.ConfigDump{}
	for _, c := range configs {
		a := new(anypb.Any)
		if err := anypb.MarshalFrom(a, c, proto.MarshalOptions{Deterministic: true}); err != nil {
			return nil, err
		}
		dump.Configs = append(dump.Configs, a)
	}
	render := protojson.MarshalOptions{UseProtoNames: true}
	raw, err := render.Marshal(dump)
	if err != nil {
		if err = legible(dump.ProtoReflect()); err != nil {
			return nil, err
		}
		if raw, err = render.Marshal(dump); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", " "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
