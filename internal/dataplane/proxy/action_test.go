// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// mutations makes header operations of lines: "set name: value", "add name: value", "remove name".
func mutations(t testing.TB, lines ...string) []filter.Mutation {
	t.Helper()
	var list []filter.Mutation
	for _, l := range lines {
		verb, rest, _ := strings.Cut(l, " ")
		name, value, _ := strings.Cut(rest, ": ")
		text, err := format.ParseTemplate(value)
		if err != nil {
			t.Fatal(err)
		}
		m := filter.Mutation{Name: name, Value: text, Remove: verb == "remove"}
		if verb == "set" {
			m.Action = filter.OverwriteIfExistsOrAdd
		}
		list = append(list, m)
	}
	return list
}

// recorded is an origin that answers every request with the same bytes. The heads of the first hundred that nobody has
// taken can be.
type recorded struct {
	addr string
	got  chan string
}

func recording(t testing.TB, answer string) *recorded {
	o := &recorded{got: make(chan string, 100)}
	o.addr = scripted(t, func(w *wire, _ int) {
		for {
			head := w.head()
			select {
			case o.got <- head:
			default:
			}
			w.send(answer)
		}
	})
	return o
}

// next is the head of the next request.
func (o *recorded) next(t testing.TB) string {
	t.Helper()
	return within(t, o.got)
}

func within[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("nothing came within %v", patience)
	}
	return v
}

// varies are the fields whose values differ from run to run.
var varies = regexp.MustCompile(`^(x-request-id|x-envoy-upstream-service-time|date): .*`)

// fields are the lines of a head below the first.
func fields(head string) []string {
	lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")[1:]
	for i, l := range lines {
		lines[i] = varies.ReplaceAllString(l, "$1: *")
	}
	return lines
}

