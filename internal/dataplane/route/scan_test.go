// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// slow answers as Table.Match has to, in the plainest way: every domain of every host is weighed, every route tried.
func slow(c spec[int], h *codec.Head, draw uint64) (action int, out Outcome) {
	host := string(h.Authority)
	if c.IgnorePort {
		if i := strings.LastIndex(host, ":"); i >= 0 && !strings.Contains(host[i:], "]") {
			host = host[:i]
		}
	}
	host = strings.ToLower(host)
	best, chosen := -1, -1
	for i, v := range c.Hosts {
		for _, d := range v.Domains {
			if w := weight(strings.ToLower(d), host); w > best {
				best, chosen = w, i
			}
		}
	}
	if chosen < 0 {
		return 0, NoHost
	}
	for _, r := range c.Hosts[chosen].Routes {
		if slowRoute(r, h, draw) {
			return r.Action, Found
		}
	}
	return 0, NoRoute
}

func weight(domain, host string) int {
	switch {
	case domain == "*":
		return 0
	case domain == host:
		return 3_000_000
	case domain[0] == '*' && strings.HasSuffix(host, domain[1:]) && len(host) >= len(domain):
		return 2_000_000 + len(domain)
	case strings.HasSuffix(domain, "*") && strings.HasPrefix(host, domain[:len(domain)-1]) && len(host) >= len(domain):
		return 1_000_000 + len(domain)
	}
	return -1
}

func slowRoute(r Route[int], h *codec.Head, draw uint64) bool {
	path, _, _ := strings.Cut(string(h.Target), "?")
	path, _, _ = strings.Cut(path, "#")
	value := r.Path.Value
	if r.Path.IgnoreCase && r.Path.Kind != PathRegex {
		path, value = strings.ToLower(path), strings.ToLower(value)
	}
	ok := false
	switch r.Path.Kind {
	case PathPrefix:
		ok = strings.HasPrefix(path, value)
	case PathExact:
		ok = path == value
	case PathSeparatedPrefix:
		ok = path == value || strings.HasPrefix(path, value+"/")
	case PathRegex:
		re := regexp.MustCompile(value)
		re.Longest()
		at := re.FindStringIndex(path)
		ok = at != nil && at[0] == 0 && at[1] == len(path)
	}
	if f := r.Fraction; f.Denominator > 0 && draw%uint64(f.Denominator) >= uint64(f.Numerator) {
		ok = false
	}
	for _, m := range r.Query {
		_, query, _ := strings.Cut(string(h.Target), "?")
		found := ""
		for _, p := range strings.Split(query, "&") {
			if name, _, _ := strings.Cut(p, "="); name == m.Name && found == "" {
				found = p
			}
		}
		_, v, _ := strings.Cut(found, "=")
		ok = ok && (found != "") != m.Absent && (m.Kind == HeaderPresent || v == m.Value)
	}
	for _, m := range r.Headers {
		var values []string
		for _, f := range h.Fields {
			if strings.EqualFold(string(f.Name), m.Name) {
				values = append(values, string(f.Value))
			}
		}
		switch {
		case m.Kind == HeaderPresent:
			ok = ok && (len(values) > 0 || m.MissingAsEmpty) != m.Invert
		case len(values) == 0 && !m.MissingAsEmpty:
			ok = false
		default:
			ok = ok && (strings.Join(values, ",") == m.Value) != m.Invert
		}
	}
	return ok
}

func one[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func letters(r *rand.Rand, from string, longest int) string {
	var b strings.Builder
	for range r.IntN(longest + 1) {
		b.WriteByte(from[r.IntN(len(from))])
	}
	return b.String()
}

func randomConfig(r *rand.Rand) spec[int] {
	c := spec[int]{IgnorePort: r.IntN(2) == 0}
	used := map[string]bool{}
	next := 1
	for range 1 + r.IntN(4) {
		v := VirtualHost[int]{Name: fmt.Sprint(len(c.Hosts))}
		for range 1 + r.IntN(3) {
			d := one(r, "*", letters(r, "abAB.:", 4), "*"+letters(r, "abB.", 3), letters(r, "abA.:", 3)+"*")
			if d != "" && !used[strings.ToLower(d)] {
				used[strings.ToLower(d)] = true
				v.Domains = append(v.Domains, d)
			}
		}
		for range r.IntN(80) {
			rt := Route[int]{Action: next}
			next++
			rt.Path = PathMatch{Kind: one(r, PathPrefix, PathExact, PathSeparatedPrefix), Value: "/" + letters(r, "abA/", 3), IgnoreCase: r.IntN(4) == 0}
			if r.IntN(8) == 0 {
				rt.Path = PathMatch{Kind: PathRegex, Value: one(r, "/a*", "/(a|ab)", ".*b", "/[ab]+/?")}
			}
			for range r.IntN(5) - 2 {
				rt.Headers = append(rt.Headers, HeaderMatch{
					Name: one(r, "x", "Y"), Kind: HeaderKind(r.IntN(2)), Value: one(r, "", "1", "1,2"),
					Invert: r.IntN(3) == 0, MissingAsEmpty: r.IntN(3) == 0,
				})
			}
			if r.IntN(5) == 0 {
				q := QueryMatch{Name: one(r, "q", "qq"), Kind: HeaderKind(r.IntN(2)), Value: one(r, "", "1")}
				q.Absent = q.Kind == HeaderPresent && r.IntN(2) == 0
				rt.Query = append(rt.Query, q)
			}
			if r.IntN(8) == 0 {
				rt.Fraction.Numerator, rt.Fraction.Denominator = uint32(r.IntN(4)), 3
			}
			v.Routes = append(v.Routes, rt)
		}
		c.Hosts = append(c.Hosts, v)
	}
	return c
}

func checkAgainstSlow(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	c := randomConfig(r)
	tab, err := c.table()
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for range 30 {
		h := request(letters(r, "abAB.:]", 5) + " /" + letters(r, "abA/?#", 4) + one(r, "", "?q=1", "?qq&q", "&q=1&q=2", "?q=&&q=1"))
		draw := r.Uint64()
		for range r.IntN(4) {
			h.Fields = append(h.Fields, codec.Field{Name: []byte(one(r, "x", "X", "y")), Value: []byte(one(r, "", "1", "2"))})
		}
		action, out := tab.Match(h, draw)
		if wantAction, want := slow(c, h, draw); action != wantAction || out != want {
			t.Fatalf("seed %d: %q %q %v: action %d outcome %d, plain search says %d, %d",
				seed, h.Authority, h.Target, h.Fields, action, out, wantAction, want)
		}
	}
}

func TestTableAnswersAsAPlainSearch(t *testing.T) {
	for seed := range uint64(500) {
		checkAgainstSlow(t, seed)
	}
}

func FuzzTableAnswersAsAPlainSearch(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(checkAgainstSlow)
}
