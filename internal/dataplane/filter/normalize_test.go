// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"bytes"
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

var (
	base   = Normalization{RFC3986: true}
	merge  = Normalization{RFC3986: true, MergeSlashes: true}
	decode = Normalization{RFC3986: true, MergeSlashes: true, Escaped: UnescapeAndForward}
)

// normalized is the target after n, "!" if it is refused, with "307 " in front if the client is to come again.
func normalized(n Normalization, target string) string {
	h := &codec.Head{Target: []byte(target)}
	switch n.Apply(h) {
	case PathRefused:
		return "!"
	case PathMoved:
		return "307 " + string(Location(h))
	default:
		return string(h.Target)
	}
}

func TestPathsAreNormalisedAsEnvoyDoes(t *testing.T) {
	for _, c := range []struct {
		n          Normalization
		path, want string
	}{
		{Normalization{}, "/a/../b%2e%00", "/a/../b%2e%00"},
		{base, "/", "/"},
		{base, "/a/b?c=../d", "/a/b?c=../d"},
		{base, "*", "*"},
		{base, "/a/../b", "/b"},
		{base, "/a/./b/.", "/a/b/"},
		{base, "/a/b/..", "/a/"},
		{base, "/../../a", "/a"},
		{base, "/..", "/"},
		{base, "/...", "/..."},
		{base, "/.a/..b", "/.a/..b"},
		{base, "/a/%2e%2E/b", "/b"},
		{base, "/a/.%2e/b?x=/%2e", "/b?x=/%2e"},
		{base, "/a%2eb", "/a.b"},
		{base, "/%41%7a%30%2d%5f%7e", "/Az0-_~"},
		{base, "/%c3%A9%20%2f%25", "/%c3%A9%20%2f%25"},
		{base, `/a\b\..\c`, "/a/c"},
		{base, `/a%5cb`, `/a%5cb`},
		{base, "/a//b", "/a//b"},
		{base, "/a//../b", "/a/b"},
		{base, "/a<b>\"{|}^`", "/a%3Cb%3E%22%7B%7C%7D%5E%60"},
		{base, "/[a]!$&'()*+,;=:@", "/[a]!$&'()*+,;=:@"},
		{base, "/%", "/%"},
		{base, "/%zz/%4", "/%zz/%4"},
		{base, "/%00", "!"},
		{base, "/a?%00", "/a?%00"},
		{base, "/%%300", "/%2500"},
		{base, "/%%30%30", "/%2500"},
		{base, "/%3%30", "/%2530"},
		{base, "/%%34g", "/%4g"},
		{base, "/a%/../41", "/41"},
		{base, "/%/../%41%42", "/AB"},
		{merge, "//a///b//?c//d", "/a/b/?c//d"},
		{merge, "//", "/"},
		{merge, "/a/%2f/b", "/a/%2f/b"},
		{merge, "/a//..//b", "/a/b"},
		{decode, "/a/%2F%5c/b?%2f", "/a/b?%2f"},
		{decode, "/a%2f..%2Fb", "/b"},
		{decode, "/%252f", "/%252f"},
		{Normalization{Escaped: UnescapeAndForward}, "/a%2fb%5Cc/../", `/a/b\c/../`},
		{Normalization{Escaped: UnescapeAndForward}, "/%%2f2f", "/%/2f"},
		{Normalization{Escaped: RejectEscaped}, "/a%2fb", "!"},
		{Normalization{Escaped: RejectEscaped}, "/a%5Cb", "!"},
		{Normalization{Escaped: RejectEscaped}, "/a%2eb?%2f", "/a%2eb?%2f"},
		{Normalization{Escaped: UnescapeAndRedirect}, "/private%2f../%2e%5Cpublic", `307 /private/../%2e\public`},
		{Normalization{Escaped: UnescapeAndRedirect, RFC3986: true}, "/a%2f../b?c", "307 /b?c"},
		{Normalization{Escaped: UnescapeAndRedirect}, "/%2fevil.example", "307 /.//evil.example"},
		{Normalization{Escaped: UnescapeAndRedirect}, "/%5cevil.example", `307 /./\evil.example`},
		{Normalization{Escaped: UnescapeAndRedirect}, "/a%2eb", "/a%2eb"},
	} {
		if got := normalized(c.n, c.path); got != c.want {
			t.Errorf("%+v: %s became %s, want %s", c.n, c.path, got, c.want)
		}
	}
}

func TestPathThatNeedsNoChangeCostsNoMemory(t *testing.T) {
	h := &codec.Head{Buf: make([]byte, 0, 1024)}
	for _, target := range []string{"/api/v1/orders/42?x=%2e%2e", "/.well-known/x", "/a%20b%2Fc/..d"} {
		h.Target, h.Buf = []byte(target), h.Buf[:0]
		was := &h.Target[0]
		if n := testing.AllocsPerRun(100, func() { merge.Apply(h) }); n != 0 {
			t.Errorf("%s: %v allocations", target, n)
		}
		if &h.Target[0] != was || len(h.Buf) != 0 {
			t.Errorf("%s was written again", target)
		}
	}
}

// Once is enough; nothing leads out of the root; no path gets longer than its bytes escaped; queries are left alone.
func FuzzNormalize(f *testing.F) {
	for _, s := range []string{
		"/a/../b", "/%2e%2e/%2e", "/%%30%30", "/%3%30", `/\..\a`, "//a//", "/%2f%2F../", "/%", "/<>?<>", "/.%2e", "/%%32%65/", "/..;/a",
	} {
		f.Add(s, uint8(255))
	}
	f.Fuzz(func(t *testing.T, target string, how uint8) {
		if target == "" || target[0] != '/' || strings.ContainsAny(target, "#") {
			return
		}
		n := Normalization{RFC3986: how&1 != 0, MergeSlashes: how&2 != 0, Escaped: EscapedSlashes(how >> 2 & 3)}
		h := &codec.Head{Target: []byte(target)}
		if n.Apply(h) == PathRefused {
			if string(h.Target) != target {
				t.Fatalf("a refused path was changed to %q", h.Target)
			}
			return
		}
		once := string(h.Target)
		path, query, _ := strings.Cut(once, "?")
		was, wasQuery, _ := strings.Cut(target, "?")
		if query != wasQuery || path == "" || path[0] != '/' || len(path) > 3*len(was) {
			t.Fatalf("%q became %q", target, once)
		}
		if !n.RFC3986 && len(path) > len(was) {
			t.Fatalf("%q became longer: %q", target, once)
		}
		if v := n.Apply(h); v != PathFine || string(h.Target) != once {
			t.Fatalf("%q became %q, then %q (%d)", target, once, h.Target, v)
		}
		if n.RFC3986 {
			for seg := range strings.SplitSeq(path, "/") {
				if s := strings.ReplaceAll(strings.ToLower(seg), "%2e", "."); s == "." || s == ".." || strings.Contains(s, `\`) {
					t.Fatalf("%q became %q, with the segment %q", target, once, seg)
				}
			}
		}
		if n.MergeSlashes && strings.Contains(path, "//") {
			t.Fatalf("%q became %q", target, once)
		}
		if n.Escaped != KeepEscaped && hasEscapedSlash([]byte(path)) {
			t.Fatalf("%q became %q", target, once)
		}
	})
}

func BenchmarkNormalizePlainPath(b *testing.B) {
	h := &codec.Head{Target: []byte("/api/v1/orders/42/" + string(bytes.Repeat([]byte("item"), 8)) + "?a=b")}
	for b.Loop() {
		merge.Apply(h)
	}
}
