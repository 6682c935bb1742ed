// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"math/bits"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

func TestFaults(t *testing.T) {
	half, all := Share{50, 100}, Share{100, 100}
	f := &Fault{Delay: time.Second, DelayShare: half, AbortStatus: 503, AbortShare: half, AbortGRPC: -1}
	for draw, hit := range map[uint64]bool{0: true, 49: true, 50: false, 99: false, 149: true} {
		if got := f.Holds(draw); (got == time.Second) != hit || got != 0 && !hit {
			t.Errorf("draw %d: held %v", draw, got)
		}
		if _, ok := f.Aborts(draw); ok != hit {
			t.Errorf("draw %d: aborted %v", draw, ok)
		}
	}
	got, _ := f.Aborts(0)
	if want := (Local{Status: 503, Body: "fault filter abort", Flag: "FI", Details: "fault_filter_abort"}); got != want {
		t.Errorf("%+v", got)
	}
	got, ok := (&Fault{AbortGRPC: 14, AbortShare: all}).Aborts(0)
	if want := (Local{200, "fault filter abort", "FI", "fault_filter_abort", true, 14}); !ok || got != want {
		t.Errorf("gRPC: %+v", got)
	}
	for name, f := range map[string]*Fault{
		"nil": nil, "zero": {AbortGRPC: -1}, "no share": {Delay: 1, AbortStatus: 500, AbortGRPC: -1},
		"nothing to answer": {AbortGRPC: -1, AbortShare: all, DelayShare: all},
	} {
		if _, ok := f.Aborts(0); ok || f.Holds(0) != 0 {
			t.Errorf("%s: there is a fault", name)
		}
	}
}

