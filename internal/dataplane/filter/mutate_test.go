// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
)

// fieldsOf makes fields of "name: value".
func fieldsOf(lines ...string) (fields []codec.Field) {
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		fields = append(fields, codec.Field{ID: codec.Identify([]byte(name)), Name: []byte(name), Value: []byte(value)})
	}
	return fields
}

// linesOf are the fields that are not removed.
func linesOf(h *codec.Head) (lines []string) {
	for _, f := range h.Fields {
		if f.Name != nil {
			lines = append(lines, string(f.Name)+": "+string(f.Value))
		}
	}
	return lines
}

func tpl(t testing.TB, s string) format.Template {
	t.Helper()
	v, err := format.ParseTemplate(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// op is a mutation as text: "-name", or "+name: value" (append), "?name: value" (add if absent), "=name: value"
// (overwrite), "~name: value" (overwrite if there).
func op(t testing.TB, s string) Mutation {
	name, value, _ := strings.Cut(s[1:], ": ")
	m := Mutation{Name: name, Value: tpl(t, value)}
	switch s[0] {
	case '-':
		m.Remove = true
	case '?':
		m.Action = AddIfAbsent
	case '=':
		m.Action = OverwriteIfExistsOrAdd
	case '~':
		m.Action = OverwriteIfExists
	}
	return m
}

func ops(t testing.TB, list ...string) (out []Mutation) {
	for _, s := range list {
		out = append(out, op(t, s))
	}
	return out
}

func TestMutations(t *testing.T) {
	for name, c := range map[string]struct {
		ops    []string
		before []string
		want   []string
	}{
		"append adds another field": {[]string{"+a: 2"}, []string{"A: 1", "b: x"}, []string{"A: 1", "b: x", "a: 2"}},
		"add if absent":             {[]string{"?a: 2", "?c: 3"}, []string{"A: 1"}, []string{"A: 1", "c: 3"}},
		"overwrite replaces all in the place of the first": {
			[]string{"=a: 2"}, []string{"A: 1", "b: x", "a: 3"}, []string{"A: 2", "b: x"}},
		"overwrite adds":     {[]string{"=a: 2"}, []string{"b: x"}, []string{"b: x", "a: 2"}},
		"overwrite if there": {[]string{"~a: 2", "~c: 3"}, []string{"A: 1"}, []string{"A: 2"}},
		"remove":             {[]string{"-a"}, []string{"A: 1", "b: x", "a: 2"}, []string{"b: x"}},
		"names have no case": {[]string{"=X-Up: 1", "-X-Down"}, []string{"x-up: 0", "x-down: 0"}, []string{"x-up: 1"}},
		"an empty value is left out": {[]string{"+a: %REQ(none)%", "=b: %REQ(none)%", "+c: "}, []string{"b: x"},
			[]string{"b: x"}},
		"values see the request": {[]string{"+a: <%REQ(b)%> %REQ(:path)% %REQ(:scheme)% %REQ(:authority)% %REQ(:method)%"},
			[]string{"b: x"}, []string{"b: x", "a: <x> /p http h POST"}},
		"fields with an id": {[]string{"=x-request-id: 2", "-x-forwarded-for"}, []string{"X-Request-Id: 1", "X-Forwarded-For: 1"},
			[]string{"X-Request-Id: 2"}},
		"what encoders write is theirs": {
			[]string{"=Content-Length: 7", "-content-length", "+te: gzip", "=connection: close", "+upgrade: h2c", "+trailer: x"},
			[]string{"Content-Length: 0", "te: trailers"}, []string{"Content-Length: 0", "te: trailers"}},
		"x-forwarded-for stays one list": {[]string{"+X-Forwarded-For: 3"}, []string{"x-forwarded-for: 1", "X-Forwarded-For: 2"},
			[]string{"x-forwarded-for: 1", "X-Forwarded-For: 2,3"}},
		"names that share an id are told apart": {[]string{"=x-envoy-max-retries: 2", "-x-envoy-retry-on"},
			[]string{"x-envoy-retry-on: 5xx", "x-envoy-ip-tags: t"}, []string{"x-envoy-ip-tags: t", "x-envoy-max-retries: 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			list := ops(t, c.ops...)
			for _, m := range []*Mutations{NewMutations(list), NewHeaderOps(list)} {
				h := &codec.Head{
					Method: []byte("POST"), Target: []byte("/p"), Authority: []byte("h"), Fields: fieldsOf(c.before...),
				}
				m.Request(h, &format.Values{})
				if diff := cmp.Diff(c.want, linesOf(h)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// With request_headers_to_add all values are made before the first is written, and what overwrites comes before what
// adds; a list of HeaderMutation goes one by one.
func TestHeaderOpsAreMadeTogetherAndMutationsInTurn(t *testing.T) {
	list := ops(t, "+a: 2", "=b: %REQ(a)%", "=a: 3", "+c: %REQ(b)%", "-d", "?d: new", "~e: 1")
	before := []string{"a: 1", "b: 1", "d: old"}
	for _, c := range []struct {
		m    *Mutations
		want []string
	}{
		{NewHeaderOps(list), []string{"a: 3", "b: 1", "a: 2", "c: 1", "d: new"}},
		{NewMutations(list), []string{"a: 3", "b: 1", "c: 1", "d: new"}},
		{NewHeaderOps(ops(t, "=a: 5"), ops(t, "=b: %REQ(a)%")), []string{"a: 5", "b: 5", "d: old"}}, // level by level
	} {
		h := &codec.Head{Fields: fieldsOf(before...)}
		c.m.Request(h, &format.Values{})
		if diff := cmp.Diff(c.want, linesOf(h)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestMutationsOfAnswers(t *testing.T) {
	m := NewHeaderOps(ops(t, "=x-was: was %RESP(:status)% %REQ(x-id)% %RESP(server)%", "-server"))
	h := &codec.Head{Status: 404, Fields: fieldsOf("Server: s")}
	m.Answer(h, &format.Values{Request: View(&codec.Head{Fields: fieldsOf("x-id: 7")})})
	// Removals come first: the value does not see what is gone.
	if diff := cmp.Diff([]string{"x-was: was 404 7 "}, linesOf(h)); diff != "" {
		t.Error(diff)
	}
}

func TestKeepEmptyValue(t *testing.T) {
	list := []Mutation{
		{Name: "a", Value: tpl(t, "%REQ(none)%"), KeepEmpty: true}, {Name: "b", KeepEmpty: true},
		{Name: "c", KeepEmpty: true, Action: OverwriteIfExists},
	}
	h := &codec.Head{Fields: fieldsOf("c: 1")}
	NewMutations(list).Request(h, &format.Values{})
	if diff := cmp.Diff([]string{"c: ", "a: ", "b: "}, linesOf(h)); diff != "" {
		t.Error(diff)
	}
}

func TestMutationsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		m    Mutation
		want string
	}{
		{Mutation{Name: ":path"}, ":-prefixed or host headers may not be modified"},
		{Mutation{Name: "Host"}, ":-prefixed or host headers may not be modified"},
		{Mutation{Name: ":method", Remove: true}, ":-prefixed or host headers may not be removed"},
		{Mutation{Name: "HOST", Remove: true}, ":-prefixed or host headers may not be removed"},
		{Mutation{}, `"" is no field name`},
		{Mutation{Name: "a b"}, `"a b" is no field name`},
		{Mutation{Name: "a\r\nb"}, `"a\r\nb" is no field name`},
		{Mutation{Name: "é"}, `"é" is no field name`},
		{Mutation{Name: "a", Action: 9}, "unknown append action 9"},
	} {
		if err := c.m.Check(); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v, want %s", c.m, err, c.want)
		}
		if NewMutations([]Mutation{c.m}) != nil {
			t.Errorf("%+v: was compiled all the same", c.m)
		}
	}
}

func TestNothingToChangeIsNil(t *testing.T) {
	var m *Mutations
	h := &codec.Head{Fields: fieldsOf("a: 1")}
	m.Request(h, nil)
	m.Answer(h, nil)
	if NewMutations(nil) != nil || NewHeaderOps(nil, nil) != nil || len(linesOf(h)) != 1 || !m.Literal() {
		t.Error("nothing is not nothing")
	}
	if !NewMutations(ops(t, "+a: 1")).Literal() || NewMutations(ops(t, "+a: %PROTOCOL%")).Literal() {
		t.Error("Literal is wrong")
	}
}

func TestMutationsAllocateNothing(t *testing.T) {
	literal := NewHeaderOps(ops(t, "=a: 1", "+b: 2", "-c", "?d: 1", "=e: 5"), ops(t, "=f: 6"))
	made := NewHeaderOps(ops(t, "=a: %REQ(x-request-id)%", "+b: %DOWNSTREAM_REMOTE_ADDRESS%"))
	h := &codec.Head{Buf: make([]byte, 0, 1024), Fields: make([]codec.Field, 0, 32)}
	lines := fieldsOf("a: 0", "x-request-id: 1", "c: 1")
	var v format.Values
	for name, f := range map[string]func(){
		"literal": func() { literal.Request(h, nil) },
		"made":    func() { made.Request(h, &v) },
		"answer":  func() { made.Answer(h, &v) },
	} {
		if n := testing.AllocsPerRun(100, func() {
			h.Buf, h.Fields = h.Buf[:0], append(h.Fields[:0], lines...)
			f()
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestManyMutationsInOneStep(t *testing.T) {
	var list []Mutation
	var want []string
	for c := 'a'; c <= 'z'; c++ {
		list = append(list, op(t, "+"+string(c)+": %PROTOCOL%"))
		want = append(want, string(c)+": p")
	}
	h := &codec.Head{}
	NewHeaderOps(list).Request(h, &format.Values{Protocol: "p"})
	if diff := cmp.Diff(want, linesOf(h)); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkMutations(b *testing.B) {
	m := NewHeaderOps(ops(b, "=a: 1", "+b: 2", "-c"))
	h := &codec.Head{Buf: make([]byte, 0, 1024), Fields: make([]codec.Field, 0, 32)}
	lines := fieldsOf("a: 0", "x-request-id: 1", "c: 1", "user-agent: curl", "accept: */*")
	b.ReportAllocs()
	for b.Loop() {
		h.Buf, h.Fields = h.Buf[:0], append(h.Fields[:0], lines...)
		m.Request(h, nil)
	}
}
