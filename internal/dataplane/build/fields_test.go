// SPDX-License-Identifier: Apache-2.0

package build

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/xds"
)

// minimal is a small set that is accepted and has every type that the lists have a section for.
const minimal = `
listeners:
- name: l
  address: {socket_address: {address: 127.0.0.1, port_value: 80}}
  filter_chains:
  - filters:
    - name: hcm
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: l
        rds: {config_source: {ads: {}}, route_config_name: r}
        http_filters:
        - name: envoy.filters.http.cors
          typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}
        - name: router
          typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
routes:
- name: r
  virtual_hosts:
  - name: v
    domains: [a]
    routes:
    - match: {prefix: /, headers: [{name: a, present_match: false}]}
      request_headers_to_add: [{header: {key: a, value: b}}]
      typed_per_filter_config:
        envoy.filters.http.fault:
          "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig
          config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}
        envoy.filters.http.cors:
          "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy
          allow_origin_string_match: [{exact: a}]
      route:
        cluster: a
        retry_policy:
          retry_host_predicate:
          - name: previous
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate
          retry_priority:
            name: previous
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig
              update_frequency: 2
        request_mirror_policies: [{cluster: b}]
clusters:
- name: a
  type: EDS
  eds_cluster_config: {eds_config: {ads: {}}}
  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
      explicit_http_config: {http_protocol_options: {}}
endpoints:
- cluster_name: a
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}
`

// set puts one field into the first message of its type, and returns where that is, without indexes.
func set(t *testing.T, r *xds.Resources, l listed, v protoreflect.Value) string {
	path := ""
	edit(t, r, l.typ, func(m protoreflect.Message, at string) bool {
		place(t, m, l.path, v)
		path = join(at, pathText(l.path))
		return false
	})
	if path == "" {
		t.Fatalf("%s is not in the minimal set", l.typ)
	}
	return path
}

func applied(r *xds.Resources) []xds.Nack {
	_, b := newFar()
	return b.Apply(r)
}

func TestMinimalSetIsAccepted(t *testing.T) {
	if nacks := applied(resourcesOf(t, minimal)); len(nacks) > 0 {
		t.Error(nacks)
	}
}

func TestEveryFieldIsListedOrRefusedByItsPath(t *testing.T) {
	base := resourcesOf(t, minimal)
	refused := 0
	for _, l := range everyField(t) {
		r := clone(base)
		path := set(t, r, l, someValue(t, l.fd))
		nacks := applied(r)
		if l.field != nil {
			if len(nacks) > 0 && nacks[0].Reason == "not implemented" {
				t.Errorf("%v is listed and refused: %v", l, nacks[0])
			}
			continue
		}
		refused++
		if len(nacks) != 1 || withoutIndexes(nacks[0].Path) != path {
			t.Errorf("%v: want one refusal at %s, got %v", l, path, nacks)
		}
	}
	if refused < 200 {
		t.Errorf("only %d fields are refused: are they all tried?", refused)
	}
}

func TestValuesBesideTheListedAreRefusedByPath(t *testing.T) {
	base := resourcesOf(t, minimal)
	for _, l := range everyField(t) {
		if l.field == nil || len(l.field.values) == 0 {
			continue
		}
		values := map[string]protoreflect.Value{}
		switch {
		case l.fd.Enum() != nil:
			for i := range l.fd.Enum().Values().Len() {
				v := l.fd.Enum().Values().Get(i)
				values[string(v.Name())] = protoreflect.ValueOfEnum(v.Number())
			}
			values["77"] = protoreflect.ValueOfEnum(77)
		case l.fd.Kind() == protoreflect.BoolKind:
			for name, v := range map[string]bool{"true": true, "false": false} {
				values[name] = protoreflect.ValueOfBool(v)
			}
		case l.fd.Message().FullName() == "google.protobuf.BoolValue":
			for name, v := range map[string]bool{"true": true, "false": false} {
				values[name] = protoreflect.ValueOfMessage(wrapperspb.Bool(v).ProtoReflect())
			}
		default:
			t.Errorf("%v: what values of %v are there?", l, l.fd.Kind())
		}
		for name, v := range values {
			isSet := l.fd.Enum() == nil || v.Enum() != 0 || l.fd.HasPresence()
			want := isSet && !slices.Contains(l.field.values, name)
			r := clone(base)
			path := set(t, r, l, v)
			nacks := applied(r)
			got := len(nacks) == 1 && withoutIndexes(nacks[0].Path) == path &&
				strings.Contains(nacks[0].Reason, "not implemented")
			if got != want {
				t.Errorf("%v = %s: refused at its path: %v, want %v; %v", l, name, got, want, nacks)
			}
		}
	}
}

