// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

func TestQueryMatch(t *testing.T) {
	for _, c := range []struct {
		m     QueryMatch
		query string
		want  bool
	}{
		{QueryMatch{Name: "a"}, "?a", true},
		{QueryMatch{Name: "a"}, "?a=", true},
		{QueryMatch{Name: "a"}, "?b&a=1", true},
		{QueryMatch{Name: "a"}, "?&&a", true},
		{QueryMatch{Name: "a"}, "?ab", false},
		{QueryMatch{Name: "a"}, "?A=1", false}, // names have case
		{QueryMatch{Name: "a"}, "", false},
		{QueryMatch{Name: "a"}, "?", false},
		{QueryMatch{Name: "a"}, "?b=a", false},
		{QueryMatch{Name: "a"}, "?b=1?a", false},
		{QueryMatch{Name: "a", Absent: true}, "?b", true},
		{QueryMatch{Name: "a", Absent: true}, "", true},
		{QueryMatch{Name: "a", Absent: true}, "?a", false},
		{QueryMatch{Name: "a", Kind: HeaderExact, Value: "1"}, "?a=1", true},
		{QueryMatch{Name: "a", Kind: HeaderExact, Value: "1"}, "?a=1&a=2", true},
		{QueryMatch{Name: "a", Kind: HeaderExact, Value: "2"}, "?a=1&a=2", false}, // only the first counts
		{QueryMatch{Name: "a", Kind: HeaderExact, Value: ""}, "?a", true},
		{QueryMatch{Name: "a", Kind: HeaderExact, Value: ""}, "", false},
		{QueryMatch{Name: "a", Kind: HeaderExact, Value: "1=2"}, "?a=1=2", true},
		{QueryMatch{Name: "a", Kind: HeaderExact, Value: "x y"}, "?a=x%20y", false}, // nothing is decoded
		{QueryMatch{Name: "a", Kind: HeaderExact, Value: "x%20y"}, "?a=x%20y", true},
		{QueryMatch{Name: "%61", Kind: HeaderExact, Value: "1"}, "?a=1", false},
		{QueryMatch{Name: "a", Kind: HeaderExact, Value: "X", IgnoreCase: true}, "?a=x", true},
		{QueryMatch{Name: "a", Kind: HeaderPrefix, Value: "fo"}, "?a=foo", true},
		{QueryMatch{Name: "a", Kind: HeaderPrefix, Value: "oo"}, "?a=foo", false},
		{QueryMatch{Name: "a", Kind: HeaderSuffix, Value: "oo"}, "?a=foo", true},
		{QueryMatch{Name: "a", Kind: HeaderContains, Value: "o"}, "?a=foo", true},
		{QueryMatch{Name: "a", Kind: HeaderContains, Value: "FO", IgnoreCase: true}, "?a=foo", true},
		{QueryMatch{Name: "a", Kind: HeaderRegex, Value: "f.o"}, "?a=foo", true},
		{QueryMatch{Name: "a", Kind: HeaderRegex, Value: "f."}, "?a=foo", false},
	} {
		tab := oneHost(t, Route[string]{Query: []QueryMatch{c.m}, Action: "hit"})
		if got, _ := tab.Match(request("h /p"+c.query), 0); (got == "hit") != c.want {
			t.Errorf("%+v on %q: %v, want %v", c.m, c.query, got == "hit", c.want)
		}
	}
	for _, m := range []QueryMatch{{}, {Name: "a", Kind: HeaderRegex, Value: "["}, {Name: "a", Kind: 9}} {
		v := &VirtualHost[string]{Name: "v", Routes: []Route[string]{{Query: []QueryMatch{m}}}}
		if _, err := NewHost(v); err == nil || !strings.HasPrefix(err.Error(), "virtual host v: route 0: query parameter") {
			t.Errorf("%+v: %v", m, err)
		}
	}
}

func TestRoutesForAShareOfRequests(t *testing.T) {
	part := prefix("/", "part")
	part.Fraction.Numerator, part.Fraction.Denominator = 30, 100
	never := prefix("/", "never")
	never.Fraction.Denominator = 100
	tab := oneHost(t, never, part, prefix("/", "rest"))
	hits := 0
	for draw := range uint64(1000) {
		got, _ := tab.Match(request("h /"), draw)
		if want := draw%100 < 30; (got == "part") != want {
			t.Fatalf("draw %d: %q", draw, got)
		}
		if got == "part" {
			hits++
		}
	}
	if hits != 300 {
		t.Errorf("%d of 1000, want 300", hits)
	}
}

func TestSchemeIsWhatTheClientsProxySaid(t *testing.T) {
	tab := oneHost(t, prefix("/", "tls", HeaderMatch{Name: ":scheme", Kind: HeaderExact, Value: "https"}), prefix("/", "plain"))
	for proto, want := range map[string]string{"https": "tls", "HTTPS": "tls", "http": "plain", "ws": "plain", "": "plain"} {
		if got, _ := tab.Match(request("h /", "x-forwarded-proto: "+proto), 0); got != want {
			t.Errorf("%q: %q, want %q", proto, got, want)
		}
	}
	if got, _ := tab.Match(request("h /"), 0); got != "plain" {
		t.Errorf("without the field: %q", got)
	}
}