func TestFieldsAndTheirOrder(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	o := recording(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Up: 1\r\nX-Gone: 1\r\nServer: nginx\r\n\r\n")
	r.cluster("a", o.addr)
	a := r.to("a")
	a.Clusters[0].Request = filter.NewHeaderOps(mutations(t, "add x-order: cluster", "remove x-client"))
	a.Clusters[0].Response = filter.NewHeaderOps(mutations(t, "set x-up: 2", "add x-order: cluster"))
	a.Request = filter.NewHeaderOps(
		mutations(t, "add x-order: route", "set x-set: new", "remove x-envoy-attempt-count"),
		mutations(t, "add x-order: host"), mutations(t, "add x-order: table"))
	a.Response = filter.NewHeaderOps(mutations(t, "add x-order: route", "remove x-gone", "set server: mine", "remove date"))
	r.serve(a)
	cl := r.raw()
	cl.send(get("/p", "X-Client: 1", "X-Set: old", "X-Order: client", "X-Set: older"))
	down, _ := cl.answer()
	want := []string{
		"Host: shop.example", "X-Set: new", "X-Order: client", "x-forwarded-for: 192.0.2.1", "x-forwarded-proto: http",
		"x-envoy-external-address: 127.0.0.1", "x-request-id: *", "x-order: cluster", "x-order: route", "x-order: host",
		"x-order: table",
	}
	if d := cmp.Diff(want, fields(o.next(t))); d != "" {
		t.Errorf("to the upstream: %s", d)
	}
	for _, line := range []string{"X-Up: 2", "x-order: cluster\r\nx-order: route", "server: istio-envoy"} {
		if !has(down, line) {
			t.Errorf("%q is missing:\n%s", line, down)
		}
	}
	if strings.Contains(down, "X-Gone") || strings.Contains(down, "mine") || strings.Count(down, "date: ") != 1 {
		t.Errorf("to the client:\n%s", down)
	}
}

func TestTemplatesKnowTheRequest(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	o := recording(t, empty200)
	r.cluster("a", o.addr)
	a := r.to("a")
	a.Name = "shop"
	a.Request = filter.NewHeaderOps(mutations(t, "add x-v: %REQ(X-Client)% %REQ(:PATH)% %PROTOCOL% %ROUTE_NAME% 100%%",
		"add x-peer: %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "add x-none: %REQ(X-None)%"))
	a.Response = filter.NewHeaderOps(mutations(t, "add x-host: %UPSTREAM_HOST%", "add x-cluster: %UPSTREAM_CLUSTER%",
		"add x-code: %RESPONSE_CODE%"))
	r.serve(a)
	cl := r.raw()
	cl.send(get("/p?q", "X-Client: me"))
	down, _ := cl.answer()
	up := o.next(t)
	if !has(up, "x-v: me /p?q HTTP/1.1 shop 100%") || !has(up, "x-peer: 127.0.0.1") || strings.Contains(up, "x-none") {
		t.Errorf("to the upstream:\n%s", up)
	}
	if !has(down, "x-host: "+o.addr) || !has(down, "x-cluster: a") || !has(down, "x-code: 200") {
		t.Errorf("to the client:\n%s", down)
	}
}

func TestRewritesChangeWhatTheUpstreamGetsAndTheCopyToo(t *testing.T) {
	for name, c := range map[string]struct {
		rewrite      filter.Rewrite
		line         string
		added, hosts []string
	}{
		"prefix": {
			filter.Rewrite{HasPrefix: true, Prefix: "/new", Match: filter.MatchPrefix, MatchLen: len("/old")},
			"GET /new/x?q=1 HTTP/1.1", []string{"x-envoy-original-path: /old/x?q=1"}, []string{"shop.example", "shop.example-shadow"},
		},
		"regular expression": {
			filter.Rewrite{Regex: regexp.MustCompile(`^/old/(.*)$`), Sub: `/\1/new`},
			"GET /x/new?q=1 HTTP/1.1", []string{"x-envoy-original-path: /old/x?q=1"}, []string{"shop.example", "shop.example-shadow"},
		},
		"host": {
			filter.Rewrite{Host: "other.example"},
			"GET /old/x?q=1 HTTP/1.1", []string{"x-envoy-original-host: shop.example"},
			[]string{"other.example", "other.example-shadow"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := setup{log: true}.rig(t)
			o, b := recording(t, empty200), recording(t, empty200)
			r.cluster("a", o.addr)
			r.cluster("b", b.addr)
			a := r.to("a", r.policy("b", 100))
			a.Rewrite = &c.rewrite
			r.serve(a)
			if code, _ := r.get2("/old/x?q=1"); code != "200" {
				t.Fatal(code)
			}
			if e := r.logged(1)[0]; e.request != "GET /old/x?q=1 HTTP/1.1" {
				t.Errorf("logged %s", e.request)
			}
			for i, head := range []string{o.next(t), b.next(t)} {
				if !strings.HasPrefix(head, c.line+"\r\nHost: "+c.hosts[i]+"\r\n") {
					t.Errorf("%d:\n%s", i, head)
				}
				for _, f := range c.added {
					if !has(head, f) {
						t.Errorf("%d: no %s:\n%s", i, f, head)
					}
				}
			}
		})
	}
}

// get2 is a request for shop.example over a connection of its own.
func (r *rig) get2(path string, fields ...string) (code, head string) {
	r.t.Helper()
	cl := r.raw()
	defer cl.Close()
	cl.send(get(path, fields...))
	head, _ = cl.answer()
	return status(head), head
}

func TestHostsNameIsForTheAttemptAloneAndNotForTheCopy(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	o, b := recording(t, empty200), recording(t, empty200)
	cfg := unlimited
	cfg.Name = "a"
	cfg.Static = []upstream.Endpoint{{Addr: netip.MustParseAddrPort(o.addr), Hostname: "pod-1.example"}}
	r.clusters.Set(cfg)
	r.cluster("b", b.addr)
	a := r.to("a", r.policy("b", 100))
	a.AutoHost = true
	r.serve(a)
	if code, _ := r.get2("/"); code != "200" {
		t.Fatal(code)
	}
	if up := o.next(t); !has(up, "Host: pod-1.example") {
		t.Errorf("upstream:\n%s", up)
	}
	if up := b.next(t); !has(up, "Host: shop.example-shadow") || strings.Contains(up, "pod-1") {
		t.Errorf("copy:\n%s", up)
	}
}

func TestClusterOfEachWeightHasItsOwnOperationsAndHost(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var a *proxy.Action
	heads := map[string]chan string{}
	for i, name := range []string{"c1", "c2"} {
		o := recording(t, empty200)
		heads[name] = o.got
		r.cluster(name, o.addr)
		if a == nil {
			a = r.to(name)
			a.Clusters, a.TotalWeight = nil, 2
		}
		a.Clusters = append(a.Clusters, proxy.Weighted{
			Slot: r.clusters.Slot(name), Weight: 1,
			Request:  filter.NewHeaderOps(mutations(t, "set x-to: "+name)),
			Response: filter.NewHeaderOps(mutations(t, "set x-from: "+name)),
			Host:     []string{"", "canary.example"}[i],
		})
	}
	r.serve(a)
	cl := r.raw()
	seen := map[string]int{}
	for range 50 {
		cl.send(get("/"))
		down, _ := cl.answer()
		name := "c1"
		if has(down, "x-from: c2") {
			name = "c2"
		}
		up := within(t, heads[name])
		host := map[string]string{"c1": "shop.example", "c2": "canary.example"}[name]
		if !has(up, "x-to: "+name) || !has(up, "Host: "+host) || !has(down, "x-from: "+name) ||
			strings.Contains(up, "x-envoy-original-host") {
			t.Fatalf("%s\n%s", up, down)
		}
		seen[name]++
	}
	if len(seen) != 2 {
		t.Errorf("%v", seen)
	}
}

func TestClusterByAFieldOfTheRequest(t *testing.T) {
	r := setup{log: true}.rig(t)
	o := recording(t, empty200)
	r.cluster("a", o.addr)
	a := r.to("a")
	a.Clusters, a.ClusterHeader, a.NotFound = nil, "x-cluster", 404
	a.Named = func(name []byte) *upstream.Slot { return r.clusters.Slot(string(name)) }
	r.serve(a)
	for _, c := range []struct{ field, want string }{
		{"X-Cluster: a", "200"}, {"X-Cluster: b", "404"}, {"X-Cluster:", "404"}, {"X-Other: a", "404"},
	} {
		if code, _ := r.get2("/", c.field); code != c.want {
			t.Errorf("%s: %s, want %s", c.field, code, c.want)
		}
	}
	if lines := r.logged(4); lines[1].flags != "NC" || lines[1].details != "cluster_not_found" || lines[1].code != 404 {
		t.Errorf("%+v", lines[1])
	}
	r.counted(3, "envoy_http_no_cluster")
}

func TestRedirectsAndDirectAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*proxy.Action)
		code   string
		line   string
		body   string
	}{
		"redirect": {
			func(a *proxy.Action) { a.Redirect = &filter.Redirect{Code: 302, Host: "other.example", Path: "/there"} },
			"302", "location: http://other.example/there?q=1", "",
		},
		"redirect to https": {
			func(a *proxy.Action) { a.Redirect = &filter.Redirect{Code: 308, Scheme: "https"} },
			"308", "location: https://shop.example/p?q=1", "",
		},
		"direct answer with a status of redirects": {
			func(a *proxy.Action) { a.Direct = &proxy.Direct{Status: 307, Body: "x", Details: "direct_response"} },
			"307", "location: http://shop.example/p?q=1", "x",
		},
		"direct answer": {
			func(a *proxy.Action) {
				a.Direct = &proxy.Direct{Status: 418, Body: "short and stout", Details: "direct_response"}
			}, "418", "content-type: text/plain", "short and stout",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := setup{log: true}.rig(t)
			r.cluster("a", nobody(t))
			r.cluster("b", nobody(t))
			a := r.to("a", r.policy("b", 100))
			a.Response = filter.NewHeaderOps(mutations(t, "add x-ours: 1"))
			c.change(a)
			r.serve(a)
			cl := r.raw()
			cl.send(get("/p?q=1"))
			head, body := cl.answer()
			if status(head) != c.code || !has(head, c.line) || body != c.body || !has(head, "x-ours: 1") {
				t.Errorf("%q %q", head, body)
			}
			if n := r.mirrors.Stats("test", "b").Counts(); n.Eligible != 0 {
				t.Errorf("copies of it: %+v", n)
			}
			if e := r.logged(1)[0]; e.flags != "-" || e.details != "direct_response" || e.host != "-" {
				t.Errorf("%+v", e)
			}
			r.counted(1, "envoy_http_rq_direct_response")
		})
	}
}