func TestCrossOriginRequests(t *testing.T) {
	c := &CORS{
		Origins: []StringMatch{
			{Kind: ExactMatch, Value: "http://a"}, {Kind: PrefixMatch, Value: "https://pre"}, {Kind: SuffixMatch, Value: ".suf"},
			{Kind: ContainsMatch, Value: "-mid-"}, {Kind: RegexMatch, Regex: regexp.MustCompile(`\A(?:http://r[0-9]+)\z`)},
			{Kind: ExactMatch, Value: "http://CASE", IgnoreCase: true},
		},
		ForwardUnmatched: true,
	}
	strict := &CORS{Origins: c.Origins}
	for origin, want := range map[string]bool{
		"http://a": true, "http://A": false, "https://prefix": true, "http://x.suf": true, "x-mid-y": true, "http://r12": true,
		"http://r12x": false, "http://case": true, "null": false, "*": false,
	} {
		for _, p := range []*CORS{c, strict} {
			h := to("h /", "Origin: "+origin)
			if got := p.Request(h); !got.HasOrigin || (string(got.Origin) == origin) != want || got.Preflight {
				t.Errorf("%s: %+v", origin, got)
			}
			h.Method = []byte("OPTIONS")
			if got := p.Request(h); got.Preflight {
				t.Errorf("%s: OPTIONS alone is a preflight", origin)
			}
			h.Fields = append(h.Fields, fieldsOf("Access-Control-Request-Method: PUT")...)
			if got := p.Request(h); got.Preflight != (want || p == strict) {
				t.Errorf("%s: preflight %v", origin, got.Preflight)
			}
			h.Method = []byte("PUT")
			if got := p.Request(h); got.Preflight {
				t.Errorf("%s: PUT is a preflight", origin)
			}
		}
	}
	any := &CORS{Origins: []StringMatch{{Kind: ExactMatch, Value: "*"}}}
	if got := any.Request(to("h /", "origin: null")); string(got.Origin) != "null" {
		t.Errorf(`"*" does not allow every origin: %+v`, got)
	}
	for name, h := range map[string]*codec.Head{"none": to("h /"), "empty": to("h /", "origin: ")} {
		if got := any.Request(h); got.HasOrigin || got.Origin != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := (*CORS)(nil).Request(to("h /", "origin: x")); got.HasOrigin {
		t.Error("there is no policy")
	}
}

func TestPreflightAnswers(t *testing.T) {
	full := CORS{
		Origins: []StringMatch{{Value: "http://a"}}, Methods: "GET,PUT", AllowHeaders: "x-a", ExposeHeaders: "x-b", MaxAge: "60",
		Credentials: true,
	}
	wild := CORS{Origins: full.Origins, Methods: "*", AllowHeaders: "*"}
	for _, c := range []struct {
		policy CORS
		origin string
		want   []string
	}{
		{full, "http://a", []string{
			"access-control-allow-methods: GET,PUT", "access-control-allow-headers: x-a", "access-control-max-age: 60",
			"access-control-allow-origin: http://a", "access-control-allow-credentials: true", "access-control-expose-headers: x-b",
		}},
		{full, "http://b", []string{
			"access-control-allow-credentials: true", "access-control-allow-methods: GET,PUT",
			"access-control-allow-headers: x-a", "access-control-max-age: 60",
		}},
		{wild, "http://a", []string{
			"access-control-allow-methods: DELETE", "access-control-allow-headers: x-1, x-2", "access-control-allow-origin: http://a",
		}},
		{CORS{Origins: full.Origins}, "http://a", []string{"access-control-allow-origin: http://a"}},
	} {
		h := to("h /", "origin: "+c.origin, "access-control-request-method: DELETE", "access-control-request-headers: x-1, x-2")
		h.Method = []byte("OPTIONS")
		o := c.policy.Request(h)
		if !o.Preflight {
			t.Fatalf("%s is no preflight", c.origin)
		}
		var answer codec.Head
		c.policy.Preflight(&answer, h, o)
		if diff := cmp.Diff(c.want, fields(&answer)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAnswersToAnotherOrigin(t *testing.T) {
	c := &CORS{Origins: []StringMatch{{Value: "http://a"}}, ExposeHeaders: "x-b", Credentials: true, Methods: "GET", MaxAge: "1"}
	upstreams := []string{"Access-Control-Allow-Origin: http://other", "x: 1", "access-control-allow-origin: *"}
	h := head(upstreams...)
	c.Answer(h, c.Request(to("h /", "origin: http://a")))
	want := []string{
		"access-control-allow-origin: http://a", "x: 1", "access-control-allow-credentials: true", "access-control-expose-headers: x-b",
	}
	if diff := cmp.Diff(want, fields(h)); diff != "" {
		t.Error(diff)
	}
	for _, origin := range []string{"http://b", ""} {
		h := head(upstreams...)
		c.Answer(h, c.Request(to("h /", "origin: "+origin)))
		if len(fields(h)) != 3 || string(h.Fields[0].Value) != "http://other" {
			t.Errorf("%q: %v", origin, fields(h))
		}
	}
	(*CORS)(nil).Answer(h, CrossOrigin{Origin: []byte("x")})
}

func sum(s string) uint64 { return xxhash.Sum64String(s) }

func seeded(seed uint64, s string) uint64 {
	d := xxhash.NewWithSeed(seed)
	_, _ = d.WriteString(s)
	return d.Sum64()
}

func TestHash(t *testing.T) {
	if sum("") != 0xef46db3751d8e999 || sum("abc") != 0x44bc2cf5ad770999 {
		t.Fatal("not xxHash64")
	}
	rotated := func(h, with uint64) uint64 { return (h<<1 | h>>63) ^ with }
	client := netip.MustParseAddrPort("1.2.3.4:5")
	cookie := HashPolicy{Cookie: &HashCookie{Name: "c"}}
	for name, c := range map[string]struct {
		policies []HashPolicy
		target   string
		fields   []string
		want     uint64
		ok       bool
	}{
		"none":                  {nil, "/", nil, 0, false},
		"header":                {[]HashPolicy{{Header: "x-user"}}, "/", []string{"X-User: joe"}, sum("joe"), true},
		"header missing":        {[]HashPolicy{{Header: "x-user"}}, "/", nil, 0, false},
		"header empty":          {[]HashPolicy{{Header: "x-user"}}, "/", []string{"x-user: "}, sum(""), true},
		"header, several":       {[]HashPolicy{{Header: "x"}}, "/", []string{"x: b", "X: a"}, seeded(sum("a"), "b"), true},
		"header, other order":   {[]HashPolicy{{Header: "x"}}, "/", []string{"x: a", "X: b"}, seeded(sum("a"), "b"), true},
		"authority":             {[]HashPolicy{{Header: ":authority"}}, "/", nil, sum("h"), true},
		"query":                 {[]HashPolicy{{Query: "k"}}, "/?a=1&k=v%20&k=w", nil, sum("v%20"), true},
		"query, empty":          {[]HashPolicy{{Query: "k"}}, "/?k", nil, sum(""), true},
		"query missing":         {[]HashPolicy{{Query: "k"}}, "/?kk=1", nil, 0, false},
		"source":                {[]HashPolicy{{SourceIP: true}}, "/", nil, sum("1.2.3.4"), true},
		"cookie":                {[]HashPolicy{cookie}, "/", []string{"Cookie: a=b; c=d"}, sum("d"), true},
		"cookie in quotes":      {[]HashPolicy{cookie}, "/", []string{`cookie: c="d e"`}, sum("d e"), true},
		"cookie, second field":  {[]HashPolicy{cookie}, "/", []string{"cookie: a=b", "cookie: c=d=e"}, sum("d=e"), true},
		"cookie, first counts":  {[]HashPolicy{cookie}, "/", []string{"cookie: c=1;c=2"}, sum("1"), true},
		"cookie, empty":         {[]HashPolicy{cookie}, "/", []string{"cookie: c="}, 0, false},
		"cookie, no equal sign": {[]HashPolicy{cookie}, "/", []string{"cookie: c"}, 0, false},
		"two":                   {[]HashPolicy{{Header: "x"}, {Query: "k"}}, "/?k=2", []string{"x: 1"}, rotated(sum("1"), sum("2")), true},
		"the same twice":        {[]HashPolicy{{Header: "x"}, {Header: "x"}}, "/", []string{"x: 1"}, rotated(sum("1"), sum("1")), true},
		"the first missing":     {[]HashPolicy{{Header: "x"}, {Query: "k"}}, "/?k=2", nil, sum("2"), true},
		"terminal":              {[]HashPolicy{{Header: "x", Terminal: true}, {Query: "k"}}, "/?k=2", []string{"x: 1"}, sum("1"), true},
		"terminal, missing":     {[]HashPolicy{{Header: "x", Terminal: true}, {Query: "k"}}, "/?k=2", nil, sum("2"), true},
		"terminal, missing, but there is a hash": {[]HashPolicy{{Query: "k"}, {Header: "x", Terminal: true}, {SourceIP: true}},
			"/?k=2", nil, sum("2"), true},
	} {
		h := to("h "+c.target, c.fields...)
		got, ok, cookies := Hash(c.policies, h, client, client, client)
		if got != c.want || ok != c.ok || cookies != nil {
			t.Errorf("%s: %x %v %q, want %x", name, got, ok, cookies, c.want)
		}
	}
	mapped := netip.MustParseAddrPort("[::ffff:1.2.3.4]:5")
	if got, _, _ := Hash([]HashPolicy{{SourceIP: true}}, to("h /"), mapped, mapped, mapped); got != sum("1.2.3.4") {
		t.Error("an IPv4 client of an IPv6 socket is another client")
	}
	if _, ok, _ := Hash([]HashPolicy{{SourceIP: true}}, to("h /"), netip.AddrPort{}, client, client); ok {
		t.Error("nobody has a hash")
	}
}

func TestHashGivesACookieToClientsWithoutOne(t *testing.T) {
	local := netip.MustParseAddrPort("10.0.0.1:80")
	a, b := netip.MustParseAddrPort("1.2.3.4:5"), netip.MustParseAddrPort("1.2.3.4:6")
	give := func(c HashCookie, peer netip.AddrPort, fields ...string) (uint64, []string) {
		c.Name, c.Make = "sid", true
		hash, ok, cookies := Hash([]HashPolicy{{Cookie: &c}}, to("h /", fields...), peer, peer, local)
		if !ok {
			t.Fatal("no hash")
		}
		var text []string
		for _, c := range cookies {
			text = append(text, string(c))
		}
		return hash, text
	}
	hash, cookies := give(HashCookie{Path: "/p", TTL: 90 * time.Second}, a)
	value := regexp.MustCompile(`^sid="([0-9a-f]{16})"; Max-Age=90; Path=/p; HttpOnly$`).FindStringSubmatch(strings.Join(cookies, "|"))
	if value == nil {
		t.Fatalf("cookies %q", cookies)
	}
	if hash != sum(value[1]) {
		t.Error("the hash is not the cookie's")
	}
	if again, _ := give(HashCookie{}, a); again != hash {
		t.Error("a connection's requests have different cookies")
	}
	if other, _ := give(HashCookie{}, b); other == hash {
		t.Error("two connections have the same cookie")
	}
	if back, cookies := give(HashCookie{}, b, `cookie: sid="`+value[1]+`"`); back != hash || cookies != nil {
		t.Errorf("a client that has the cookie: %x, cookies %q", back, cookies)
	}
	if _, cookies := give(HashCookie{}, a); len(cookies) != 1 || cookies[0] != `sid="`+value[1]+`"; HttpOnly` {
		t.Errorf("a session cookie: %q", cookies)
	}
}

func TestTheSameCookieIsGivenOnceThoughTwoPoliciesAskForIt(t *testing.T) {
	cookie := func(name, path string) HashPolicy {
		return HashPolicy{Cookie: &HashCookie{Name: name, Path: path, Make: true}}
	}
	client := netip.MustParseAddrPort("1.2.3.4:5")
	hash, _, cookies := Hash([]HashPolicy{
		cookie("a", "/"), {Cookie: &HashCookie{Name: "b"}}, cookie("a", "/"), cookie("a", "/x"), cookie("b", ""),
	}, to("h /"), client, client, client)
	var names []string
	for _, c := range cookies {
		name, _, _ := strings.Cut(string(c), "=")
		_, path, _ := strings.Cut(string(c), "; Path=")
		path, _, _ = strings.Cut(path, ";")
		names = append(names, name+path)
	}
	if got := strings.Join(names, " "); got != "a/ a/x b" {
		t.Errorf("cookies %q, want a for / and for /x, and b", got)
	}
	var want uint64
	for range 4 { // b is there once for nothing
		want = bits.RotateLeft64(want, 1) ^ sum(string(newCookieValue(client, client)))
	}
	if hash != want {
		t.Errorf("hash %x, want %x: each policy counts, as if its cookie were given", hash, want)
	}
}

func TestHashAllocatesNothing(t *testing.T) {
	policies := []HashPolicy{
		{Header: "x"}, {Cookie: &HashCookie{Name: "c"}}, {SourceIP: true}, {Query: "k"}, {Header: ":path"},
	}
	h, peer := to("h /?k=1", "x: 1", "x: 2", "cookie: c=1"), netip.MustParseAddrPort("1.2.3.4:5")
	if n := testing.AllocsPerRun(100, func() { Hash(policies, h, peer, peer, peer) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
