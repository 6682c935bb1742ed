// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// to is a request's head for an authority and a target, written "host target".
func to(hostAndTarget string, fields ...string) *codec.Head {
	host, target, _ := strings.Cut(hostAndTarget, " ")
	h := head(fields...)
	h.Method, h.Authority, h.Target = []byte("GET"), []byte(host), []byte(target)
	return h
}

// The expectations are those of Envoy's RouteEntryImplBase::finalizePathHeader unless they say otherwise.
func TestPathRewrites(t *testing.T) {
	prefix := func(match, with string) *Rewrite {
		return &Rewrite{HasPrefix: true, Prefix: with, Match: MatchPrefix, MatchLen: len(match)}
	}
	whole := func(with string) *Rewrite { return &Rewrite{HasPrefix: true, Prefix: with, Match: MatchAll} }
	regex := func(expr, sub string) *Rewrite { return &Rewrite{Regex: regexp.MustCompile(expr), Sub: sub} }
	for _, c := range []struct {
		r        *Rewrite
		in, want string
	}{
		{prefix("/a", "/b"), "/a/c", "/b/c"},
		{prefix("/a", "/b"), "/ac", "/bc"},
		{prefix("/a", "/"), "/a/b", "//b"}, // no clean-up of slashes
		{prefix("/a/", "/"), "/a/b", "/b"},
		{prefix("/a", "/b"), "/a?q=/a", "/b?q=/a"},
		{prefix("/a", "/b"), "/a#f", "/b#f"},
		{prefix("/A", "/b"), "/a/C", "/b/C"}, // the match ignored case: only its length counts
		{prefix("/", "/x/"), "/", "/x/"},
		{prefix("/a", "/b?x=1"), "/a/c", "/b?x=1/c"},
		{prefix("/long/match", "/b"), "/lo", "/b"}, // never past the path
		{whole("/b"), "/a/c", "/b"},
		{whole("/b"), "/a/c?q", "/b?q"},
		{regex("^/service/([^/]+)(/.*)$", `\2/instance/\1`), "/service/foo/v1/api", "/v1/api/instance/foo"},
		{regex("one", "two"), "/xxx/one/yyy/one/zzz?one", "/xxx/two/yyy/two/zzz?one"},
		{regex("^(.*?)one(.*)$", `\1two\2`), "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/one/zzz"},
		{regex("(?i)/xxx/", "/yyy/"), "/aaa/XxX/bbb", "/aaa/yyy/bbb"},
		{regex("/none", "/x"), "/a?q", "/a?q"},
		{regex("/(a)|b", `/[\1]`), "/a", "/[a]"},
		{regex("a", `\\`), "/a", `/\`},
		{regex("a", `\0\0`), "/a", "/aa"},
		{regex("", "-"), "/a", "/-/-a-"},    // the path has to start with '/': ours
		{regex(".*", ""), "/a?q", "/?q"},    // ours: Envoy sends an empty path
		{prefix("/a", "b"), "/a/c", "/b/c"}, // ours: Envoy sends "b/c"
		{prefix("/a", "/b c\r\n"), "/a", "/b%20c%0D%0A"},
		{&Rewrite{HasPrefix: true, Match: MatchPrefix, MatchLen: 2}, "/a/b", "/a/b"}, // an empty prefix_rewrite is none
		{&Rewrite{}, "/a", "/a"},
		{nil, "/a", "/a"},
	} {
		h := to("h " + c.in)
		c.r.Apply(h)
		if string(h.Target) != c.want {
			t.Errorf("%+v on %s: %s, want %s", c.r, c.in, h.Target, c.want)
		}
		original, told := string(h.Get(codec.EnvoyOriginalPath)), c.r != nil && (c.r.Prefix != "" || c.r.Regex != nil)
		if told != (original == c.in) {
			t.Errorf("%+v on %s: x-envoy-original-path %q", c.r, c.in, original)
		}
		if string(h.Authority) != "h" || len(h.Get(codec.EnvoyOriginalHost)) > 0 {
			t.Errorf("%+v changed the authority to %s", c.r, h.Authority)
		}
	}
}

func TestHostRewrites(t *testing.T) {
	for _, c := range []struct {
		r        Rewrite
		in, want string
	}{
		{Rewrite{Host: "new:81"}, "old:80 /", "new:81"},
		{Rewrite{HostHeader: "x-host"}, "old /", "from-header"},
		{Rewrite{HostHeader: ":path"}, "old /p", "/p"},
		{Rewrite{HostHeader: "x-odd"}, "old /", "a%20b%09c"},
		{Rewrite{HostHeader: "x-none"}, "old /", ""},
		{Rewrite{HostPath: regexp.MustCompile("^/(.+)/.+$"), HostSub: `\1`}, "old /rewritten/path?q=/x", "rewritten"},
		{Rewrite{HostPath: regexp.MustCompile("^.*$"), HostSub: ""}, "old /x", ""},
		// The path is still the client's.
		{Rewrite{HostPath: regexp.MustCompile("^/(.)$"), HostSub: `\1`, HasPrefix: true, Prefix: "/z", Match: MatchAll}, "old /x", "x"},
	} {
		h := to(c.in, "X-Host: from-header", "X-Odd: a b\tc")
		old, _, _ := strings.Cut(c.in, " ")
		c.r.Apply(h)
		want, original := c.want, old
		if want == "" {
			want, original = old, ""
		}
		if string(h.Authority) != want || string(h.Get(codec.EnvoyOriginalHost)) != original {
			t.Errorf("%+v on %s: %s, x-envoy-original-host %q, want %s", c.r, c.in, h.Authority, h.Get(codec.EnvoyOriginalHost), want)
		}
		if len(h.Fields) != 2 && original == "" {
			t.Errorf("%+v: fields %v", c.r, fields(h))
		}
	}
}

func TestForwardedHostIsAppended(t *testing.T) {
	for _, c := range []struct{ before, want []string }{
		{nil, []string{"x-forwarded-host: old"}},
		{[]string{"X-Forwarded-Host: a"}, []string{"x-forwarded-host: a,old"}},
		{[]string{"X-Forwarded-Host: a,old"}, []string{"x-forwarded-host: a,old"}},
		{[]string{"X-Forwarded-Host: old"}, []string{"x-forwarded-host: old"}},
		{[]string{"X-Forwarded-Host: old,a"}, []string{"x-forwarded-host: old,a,old"}},
		{[]string{"X-Forwarded-Host: a", "X-Forwarded-Host: b"}, []string{"x-forwarded-host: a,b,old"}},
		{[]string{"X-Forwarded-Host: "}, []string{"x-forwarded-host: old"}},
	} {
		h := to("old /", c.before...)
		(&Rewrite{Host: "new", AppendForwardedHost: true}).Apply(h)
		got := slices.Sorted(slices.Values(fields(h)))
		if diff := cmp.Diff(append([]string{"x-envoy-original-host: old"}, c.want...), got); diff != "" {
			t.Error(c.before, diff)
		}
	}
	h := to(" /")
	RewriteHost(h, []byte("new"), true)
	if len(h.Fields) != 0 || string(h.Authority) != "new" {
		t.Errorf("without a former host: %v", fields(h))
	}
}

func TestPlainRewritesAllocateNothing(t *testing.T) {
	r := &Rewrite{HasPrefix: true, Prefix: "/new", Match: MatchPrefix, MatchLen: 4, Host: "host", AppendForwardedHost: true}
	h := to("old /old/path?q", "x-forwarded-host: a")
	h.Buf, h.Fields = make([]byte, 0, 1024), append(make([]codec.Field, 0, 32), h.Fields...)
	target, authority, n := h.Target, h.Authority, len(h.Fields)
	if allocs := testing.AllocsPerRun(100, func() {
		h.Buf, h.Fields, h.Target, h.Authority = h.Buf[:0], h.Fields[:n], target, authority
		r.Apply(h)
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestRedirects(t *testing.T) {
	prefix := &Rewrite{HasPrefix: true, Prefix: "/new", Match: MatchPrefix, MatchLen: 4}
	all := &Rewrite{HasPrefix: true, Prefix: "/new", Match: MatchAll}
	for _, c := range []struct {
		r               Redirect
		in, proto, want string
	}{
		{Redirect{}, "h:8080 /p?q", "http", "http://h:8080/p?q"},
		{Redirect{}, "h /p", "https", "https://h/p"},
		{Redirect{Host: "new"}, "h:80 /p?q", "http", "http://new/p?q"},
		{Redirect{Host: "new", Port: 8080}, "h:80 /p", "http", "http://new:8080/p"},
		{Redirect{Scheme: "https"}, "h /p?q", "http", "https://h/p?q"},
		// A port is dropped if it was its scheme's own and the scheme changes.
		{Redirect{Scheme: "https"}, "h:80 /", "http", "https://h/"},
		{Redirect{Scheme: "https"}, "h:8080 /", "http", "https://h:8080/"},
		{Redirect{Scheme: "http"}, "h:443 /", "https", "http://h/"},
		{Redirect{Scheme: "http"}, "h:80 /", "http", "http://h:80/"},
		{Redirect{Scheme: "https"}, "h:443 /", "http", "https://h:443/"},
		{Redirect{Scheme: "https"}, "[::1]:80 /", "http", "https://[::1]/"},
		{Redirect{Scheme: "https"}, "[::1] /", "http", "https://[::1]/"},
		{Redirect{Port: 81}, "[::1]:80 /", "http", "http://[::1]:81/"},
		{Redirect{Port: 81}, "[::1] /", "http", "http://[::1]:81/"},
		{Redirect{Port: 81}, "h:80 /", "http", "http://h:81/"},
		{Redirect{Port: 81}, "h /", "http", "http://h:81/"},
		// path_redirect keeps the query, unless it has its own.
		{Redirect{Path: "/new"}, "h /p?q", "http", "http://h/new?q"},
		{Redirect{Path: "/new?x"}, "h /p?q", "http", "http://h/new?x"},
		{Redirect{Path: "/new?x", StripQuery: true}, "h /p?q", "http", "http://h/new?x"},
		{Redirect{Path: "/new", StripQuery: true}, "h /p?q", "http", "http://h/new"},
		{Redirect{Path: "new"}, "h /p", "http", "http://h/new"},
		{Redirect{StripQuery: true}, "h /p?q", "http", "http://h/p"},
		{Redirect{Rewrite: prefix}, "h /old/p?q", "http", "http://h/new/p?q"},
		{Redirect{Rewrite: prefix, StripQuery: true, Host: "x"}, "h /old/p?q", "http", "http://x/new/p"},
		{Redirect{Rewrite: all}, "h /old/p?q", "http", "http://h/new?q"},
		{Redirect{Rewrite: &Rewrite{Regex: regexp.MustCompile("^/(.*)/(.*)$"), Sub: `/\2/\1`}}, "h /a/b?q", "http", "http://h/b/a?q"},
		{Redirect{Rewrite: &Rewrite{Regex: regexp.MustCompile(".*"), Sub: ""}}, "h /a?q", "http", "http://h/a?q"},
		{Redirect{Path: "/a b"}, "h /", "http", "http://h/a%20b"},
		{*ToHTTPS, "h:80 /p?q", "http", "https://h:80/p?q"},
	} {
		h := to(c.in, "x-forwarded-proto: "+c.proto)
		if got := string(c.r.Location([]byte("|"), h)); got != "|"+c.want {
			t.Errorf("%+v on %s: %s, want %s", c.r, c.in, got[1:], c.want)
		}
	}
}

func TestRedirectAnswers(t *testing.T) {
	for code, want := range map[int]int{0: 301, 301: 301, 302: 302, 303: 303, 307: 307, 308: 308} {
		r := &Redirect{Code: code, Rewrite: &Rewrite{HasPrefix: true, Prefix: "/new", Match: MatchAll}}
		var answer codec.Head
		h := to("h /old", "x-forwarded-proto: http")
		r.Answer(&answer, h)
		if diff := cmp.Diff([]string{"location: http://h/new"}, fields(&answer)); diff != "" {
			t.Error(diff)
		}
		if l := r.Local(); l.Status != want || l.Details != "direct_response" || l.Body != "" || l.Flag != "" {
			t.Errorf("%d: %+v", code, l)
		}
		if got := string(h.Get(codec.EnvoyOriginalPath)); got != "/old" {
			t.Errorf("x-envoy-original-path %q: the access log shows what was asked for", got)
		}
	}
}

// FuzzTargets: whatever the configuration says, a target stays one word that starts with '/', and a location one line.
func FuzzTargets(f *testing.F) {
	f.Add("/new", 3, "^/(.*)$", `\1 \0`, "/old/path?q=1", "host:80", "/p q\r\n?x")
	f.Add("", 0, ".*", "", "*", "[::1]:80", "")
	f.Fuzz(func(t *testing.T, prefix string, n int, expr, sub, target, host, path string) {
		for _, s := range []string{target, host} {
			if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				return // no decoder lets it in
			}
		}
		re, err := regexp.Compile(expr)
		if err != nil || len(expr) > 64 || len(target) > 256 || len(sub) > 64 {
			return
		}
		for _, r := range []*Rewrite{
			{HasPrefix: true, Prefix: prefix, Match: MatchPrefix, MatchLen: n}, {HasPrefix: true, Prefix: prefix, Match: MatchAll},
			{Regex: re, Sub: sub},
		} {
			h := to("h /", "x-forwarded-proto: http")
			h.Authority, h.Target = []byte(host), []byte(target)
			r.Apply(h)
			if string(h.Target) != target {
				oneWord(t, h.Target, false)
				if h.Target[0] != '/' {
					t.Errorf("target %q", h.Target)
				}
			}
			RewriteHost(h, (&Rewrite{Host: path}).host(h), true)
			oneWord(t, append([]byte("http"), h.Authority...), true)
			h.Target = []byte(target)
			for _, d := range []*Redirect{
				{Rewrite: r}, {Path: path}, {Path: path, StripQuery: true}, {Host: path, Scheme: "http" + sub}, ToHTTPS,
			} {
				oneWord(t, d.Location(nil, h), true)
			}
		}
	})
}

func oneWord(t *testing.T, b []byte, location bool) {
	t.Helper()
	for _, c := range b {
		if c <= ' ' || c == 0x7f {
			t.Fatalf("%q has the byte %#x", b, c)
		}
	}
	if len(b) == 0 || location && !strings.HasPrefix(string(b), "http") {
		t.Fatalf("%q", b)
	}
}