func TestHostForHTTPSAloneRedirectsBeforeAnythingElse(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	a := r.to("a")
	a.Fault = &filter.Fault{AbortStatus: 500, AbortGRPC: -1, AbortShare: filter.Share{Numerator: 1, Denominator: 1}}
	host, err := route.NewHost(&route.VirtualHost[*proxy.Action]{
		Name: "tls", Domains: []string{"*"}, RequireTLS: true,
		Routes: []route.Route[*proxy.Action]{{Path: route.PathMatch{Kind: route.PathPrefix, Value: "/known"}, Action: a}},
	})
	if err != nil {
		t.Fatal(err)
	}
	table, err := route.New(route.Config[*proxy.Action]{Hosts: []*route.Host[*proxy.Action]{host}})
	if err != nil {
		t.Fatal(err)
	}
	r.routes.Store(table)
	for _, path := range []string{"/known?x=1", "/unknown"} {
		if code, head := r.get2(path); code != "301" || !has(head, "location: https://shop.example"+path) {
			t.Errorf("%s: %q", path, head)
		}
	}
}

func TestFailuresHaveTheFieldsOfTheirRouteAndCluster(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("empty")
	r.cluster("gone", nobody(t))
	full := unlimited
	full.Name, full.MaxRequests = "full", 0
	full.Static = []upstream.Endpoint{{Addr: netip.MustParseAddrPort("127.0.0.1:1")}}
	r.clusters.Set(full)
	for name, c := range map[string]struct {
		change     func(*proxy.Action)
		code       string
		overloaded bool
	}{
		"empty":   {nil, "503", false},
		"gone":    {nil, "503", false},
		"full":    {nil, "503", true},
		"unknown": {nil, "503", false},
		"abort": {func(a *proxy.Action) {
			a.Fault = &filter.Fault{AbortStatus: 418, AbortGRPC: -1, AbortShare: filter.Share{Numerator: 1, Denominator: 1}}
		}, "418", false},
	} {
		a := r.to(name)
		a.Clusters[0].Response = filter.NewHeaderOps(mutations(t, "add x-order: cluster", "set x-code: %RESPONSE_CODE%"))
		a.Response = filter.NewHeaderOps(mutations(t, "add x-order: route"))
		if c.change != nil {
			c.change(a)
		}
		r.serve(a)
		code, head := r.get2("/")
		if code != c.code || !has(head, "x-order: cluster\r\nx-order: route") || !has(head, "x-code: "+c.code) ||
			has(head, "x-envoy-overloaded: true") != c.overloaded {
			t.Errorf("%s: %q", name, head)
		}
	}
	a := r.to("empty")
	a.Response = filter.NewHeaderOps(mutations(t, "add x-ours: 1"))
	a.CORS = &filter.CORS{Origins: []filter.StringMatch{{Kind: filter.PrefixMatch, Value: "https://"}}}
	r.serve(a)
	cl := r.raw()
	cl.send(request("OPTIONS", "/", "", "Origin: https://x", "Access-Control-Request-Method: POST"))
	if head, _ := cl.answer(); status(head) != "200" || has(head, "x-ours: 1") {
		t.Errorf("preflight: %q", head)
	}
}

