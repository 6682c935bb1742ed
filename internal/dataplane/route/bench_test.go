// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"math"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// gatewayTable is a table as a gateway has it: n exact paths, then a prefix, and wildcard hosts beside it.
func gatewayTable(t testing.TB, n int) *Table[string] {
	v := VirtualHost[string]{Name: "shop", Domains: []string{"shop.example.com"}}
	for i := range n {
		v.Routes = append(v.Routes, Route[string]{
			Path: PathMatch{Kind: PathExact, Value: fmt.Sprintf("/api/v1/item%d", i)}, Action: "exact",
		})
	}
	v.Routes = append(v.Routes,
		prefix("/api", "canary", HeaderMatch{Name: "x-env", Kind: HeaderExact, Value: "canary"}), prefix("/", "rest"))
	return table(t, spec[string]{IgnorePort: true, Hosts: []VirtualHost[string]{
		v, {Name: "wild", Domains: []string{"*.example.com"}, Routes: []Route[string]{prefix("/", "wild")}},
	}})
}

func ordinaryRequest(host, target string) *codec.Head {
	return request(host+" "+target, "User-Agent: curl/8", "Accept: */*", "X-Request-Id: 1", "Cookie: a=b", "X-Env: prod")
}

func TestMatchAllocatesNothing(t *testing.T) {
	tab := gatewayTable(t, indexFrom)
	multi := oneHost(t, prefix("/", "hit", HeaderMatch{Name: "x", Kind: HeaderExact, Value: "1,2"}))
	query := oneHost(t, Route[string]{
		Query:   []QueryMatch{{Name: "b", Kind: HeaderExact, Value: "2"}},
		Headers: []HeaderMatch{{Name: ":scheme", Kind: HeaderExact, Value: "http"}},
	})
	regex := oneHost(t, Route[string]{
		Path: PathMatch{Kind: PathRegex, Value: "/a.*c"}, Headers: []HeaderMatch{{Name: "x-env", Kind: HeaderRegex, Value: "p.*"}},
	})
	repeated := request("Any /", "x: 1", "x: 2")
	repeated.Buf = make([]byte, 0, 64)
	plain, upper := ordinaryRequest("shop.example.com:80", "/api/x?y"), ordinaryRequest("SHOP.example.com", "/api")
	upper.Buf = make([]byte, 0, 64)
	for name, c := range map[string]struct {
		tab *Table[string]
		h   *codec.Head
	}{
		"plain":                 {tab, plain},
		"upper case host":       {tab, upper},
		"wildcard host":         {tab, ordinaryRequest("x.example.com", "/")},
		"no host":               {tab, ordinaryRequest("example.org", "/")},
		"repeated field":        {multi, repeated},
		"hit in the path index": {tab, ordinaryRequest("shop.example.com", "/api/v1/item7")},
		"query and scheme":      {query, ordinaryRequest("shop.example.com", "/?a=1&b=2")},
		"regular expressions":   {regex, ordinaryRequest("shop.example.com", "/abc?a=1&b=2")},
	} {
		// The whole process is counted, and the collector empties the pool that package regexp keeps: the best of some runs.
		best := math.Inf(1)
		for range 5 {
			best = min(best, testing.AllocsPerRun(200, func() { c.tab.Match(c.h, 0) }))
		}
		if best != 0 {
			t.Errorf("%s: %v allocations", name, best)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{0, 4, 16, 64, 1000} {
		tab := gatewayTable(b, n)
		b.Run(fmt.Sprintf("exact=%d", n), func(b *testing.B) {
			h := ordinaryRequest("shop.example.com:80", "/api/v2/none?x=1")
			b.ReportAllocs()
			for b.Loop() {
				tab.Match(h, 0)
			}
		})
	}
	b.Run("mission", func(b *testing.B) {
		tab := oneHost(b, prefix("/headers", "hit"))
		h := ordinaryRequest("47.0.0.1:80", "/headers")
		b.ReportAllocs()
		for b.Loop() {
			tab.Match(h, 0)
		}
	})
}

// BenchmarkPrefixes matches the last of n prefixes; the target is 3 us more than one takes, a third of a request.
func BenchmarkPrefixes(b *testing.B) {
	for _, n := range []int{1, 8, 16, 100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var routes []Route[string]
			for i := range n {
				routes = append(routes, prefix(fmt.Sprintf("/api/v1/service-%d/", i), "hit"))
			}
			tab := oneHost(b, routes...)
			h := ordinaryRequest("shop.example.com:80", fmt.Sprintf("/api/v1/service-%d/orders?x=1", n-1))
			if got, _ := tab.Match(h, 0); got != "hit" {
				b.Fatal("no match")
			}
			b.ReportAllocs()
			for b.Loop() {
				tab.Match(h, 0)
			}
		})
	}
}

func manyHosts(b testing.TB, n int) []VirtualHost[string] {
	hosts := make([]VirtualHost[string], n)
	for i := range hosts {
		name := fmt.Sprintf("svc-%d.ns.svc.cluster.local", i)
		hosts[i] = VirtualHost[string]{Name: name, Domains: []string{name, fmt.Sprintf("svc-%d.ns", i)}}
		for k := range 10 {
			hosts[i].Routes = append(hosts[i].Routes, prefix(fmt.Sprintf("/r%d", k), "hit",
				HeaderMatch{Name: ":method", Kind: HeaderExact, Value: "GET"}))
		}
	}
	return hosts
}

// BenchmarkNew makes a table of 10,000 hosts with 10 routes each, and again with one host changed.
func BenchmarkNew(b *testing.B) {
	hosts := manyHosts(b, 10_000)
	c := Config[string]{Hosts: make([]*Host[string], len(hosts))}
	all := func() {
		for i := range hosts {
			v, err := NewHost(&hosts[i])
			if err != nil {
				b.Fatal(err)
			}
			c.Hosts[i] = v
		}
	}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			all()
			mustNew(b, c)
		}
	})
	all()
	b.Run("one changed", func(b *testing.B) {
		for b.Loop() {
			v, err := NewHost(&hosts[7])
			if err != nil {
				b.Fatal(err)
			}
			c.Hosts[7] = v
			mustNew(b, c)
		}
	})
	tab := mustNew(b, c)
	b.Run("match", func(b *testing.B) {
		h := ordinaryRequest("svc-9999.ns.svc.cluster.local:80", "/r9")
		if got, _ := tab.Match(h, 0); got != "" {
			b.Fatal("minds the port")
		}
		h.Authority = []byte("svc-9999.ns.svc.cluster.local")
		for b.Loop() {
			tab.Match(h, 0)
		}
	})
}

func mustNew(b testing.TB, c Config[string]) *Table[string] {
	t, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	return t
}
