// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// request is a head with these fields.
func request(fields ...string) *codec.Head {
	h := &codec.Head{}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.Fields = append(h.Fields, codec.Field{ID: codec.Identify([]byte(name)), Name: []byte(name), Value: []byte(value)})
	}
	return h
}

// lines are the fields that are left, in order.
func lines(h *codec.Head) (out []string) {
	for _, f := range h.Fields {
		if f.Name != nil {
			out = append(out, string(f.Name)+": "+string(f.Value))
		}
	}
	return out
}

const (
	id128 = "4bf92f3577b34da6a3ce929d0e0e4736"
	id64  = "a3ce929d0e0e4736"
	span1 = "00f067aa0ba902b7"
)

func TestContextsAreRead(t *testing.T) {
	const all = W3C | B3 | B3Single
	yes, no, deferred := "1", "0", "?"
	for _, c := range []struct {
		formats Formats
		fields  []string
		id      string
		sampled string
	}{
		{W3C, []string{"traceparent: 00-" + id128 + "-" + span1 + "-01"}, id128, yes},
		{W3C, []string{"Traceparent: 00-" + id128 + "-" + span1 + "-00"}, id128, no},
		{W3C, []string{"traceparent: 00-" + id128 + "-" + span1 + "-ff"}, id128, yes},
		{W3C, []string{"traceparent: 00-" + id128 + "-" + span1 + "-02"}, id128, no},
		{W3C, []string{"traceparent: cc-" + id128 + "-" + span1 + "-01-later"}, id128, yes},
		{B3Single, []string{"b3: " + id128 + "-" + span1 + "-1"}, id128, yes},
		{B3Single, []string{"b3: " + id128 + "-" + span1 + "-d"}, id128, yes},
		{B3Single, []string{"b3: " + id128 + "-" + span1 + "-0-" + span1}, id128, no},
		{B3Single, []string{"b3: " + id64 + "-" + span1}, "0000000000000000" + id64, deferred},
		{B3, []string{"X-B3-TraceId: " + id64, "X-B3-SpanId: " + span1, "X-B3-Sampled: 1"}, "0000000000000000" + id64, yes},
		{B3, []string{"x-b3-traceid: " + id128, "x-b3-spanid: " + span1, "x-b3-sampled: 0"}, id128, no},
		{B3, []string{"x-b3-traceid: " + id128, "x-b3-spanid: " + span1, "x-b3-sampled: false"}, id128, no},
		{B3, []string{"x-b3-traceid: " + id128, "x-b3-spanid: " + span1, "x-b3-flags: 1"}, id128, yes},
		{B3, []string{"x-b3-traceid: " + id128, "x-b3-spanid: " + span1}, id128, deferred},
		{all, []string{"b3: " + id64 + "-" + span1 + "-0", "traceparent: 00-" + id128 + "-" + span1 + "-01"}, id128, yes},
		{all, []string{"b3: " + id128 + "-" + span1 + "-0", "traceparent: nonsense"}, id128, no},
	} {
		got := Read(request(c.fields...), c.formats)
		sampled := map[[2]bool]string{{true, false}: yes, {false, false}: no, {false, true}: deferred}[[2]bool{got.Sampled, got.Deferred}]
		var want Context
		if !unhex(want.Trace[:], []byte(c.id)) || !unhex(want.Span[:], []byte(span1)) {
			t.Fatal("bad ids in the table")
		}
		if got.Trace != want.Trace || got.Span != want.Span || sampled != c.sampled {
			t.Errorf("%v: %+v", c.fields, got)
		}
	}
}