func TestStatPrefixCounts(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var once sync.Once
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		for {
			w.head()
			answer := empty200
			once.Do(func() { answer = unavailable503 })
			w.send(answer)
		}
	}))
	a := r.to("a")
	a.Stats = r.server.NewRouteStats("shop:80", "checkout")
	r.serve(a)
	for range 3 {
		if code, _ := r.get2("/"); code != "200" {
			t.Fatal(code)
		}
	}
	labels := []string{"virtual_host=shop:80", "route=checkout"}
	for metric, want := range map[string]float64{"total": 4, "completed": 4, "retry": 1, "retry_success": 1, "timeout": 0} {
		r.counted(want, "envoy_vhost_route_upstream_rq_"+metric, labels...)
	}
	r.counted(3, "envoy_vhost_route_upstream_rq", append(labels, "response_code=200")...)
	a.Stats.Release()
	r.counted(0, "envoy_vhost_route_upstream_rq_total", labels...)
}

func TestGRPCClientsGetLocalAnswersAsTrailers(t *testing.T) {
	r := setup{log: true}.rig(t)
	r.cluster("empty")
	r.serve(r.to("empty"))
	cl := r.raw()
	cl.send(request("POST", "/pkg.Svc/Do", "x", "Content-Type: application/grpc+proto"))
	head, body := cl.answer()
	if status(head) != "200" || !has(head, "grpc-status: 14") || body != "" || !strings.Contains(head, "grpc-message: no healthy upstream") {
		t.Errorf("%q %q", head, body)
	}
	r.logs(200, "UH", "no_healthy_upstream")
}