func TestAHostForTLSAloneHasNoRoutesForOthers(t *testing.T) {
	tab := table(t, spec[string]{Hosts: []VirtualHost[string]{
		{Name: "tls", Domains: []string{"*"}, RequireTLS: true, Routes: []Route[string]{prefix("/a", "a")}},
	}})
	for _, c := range []struct {
		proto, path string
		want        Outcome
	}{
		{"http", "/a", NeedsTLS}, {"http", "/b", NeedsTLS}, {"ftp", "/a", NeedsTLS}, {"https", "/a", Found}, {"https", "/b", NoRoute},
		{"", "/a", NoRoute},
	} {
		if _, out := tab.Match(request("h "+c.path, "x-forwarded-proto: "+c.proto), 0); out != c.want {
			t.Errorf("%+v: outcome %d", c, out)
		}
	}
}

func TestHeaderMatcherOnAnswers(t *testing.T) {
	h := &codec.Head{Status: 503, Fields: []codec.Field{
		{ID: codec.Other, Name: []byte("X-Retry"), Value: []byte("yes")},
	}}
	for _, c := range []struct {
		m    HeaderMatch
		want bool
	}{
		{HeaderMatch{Name: ":status", Kind: HeaderExact, Value: "503"}, true},
		{HeaderMatch{Name: ":status", Kind: HeaderPrefix, Value: "4"}, false},
		{HeaderMatch{Name: "x-retry", Kind: HeaderExact, Value: "yes"}, true},
		{HeaderMatch{Name: ":method"}, false},
		{HeaderMatch{Name: ":path"}, false},
		{HeaderMatch{Name: ":scheme"}, false},
	} {
		m, err := NewHeaderMatcher(c.m)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Match(h); got != c.want {
			t.Errorf("%+v: %v", c.m, got)
		}
	}
	if len(h.Buf) != 0 {
		t.Errorf("Buf keeps %q", h.Buf)
	}
}

func TestAHostServesInSeveralTables(t *testing.T) {
	host := func(name, action string) *Host[string] {
		v, err := NewHost(&VirtualHost[string]{Name: name, Domains: []string{name}, Routes: []Route[string]{prefix("/", action)}})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	a, b := host("a", "a1"), host("b", "b1")
	first, err := New(Config[string]{Hosts: []*Host[string]{a, b}})
	if err != nil {
		t.Fatal(err)
	}
	second, err := New(Config[string]{Hosts: []*Host[string]{a, host("b", "b2")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tab        *Table[string]
		name, want string
	}{{first, "a", "a1"}, {first, "b", "b1"}, {second, "a", "a1"}, {second, "b", "b2"}} {
		if got, _ := c.tab.Match(request(c.name+" /"), 0); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Literal paths that are all prefixes of each other are more lists than are merged: they are scanned, in order.
func TestDeeplyNestedPrefixesKeepTheirOrder(t *testing.T) {
	for _, deepest := range []bool{true, false} {
		var routes []Route[string]
		for i := range 3 * maxLists {
			n := i
			if deepest {
				n = 3*maxLists - i
			}
			p := "/" + strings.Repeat("x", n)
			routes = append(routes, prefix(p, p, HeaderMatch{Name: "x", Kind: HeaderExact, Value: "hit", Invert: n%2 == 0, MissingAsEmpty: true}))
		}
		tab, scan := oneHost(t, routes...), oneHost(t, routes...)
		scan.hosts.any.index = nil
		for n := range 4 * maxLists {
			for _, value := range []string{"hit", "miss"} {
				h := request("h /"+strings.Repeat("x", n), "x: "+value)
				got, gotOut := tab.Match(h, 0)
				want, wantOut := scan.Match(h, 0)
				if got != want || gotOut != wantOut {
					t.Fatalf("%d deep, %s: %q, want %q", n, value, got, want)
				}
			}
		}
	}
}

func TestIndexAndScanAgreeOnNestedPaths(t *testing.T) {
	var routes []Route[string]
	for i := range 40 {
		for k, kind := range []PathKind{PathExact, PathSeparatedPrefix, PathPrefix} {
			routes = append(routes, Route[string]{
				Path:   PathMatch{Kind: kind, Value: fmt.Sprintf("/Svc/%d", i), IgnoreCase: i%3 == 0},
				Action: fmt.Sprint(i, k),
			})
		}
	}
	tab, scan := oneHost(t, routes...), oneHost(t, routes...)
	if tab.hosts.any.index == nil {
		t.Fatal("no index")
	}
	scan.hosts.any.index = nil
	for i := range 50 {
		for _, p := range []string{"/Svc/%d", "/Svc/%d/x", "/Svc/%dx", "/svc/%d/", "/SVC/%d0"} {
			h := request("h " + fmt.Sprintf(p, i))
			got, _ := tab.Match(h, 0)
			if want, _ := scan.Match(h, 0); got != want {
				t.Errorf("%s: %q, want %q", h.Target, got, want)
			}
		}
	}
}
