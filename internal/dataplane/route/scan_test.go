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
func slow(c Config[int], h *codec.Head) (action int, out Outcome) {
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
		if slowRoute(r, h) {
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

func slowRoute(r Route[int], h *codec.Head) bool {
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
	case PathRegex:
		re := regexp.MustCompile(value)
		re.Longest()
		at := re.FindStringIndex(path)
		ok = at != nil && at[0] == 0 && at[1] == len(path)
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

func text(r *rand.Rand, letters string, longest int) string {
	var b strings.Builder
	for range r.IntN(longest + 1) {
		b.WriteByte(letters[r.IntN(len(letters))])
	}
	return b.String()
}

func randomConfig(r *rand.Rand) Config[int] {
	c := Config[int]{IgnorePort: r.IntN(2) == 0}
	used := map[string]bool{}
	next := 1
	for range 1 + r.IntN(4) {
		v := VirtualHost[int]{Name: fmt.Sprint(len(c.Hosts))}
		for range 1 + r.IntN(3) {
			d := one(r, "*", text(r, "abAB.:", 4), "*"+text(r, "abB.", 3), text(r, "abA.:", 3)+"*")
			if d != "" && !used[strings.ToLower(d)] {
				used[strings.ToLower(d)] = true
				v.Domains = append(v.Domains, d)
			}
		}
		for range r.IntN(80) {
			rt := Route[int]{Action: next}
			next++
			rt.Path = PathMatch{Kind: PathKind(r.IntN(2)), Value: "/" + text(r, "abA/", 3), IgnoreCase: r.IntN(4) == 0}
			if r.IntN(8) == 0 {
				rt.Path = PathMatch{Kind: PathRegex, Value: one(r, "/a*", "/(a|ab)", ".*b", "/[ab]+/?")}
			}
			for range r.IntN(5) - 2 {
				rt.Headers = append(rt.Headers, HeaderMatch{
					Name: one(r, "x", "Y"), Kind: HeaderKind(r.IntN(2)), Value: one(r, "", "1", "1,2"),
					Invert: r.IntN(3) == 0, MissingAsEmpty: r.IntN(3) == 0,
				})
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
	tab, err := New(c)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for range 30 {
		h := request(text(r, "abAB.:]", 5) + " /" + text(r, "abA/?#", 4))
		for range r.IntN(4) {
			h.Fields = append(h.Fields, codec.Field{Name: []byte(one(r, "x", "X", "y")), Value: []byte(one(r, "", "1", "2"))})
		}
		action, out := tab.Match(h)
		if wantAction, want := slow(c, h); action != wantAction || out != want {
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