func TestMalformedContextsAreAbsent(t *testing.T) {
	for _, field := range []string{
		"traceparent: ", "traceparent: 00", "traceparent: ff-" + id128 + "-" + span1 + "-01",
		"traceparent: 00-" + id128 + "-" + span1 + "-01-more", "traceparent: 01-" + id128 + "-" + span1 + "-01more",
		"traceparent: 00-" + strings.ToUpper(id128) + "-" + span1 + "-01", "traceparent: 00-" + id128 + "-" + span1 + "-0g",
		"traceparent: 00-" + strings.Repeat("0", 32) + "-" + span1 + "-01",
		"traceparent: 00-" + id128 + "-" + strings.Repeat("0", 16) + "-01", "traceparent: 00_" + id128 + "-" + span1 + "-01",
		"b3: 0", "b3: ", "b3: " + id128, "b3: " + id128 + "-" + span1 + "-x", "b3: " + id128 + "-" + span1 + "-1-short",
		"b3: " + id128[1:] + "-" + span1 + "-1", "b3: " + id128 + "-" + span1 + "-",
	} {
		if got := Read(request(field), W3C|B3Single|B3); got != (Context{}) {
			t.Errorf("%s: %+v", field, got)
		}
	}
	parent := "traceparent: 00-" + id128 + "-" + span1 + "-01"
	if got := Read(request(parent, parent), W3C); got.Valid() {
		t.Error("one of two contexts was taken")
	}
	if got := Read(request("x-b3-traceid: "+id128, "x-b3-spanid: "+span1, "x-b3-sampled: maybe"), B3); got.Valid() {
		t.Error("x-b3-sampled: maybe")
	}
	if got := Read(request(parent), B3); got.Valid() {
		t.Error("a format was read that is not configured")
	}
}

func TestContextsAreWrittenOverWhatWasThere(t *testing.T) {
	in := []string{"a: b", "traceparent: x", "tracestate: k=v", "b3: y", "x-b3-traceid: z", "X-B3-Flags: 1", "x-b3-parentspanid: p"}
	var c Context
	unhex(c.Trace[:], []byte(id128))
	unhex(c.Span[:], []byte(span1))
	c.Sampled = true
	parent := "traceparent: 00-" + id128 + "-" + span1 + "-01"
	for _, x := range []struct {
		formats Formats
		kept    bool
		want    string
	}{
		{W3C, true, "a: b|tracestate: k=v|b3: y|x-b3-traceid: z|X-B3-Flags: 1|x-b3-parentspanid: p|" + parent},
		{W3C, false, "a: b|b3: y|x-b3-traceid: z|X-B3-Flags: 1|x-b3-parentspanid: p|" + parent},
		{B3Single, true, "a: b|traceparent: x|tracestate: k=v|x-b3-traceid: z|X-B3-Flags: 1|x-b3-parentspanid: p|b3: " +
			id128 + "-" + span1 + "-1"},
		{B3, true, "a: b|traceparent: x|tracestate: k=v|b3: y|x-b3-traceid: " + id128 + "|x-b3-spanid: " + span1 +
			"|x-b3-sampled: 1"},
	} {
		h := request(in...)
		Write(h, x.formats, &c, x.kept)
		if got := strings.Join(lines(h), "|"); got != x.want {
			t.Errorf("%v:\n%s\nwant\n%s", x.formats, got, x.want)
		}
	}
	c.Trace = ID{}
	unhex(c.Trace[8:], []byte(id64))
	c.Sampled = false
	h := request()
	Write(h, W3C|B3Single|B3, &c, false)
	want := "traceparent: 00-0000000000000000" + id64 + "-" + span1 + "-00|b3: " + id64 + "-" + span1 + "-0|x-b3-traceid: " +
		id64 + "|x-b3-spanid: " + span1 + "|x-b3-sampled: 0"
	if got := strings.Join(lines(h), "|"); got != want {
		t.Errorf("64 bits:\n%s\nwant\n%s", got, want)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, f := range []Formats{W3C, B3, B3Single} {
		for _, sampled := range []bool{false, true} {
			c := Context{Trace: id(1, 2), Span: spanID(3), Sampled: sampled}
			h := request()
			Write(h, f, &c, false)
			if got := Read(h, f); got != c {
				t.Errorf("format %v: %+v, want %+v", f, got, c)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("00-"+id128+"-"+span1+"-01", id128+"-"+span1+"-1", id64, span1, "1")
	f.Add("cc-"+id128+"-"+span1+"-01-x", "0", "", "", "d")
	f.Fuzz(func(t *testing.T, parent, single, trace, span, sampled string) {
		h := request("traceparent: "+parent, "b3: "+single, "x-b3-traceid: "+trace, "x-b3-spanid: "+span, "x-b3-sampled: "+sampled)
		for _, format := range []Formats{W3C, B3, B3Single} {
			c := Read(h, format)
			if !c.Valid() && c != (Context{}) {
				t.Fatalf("half a context: %+v", c)
			}
			if c.Valid() && !c.Deferred {
				out := request()
				Write(out, format, &c, false)
				if again := Read(out, format); again != c {
					t.Fatalf("%+v was written and read as %+v", c, again)
				}
			}
		}
	})
}
