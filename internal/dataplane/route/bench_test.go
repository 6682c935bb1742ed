// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
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
	return table(t, Config[string]{IgnorePort: true, Hosts: []VirtualHost[string]{
		v, {Name: "wild", Domains: []string{"*.example.com"}, Routes: []Route[string]{prefix("/", "wild")}},
	}})
}

func ordinaryRequest(host, target string) *codec.Head {
	return request(host+" "+target, "User-Agent: curl/8", "Accept: */*", "X-Request-Id: 1", "Cookie: a=b", "X-Env: prod")
}

func TestMatchAllocatesNothing(t *testing.T) {
	tab := gatewayTable(t, indexFrom)
	multi := oneHost(t, prefix("/", "hit", HeaderMatch{Name: "x", Kind: HeaderExact, Value: "1,2"}))
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
	} {
		if n := testing.AllocsPerRun(200, func() { c.tab.Match(c.h) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
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
				tab.Match(h)
			}
		})
	}
	b.Run("mission", func(b *testing.B) {
		tab := oneHost(b, prefix("/headers", "hit"))
		h := ordinaryRequest("47.0.0.1:80", "/headers")
		b.ReportAllocs()
		for b.Loop() {
			tab.Match(h)
		}
	})
}