func TestFieldsOfANewerAPIAreRefused(t *testing.T) {
	r := resourcesOf(t, minimal)
	r.Routes[0].VirtualHosts[0].Routes[0].ProtoReflect().SetUnknown([]byte{0xf8, 0xff, 0x01, 0x01}) // number 4095
	nacks := applied(r)
	if len(nacks) != 1 || nacks[0].Path != "virtual_hosts[0].routes[0]" || !strings.Contains(nacks[0].Reason, "4095") {
		t.Errorf("got %v", nacks)
	}
}

func TestImplementedFieldsChangeTheirGolden(t *testing.T) {
	for _, l := range everyField(t) {
		if l.field == nil || l.field.tolerated {
			continue
		}
		a := golden(t, "testdata/"+l.field.note+".txtar")
		r := resourcesOf(t, section(a, "in.yaml"))
		n := 0
		edit(t, r, l.typ, func(m protoreflect.Message, _ string) bool {
			n += clearField(m, l.path)
			return true
		})
		if n == 0 {
			t.Errorf("%v is not set in its golden, %s", l, l.field.note)
		} else if printed(r) == section(a, "want.txt") {
			t.Errorf("%v: without it, %s comes to the same", l, l.field.note)
		}
	}
}

func TestToleratedFieldsChangeNothing(t *testing.T) {
	a := golden(t, "testdata/tolerated.txtar")
	for _, l := range everyField(t) {
		if l.field == nil || !l.field.tolerated {
			continue
		}
		if l.field.note == "" {
			t.Errorf("%v: no reason", l)
		}
		r := resourcesOf(t, section(a, "in.yaml"))
		n := 0
		edit(t, r, l.typ, func(m protoreflect.Message, _ string) bool {
			n += clearField(m, l.path)
			return true
		})
		if n == 0 {
			t.Errorf("%v is not set in tolerated.txtar", l)
		}
		if diff := cmp.Diff(section(a, "want.txt"), printed(r)); diff != "" {
			t.Errorf("%v: without it (+):\n%s", l, diff)
		}
	}
}

// TestRefusedFieldsAreAsWrittenDown keeps the third list. When a new version of the API brings fields, this fails until
// they are implemented, tolerated, or written down here as refused (-update).
func TestRefusedFieldsAreAsWrittenDown(t *testing.T) {
	var b strings.Builder
	b.WriteString("# The xDS fields beside the implemented and the tolerated ones. Setting one refuses the resource.\n")
	var typ protoreflect.FullName
	for _, l := range everyField(t) {
		if l.field != nil {
			continue
		}
		if l.typ != typ {
			typ = l.typ
			b.WriteString("\n[" + string(typ) + "]\n")
		}
		b.WriteString(pathText(l.path) + "\n")
	}
	const file = "testdata/refused.txt"
	if *updateGoldens {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestNoFieldIsListedTwice(t *testing.T) {
	seen := map[string]bool{}
	for _, list := range []string{implementedList, toleratedList} {
		typ := ""
		for line := range strings.Lines(list) {
			path, _, _ := strings.Cut(line, "|")
			path, _, _ = strings.Cut(path, "=")
			path = strings.TrimSpace(path)
			switch {
			case path == "" || path[0] == '#':
				continue
			case path[0] == '[':
				typ = path
				continue
			case seen[typ+path]:
				t.Errorf("%s %s is listed twice", typ, path)
			}
			seen[typ+path] = true
		}
	}
}
