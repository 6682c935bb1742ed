// SPDX-License-Identifier: Apache-2.0

package route

import (
	"strings"
	"sync"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// request makes a head of "<host> <target>" and fields as "name: value".
func request(hostAndTarget string, fields ...string) *codec.Head {
	host, target, _ := strings.Cut(hostAndTarget, " ")
	h := &codec.Head{Method: []byte("GET"), Authority: []byte(host), Target: []byte(target)}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.Fields = append(h.Fields, codec.Field{
			ID: codec.Identify([]byte(name)), Name: []byte(name), Value: []byte(value),
		})
	}
	return h
}

// spec is a table as text: what Config is, before its hosts are made.
type spec[A any] struct {
	IgnorePort bool
	Hosts      []VirtualHost[A]
}

func (s spec[A]) table() (*Table[A], error) {
	c := Config[A]{IgnorePort: s.IgnorePort}
	for i := range s.Hosts {
		v, err := NewHost(&s.Hosts[i])
		if err != nil {
			return nil, err
		}
		c.Hosts = append(c.Hosts, v)
	}
	return New(c)
}

func table(t testing.TB, c spec[string]) *Table[string] {
	t.Helper()
	tab, err := c.table()
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// oneHost is a table with the routes under every host.
func oneHost(t testing.TB, routes ...Route[string]) *Table[string] {
	return table(t, spec[string]{Hosts: []VirtualHost[string]{{Name: "all", Domains: []string{"*"}, Routes: routes}}})
}

func prefix(p, action string, headers ...HeaderMatch) Route[string] {
	return Route[string]{Path: PathMatch{Kind: PathPrefix, Value: p}, Headers: headers, Action: action}
}

func TestHostLookupTakesExactThenLongestSuffixThenLongestPrefixThenAny(t *testing.T) {
	var hosts []VirtualHost[string]
	for _, d := range []string{
		"a.com", "*.a.com", "*.b.a.com", "*-x.a.com", "a.*", "a.b.*", "svc:*", "svc:80", "UPPER.org", "*",
	} {
		hosts = append(hosts, VirtualHost[string]{Name: d, Domains: []string{d}, Routes: []Route[string]{prefix("/", d)}})
	}
	tab := table(t, spec[string]{Hosts: hosts})
	for host, want := range map[string]string{
		"a.com":         "a.com",
		"A.cOm":         "a.com",
		"x.a.com":       "*.a.com",
		"y.x.a.com":     "*.a.com",
		"x.b.a.com":     "*.b.a.com",
		"X.B.A.COM":     "*.b.a.com",
		".a.com":        "*", // the star stands for at least one byte
		"1-x.a.com":     "*-x.a.com",
		"a.org":         "a.*",
		"a.b.org":       "a.b.*",
		"a.b.":          "a.*",
		"a.b.a.com":     "*.b.a.com", // a suffix before a longer prefix
		"svc:80":        "svc:80",
		"svc:81":        "svc:*",
		"svc:":          "*",
		"svc":           "*",
		"upper.org":     "UPPER.org",
		"a.com.":        "a.*", // a trailing dot is part of the name
		"a.com:80":      "a.*", // so is a port
		"":              "*",
		"other.example": "*",
	} {
		if got, out := tab.Match(request(host+" /"), 0); out != Found || got != want {
			t.Errorf("%q: %q, outcome %d, want %q", host, got, out, want)
		}
	}
}

func TestIgnorePortCutsThePortOfTheRequestOnly(t *testing.T) {
	c := spec[string]{Hosts: []VirtualHost[string]{
		{Name: "plain", Domains: []string{"a.com", "[::1]", "*.w.com"}, Routes: []Route[string]{prefix("/", "plain")}},
		{Name: "port", Domains: []string{"b.com:80"}, Routes: []Route[string]{prefix("/", "port")}},
	}}
	strict := table(t, c)
	c.IgnorePort = true
	ignoring := table(t, c)
	for host, want := range map[string]string{
		"a.com": "plain", "a.com:8080": "plain", "a.com:": "plain", "x.w.com:1": "plain", "A.com:1": "plain",
		"[::1]": "plain", "[::1]:80": "plain", "b.com:80": "", "a.com:1:2": "",
	} {
		if got, _ := ignoring.Match(request(host+" /"), 0); got != want {
			t.Errorf("ignoring ports, %q: %q, want %q", host, got, want)
		}
	}
	for host, want := range map[string]string{"a.com": "plain", "a.com:80": "", "b.com:80": "port", "b.com": ""} {
		if got, _ := strict.Match(request(host+" /"), 0); got != want {
			t.Errorf("minding ports, %q: %q, want %q", host, got, want)
		}
	}
}

func TestThereIsNoSecondChoiceOfHost(t *testing.T) {
	tab := table(t, spec[string]{Hosts: []VirtualHost[string]{
		{Name: "a", Domains: []string{"a.com"}, Routes: []Route[string]{prefix("/a", "a")}},
		{Name: "any", Domains: []string{"*"}, Routes: []Route[string]{prefix("/", "any")}},
		{Name: "empty", Domains: []string{"e.com"}},
	}})
	if got, out := tab.Match(request("a.com /b"), 0); out != NoRoute || got != "" {
		t.Errorf("a.com /b: %q, outcome %d, want no route", got, out)
	}
	if _, out := tab.Match(request("e.com /"), 0); out != NoRoute {
		t.Errorf("e.com: outcome %d, want no route", out)
	}
	none := table(t, spec[string]{Hosts: []VirtualHost[string]{{Name: "a", Domains: []string{"a.com"}}}})
	if _, out := none.Match(request("b.com /"), 0); out != NoHost {
		t.Errorf("b.com: outcome %d, want no host", out)
	}
}

func TestFirstRouteThatMatchesWins(t *testing.T) {
	tab := oneHost(t,
		prefix("/", "with header", HeaderMatch{Name: "x-env", Kind: HeaderExact, Value: "canary"}),
		Route[string]{Path: PathMatch{Kind: PathExact, Value: "/headers"}, Action: "exact"},
		prefix("/head", "short"),
		prefix("/headers", "never"),
	)
	for in, want := range map[string]string{"/headers": "exact", "/headers/": "short", "/headersfoo": "short", "/he": ""} {
		if got, _ := tab.Match(request("h "+in), 0); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	if got, _ := tab.Match(request("h /headers", "X-Env: canary"), 0); got != "with header" {
		t.Errorf("with the header: %q", got)
	}
}

func TestPathMatch(t *testing.T) {
	for _, c := range []struct {
		m    PathMatch
		path string
		want bool
	}{
		{PathMatch{}, "*", true},
		{PathMatch{Value: "/"}, "*", false},
		{PathMatch{Value: "/a"}, "/ab", true},
		{PathMatch{Value: "/a"}, "/A", false},
		{PathMatch{Value: "/a/"}, "/a", false},
		{PathMatch{Value: "/Ab", IgnoreCase: true}, "/aBc", true},
		{PathMatch{Value: "/é", IgnoreCase: true}, "/é", true},
		{PathMatch{Value: "/É", IgnoreCase: true}, "/é", false}, // ASCII only
		{PathMatch{Value: "/a"}, "/a?b", true},
		{PathMatch{Value: "/a?b"}, "/a?b", false}, // the query is cut before
		{PathMatch{Kind: PathExact, Value: "/a"}, "/a", true},
		{PathMatch{Kind: PathExact, Value: "/a"}, "/a/", false},
		{PathMatch{Kind: PathExact, Value: "/a"}, "/a?x=/", true},
		{PathMatch{Kind: PathExact, Value: "/a"}, "/a#f?q", true},
		{PathMatch{Kind: PathExact, Value: "/a"}, "/A", false},
		{PathMatch{Kind: PathExact, Value: "/A", IgnoreCase: true}, "/a", true},
		{PathMatch{Kind: PathSeparatedPrefix, Value: "/a"}, "/a", true},
		{PathMatch{Kind: PathSeparatedPrefix, Value: "/a"}, "/a/b", true},
		{PathMatch{Kind: PathSeparatedPrefix, Value: "/a"}, "/a/", true},
		{PathMatch{Kind: PathSeparatedPrefix, Value: "/a"}, "/a?b", true},
		{PathMatch{Kind: PathSeparatedPrefix, Value: "/a"}, "/ab", false},
		{PathMatch{Kind: PathSeparatedPrefix, Value: "/a"}, "/A/b", false},
		{PathMatch{Kind: PathSeparatedPrefix, Value: "/A", IgnoreCase: true}, "/a/B", true},
		{PathMatch{Kind: PathRegex, Value: "/a+"}, "/aaa", true},
		{PathMatch{Kind: PathRegex, Value: "/a+"}, "/aaab", false},
		{PathMatch{Kind: PathRegex, Value: "/a+"}, "x/a", false},
		{PathMatch{Kind: PathRegex, Value: "/a|/bc"}, "/bc", true}, // an alternative is whole, too
		{PathMatch{Kind: PathRegex, Value: "/a|/ab"}, "/ab", true}, // though a shorter one comes first
		{PathMatch{Kind: PathRegex, Value: "/a$"}, "/a\n", false},
		{PathMatch{Kind: PathRegex, Value: "(?m)/a$"}, "/a\nb", false},
		{PathMatch{Kind: PathRegex, Value: "/A", IgnoreCase: true}, "/a", false},
		{PathMatch{Kind: PathRegex, Value: "(?i)/A"}, "/a?q", true},
	} {
		tab := oneHost(t, Route[string]{Path: c.m, Action: "hit"})
		if got, _ := tab.Match(request("h "+c.path), 0); (got == "hit") != c.want {
			t.Errorf("%+v on %q: %v, want %v", c.m, c.path, got == "hit", c.want)
		}
	}
}

func TestHeaderMatch(t *testing.T) {
	fields := []string{"X-One: Alpha", "x-two: a", "X-Two: b", "x-empty: ", "x-envoy-max-retries: 1"}
	for _, c := range []struct {
		m    HeaderMatch
		want bool
	}{
		{HeaderMatch{Name: "x-one"}, true},
		{HeaderMatch{Name: "X-ONE"}, true},
		{HeaderMatch{Name: "x-empty"}, true},
		{HeaderMatch{Name: "x-none"}, false},
		{HeaderMatch{Name: "x-one", Invert: true}, false},
		{HeaderMatch{Name: "x-none", Invert: true}, true},
		{HeaderMatch{Name: "x-none", MissingAsEmpty: true}, true},
		{HeaderMatch{Name: "x-one", Kind: HeaderExact, Value: "Alpha"}, true},
		{HeaderMatch{Name: "x-one", Kind: HeaderExact, Value: "alpha"}, false},
		{HeaderMatch{Name: "x-one", Kind: HeaderExact, Value: "aLPHA", IgnoreCase: true}, true},
		{HeaderMatch{Name: "x-one", Kind: HeaderExact, Value: "Alph"}, false},
		{HeaderMatch{Name: "x-one", Kind: HeaderPrefix, Value: "Al"}, true},
		{HeaderMatch{Name: "x-one", Kind: HeaderPrefix, Value: "ha"}, false},
		{HeaderMatch{Name: "x-one", Kind: HeaderSuffix, Value: "ha"}, true},
		{HeaderMatch{Name: "x-one", Kind: HeaderSuffix, Value: "HA", IgnoreCase: true}, true},
		{HeaderMatch{Name: "x-one", Kind: HeaderSuffix, Value: "Al"}, false},
		{HeaderMatch{Name: "x-one", Kind: HeaderContains, Value: "lph"}, true},
		{HeaderMatch{Name: "x-one", Kind: HeaderContains, Value: "LPH", IgnoreCase: true}, true},
		{HeaderMatch{Name: "x-one", Kind: HeaderContains, Value: "Alphas"}, false},
		{HeaderMatch{Name: "x-one", Kind: HeaderRegex, Value: "A.*a"}, true},
		{HeaderMatch{Name: "x-one", Kind: HeaderRegex, Value: "Alph"}, false},
		{HeaderMatch{Name: "x-one", Kind: HeaderExact, Value: "Alpha", Invert: true}, false},
		{HeaderMatch{Name: "x-one", Kind: HeaderExact, Value: "beta", Invert: true}, true},
		// A missing field fails a value's matcher, inverted or not, unless it counts as empty.
		{HeaderMatch{Name: "x-none", Kind: HeaderExact, Value: "beta", Invert: true}, false},
		{HeaderMatch{Name: "x-none", Kind: HeaderExact, Value: "beta", Invert: true, MissingAsEmpty: true}, true},
		{HeaderMatch{Name: "x-none", Kind: HeaderRegex, Value: ""}, false},
		{HeaderMatch{Name: "x-none", Kind: HeaderRegex, Value: "", MissingAsEmpty: true}, true},
		{HeaderMatch{Name: "x-two", Kind: HeaderExact, Value: "a,b"}, true},
		{HeaderMatch{Name: "x-two", Kind: HeaderExact, Value: "a"}, false},
		{HeaderMatch{Name: "x-two", Kind: HeaderRegex, Value: "a,b"}, true},
		{HeaderMatch{Name: ":method", Kind: HeaderExact, Value: "GET"}, true},
		{HeaderMatch{Name: ":method", Kind: HeaderExact, Value: "get"}, false},
		{HeaderMatch{Name: ":authority", Kind: HeaderExact, Value: "h:80"}, true},
		{HeaderMatch{Name: "Host", Kind: HeaderPrefix, Value: "h:"}, true},
		{HeaderMatch{Name: ":path", Kind: HeaderExact, Value: "/p?q=1"}, true},
		{HeaderMatch{Name: ":scheme", Kind: HeaderExact, Value: "http"}, true},
		{HeaderMatch{Name: ":scheme", Kind: HeaderExact, Value: "https", Invert: true}, true},
		{HeaderMatch{Name: ":status"}, false},
		{HeaderMatch{Name: "x-envoy-max-retries"}, true},
		{HeaderMatch{Name: "x-envoy-retry-on"}, false},
	} {
		tab := oneHost(t, prefix("/", "hit", c.m))
		if got, _ := tab.Match(request("h:80 /p?q=1", fields...), 0); (got == "hit") != c.want {
			t.Errorf("%+v: %v, want %v", c.m, got == "hit", c.want)
		}
	}
}

func TestRemovedFieldsDoNotMatch(t *testing.T) {
	tab := oneHost(t, prefix("/", "hit", HeaderMatch{Name: "expect"}))
	h := request("h /", "Expect: 100-continue")
	h.Del(codec.Expect)
	if _, out := tab.Match(h, 0); out != NoRoute {
		t.Error("a field that was removed matched")
	}
}

func TestMatchLeavesTheHeadAsItWas(t *testing.T) {
	tab := table(t, spec[string]{Hosts: []VirtualHost[string]{{
		Name: "a", Domains: []string{"a.com"},
		Routes: []Route[string]{prefix("/", "hit", HeaderMatch{Name: "x", Kind: HeaderExact, Value: "1,2,3"})},
	}}})
	h := request("A.com /", "x: 1", "x: 2", "x: 3")
	h.Buf = append(make([]byte, 0, 64), "stored"...)
	if got, _ := tab.Match(h, 0); got != "hit" {
		t.Fatalf("action %q", got)
	}
	if string(h.Buf) != "stored" || string(h.Authority) != "A.com" || string(h.Fields[0].Value) != "1" {
		t.Errorf("head changed: Buf %q, Authority %q, first field %q", h.Buf, h.Authority, h.Fields[0].Value)
	}
}

func TestNewRefusesByName(t *testing.T) {
	host := func(name string, domains ...string) VirtualHost[string] {
		return VirtualHost[string]{Name: name, Domains: domains}
	}
	second := func(p PathMatch, h ...HeaderMatch) []VirtualHost[string] {
		routes := []Route[string]{prefix("/", ""), {Path: p, Headers: h}}
		return []VirtualHost[string]{{Name: "v", Domains: []string{"*"}, Routes: routes}}
	}
	bracket := HeaderMatch{Name: "x", Kind: HeaderRegex, Value: "["}
	for want, hosts := range map[string][]VirtualHost[string]{
		"one: empty domain": {host("one", "")},
		"two: duplicate domain A.com, which virtual host one has": {host("one", "a.com"), host("two", "A.com")},
		"one: duplicate domain *.a, which virtual host one has":   {host("one", "*.a", "b", "*.a")},
		"two: duplicate domain a.*, which virtual host one has":   {host("one", "a.*"), host("two", "a.*")},
		"two: duplicate domain *, which virtual host one has":     {host("one", "*"), host("two", "*")},

		"one: domain a.*.b: a '*' may stand at the start or the end, once": {host("one", "a.*.b")},
		"one: domain *a*: a '*' may stand at the start or the end, once":   {host("one", "*a*")},

		"v: route 1: path: error parsing regexp":  second(PathMatch{Kind: PathRegex, Value: "a)(b"}),
		"v: route 1: path: unknown kind 9":        second(PathMatch{Kind: 9}),
		"v: route 1: header x: error parsing":     second(PathMatch{}, bracket),
		"v: route 1: header :proto: no such part": second(PathMatch{}, HeaderMatch{Name: ":proto"}),
		"v: route 1: header without a name":       second(PathMatch{}, HeaderMatch{}),
		"v: route 1: header x: unknown kind 77":   second(PathMatch{}, HeaderMatch{Name: "x", Kind: 77}),
	} {
		_, err := spec[string]{Hosts: hosts}.table()
		if err == nil || !strings.HasPrefix(err.Error(), "virtual host "+want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestMatchIsSafeForConcurrentUse(t *testing.T) {
	tab := oneHost(t, prefix("/", "hit", HeaderMatch{Name: "x", Kind: HeaderRegex, Value: "1,.*"}))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			h := request("Host /", "x: 1", "x: 2")
			for range 200 {
				if got, _ := tab.Match(h, 0); got != "hit" {
					t.Error("no match")
					return
				}
			}
		})
	}
	wg.Wait()
}
