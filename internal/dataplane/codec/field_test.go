// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"strings"
	"testing"
)

func TestIdentifyKnowsEveryNameInAnyCase(t *testing.T) {
	want := map[string]FieldID{}
	for id, n := range names {
		if n != "" {
			want[n] = FieldID(id)
		}
	}
	for _, n := range edge {
		want[n] = EnvoyEdge
	}
	for n, id := range want {
		mixed := strings.ToUpper(n[:len(n)/2]) + n[len(n)/2:]
		for _, spelling := range []string{n, strings.ToUpper(n), mixed} {
			if got := Identify([]byte(spelling)); got != id {
				t.Errorf("Identify(%q) = %d, want %d", spelling, got, id)
			}
		}
		for _, near := range []string{n + "x", n[:len(n)-1], "x" + n[1:] + "-", strings.Replace(n, "e", "\x05", 1) + "\x00"} {
			if id, ok := want[near]; !ok && Identify([]byte(near)) != Other {
				t.Errorf("Identify(%q) = %d, want none", near, id)
			}
		}
	}
	if got := Identify(nil); got != Other {
		t.Errorf("Identify(nil) = %d", got)
	}
}

func TestIdentifyDoesNotMixUpLettersAndPunctuation(t *testing.T) {
	// 0x0D and 0x2D ('-') differ in bit 0x20 only, and so do '@' and '`': case folding must concern letters alone.
	if got := Identify([]byte("keep\ralive")); got != Other {
		t.Errorf("Identify = %d, want none", got)
	}
}

func TestSetReplacesEveryFieldOfTheID(t *testing.T) {
	h := &Head{Fields: []Field{
		{ID: Server, Name: []byte("Server"), Value: []byte("a")},
		{Name: []byte("X"), Value: []byte("b")},
		{ID: Server, Name: []byte("server"), Value: []byte("c")},
	}}
	h.Set(Server, h.Store([]byte("d"), []byte("e")))
	if got := string(h.Get(Server)); got != "de" {
		t.Errorf("Get = %q, want %q", got, "de")
	}
	n := 0
	for _, f := range h.Fields {
		if f.ID == Server && f.Name != nil {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d server fields, want 1", n)
	}
	h.Del(Server)
	if _, ok := h.Lookup("server"); ok {
		t.Error("a removed field is still found")
	}
	if v, ok := h.Lookup("x"); !ok || string(v) != "b" {
		t.Errorf("Lookup(x) = %q, %v", v, ok)
	}
}

func TestResetGivesBigMemoryBack(t *testing.T) {
	h := &Head{Buf: make([]byte, 10, 8<<10), Fields: make([]Field, 3, 128), Close: true}
	h.Reset()
	if cap(h.Buf) != 8<<10 || len(h.Buf) != 0 || cap(h.Fields) != 128 || len(h.Fields) != 0 || h.Close {
		t.Errorf("Reset left %d/%d bytes, %d/%d fields, close %v",
			len(h.Buf), cap(h.Buf), len(h.Fields), cap(h.Fields), h.Close)
	}
	h.Buf = make([]byte, 0, 8<<10+1)
	h.Fields = make([]Field, 0, 129)
	h.Reset()
	if h.Buf != nil || h.Fields != nil {
		t.Errorf("Reset kept %d bytes and %d fields", cap(h.Buf), cap(h.Fields))
	}
}
