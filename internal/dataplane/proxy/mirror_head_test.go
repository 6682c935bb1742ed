// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// pairOf sends one request to a route with one mirror and returns the heads of both, line by line.
func (r *rig) pairOf(t *testing.T, a *proxy.Action, send string) (primary, copied string) {
	t.Helper()
	o, b := recording(t, empty200), recording(t, empty200)
	r.cluster("a", o.addr)
	r.cluster("b", b.addr)
	r.serve(a)
	cl := r.raw()
	defer cl.Close()
	cl.send(send)
	if head, _ := cl.answer(); status(head) != "200" {
		t.Fatalf("%q", head)
	}
	return o.next(t), b.next(t)
}

// value is a field's, "-" if it is not there.
func value(head, name string) string {
	for _, l := range strings.Split(head, "\r\n")[1:] {
		if n, v, ok := strings.Cut(l, ":"); ok && strings.EqualFold(n, name) {
			return strings.TrimSpace(v)
		}
	}
	return "-"
}

// Everything that changes a head at once: the field that names the cluster is gone by then, a copy is a first attempt
// whatever production needed, begins with the body after 100, and has the trailers.
func TestCopyOfARetriedUploadWithTrailersAndOperationsEverywhere(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*mirror.Policy)
		host   string
	}{
		"suffix":  {func(*mirror.Policy) {}, "[2001:db8::1]-shadow:8080"},
		"literal": {func(p *mirror.Policy) { p.Host = "lit.example" }, "lit.example"},
		"kept":    {func(p *mirror.Policy) { p.KeepHost = true }, "[2001:db8::1]:8080"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, mirror.Limits{})
			const end = "0\r\nX-Tr: 1\r\n\r\n"
			got := map[bool]chan string{false: make(chan string, 1), true: make(chan string, 1)} // by whether it is a copy
			serve := func(w *wire, _ int) {
				head := w.head()
				if has(head, "expect: 100-continue") {
					w.send("HTTP/1.1 100 Continue\r\n\r\n")
				}
				got[has(head, "x-umbra-mirror-hops: 1")] <- head + w.until(end)
				w.send(empty200)
				w.end()
			}
			cfg := unlimited
			cfg.Name = "a"
			for i, addr := range []string{nobody(t), scripted(t, serve)} { // the first is always asked first
				cfg.Static = append(cfg.Static, upstream.Endpoint{
					Addr: netip.MustParseAddrPort(addr), Priority: uint32(i),
				})
			}
			r.clusters.Set(cfg)
			r.cluster("b", scripted(t, serve))
			p := r.policy("b", 100)
			p.Headers = filter.NewMutations(mutations(t, "set x-route: copy of %REQ(x-route)%", "remove x-client",
				"add x-attempt: %REQ(x-envoy-attempt-count)%"))
			c.change(&p)
			a := r.to("a", p)
			a.Clusters, a.ClusterHeader = nil, "x-cluster"
			a.Named = func(name []byte) *upstream.Slot { return r.clusters.Slot(string(name)) }
			a.Request = filter.NewHeaderOps(mutations(t, "set x-route: %REQ(x-client)%", "remove x-cluster"))
			a.Retry.PriorityEvery = 1
			r.serve(a)
			cl := r.raw()
			cl.send("POST /x HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\nX-Cluster: a\r\nX-Client: me\r\n" +
				"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
			if head := cl.head(); status(head) != "100" {
				t.Fatalf("%q", head)
			}
			cl.send("3\r\nabc\r\n" + end)
			if head, _ := cl.answer(); status(head) != "200" {
				t.Fatalf("%q", head)
			}
			primary, copied := within(t, got[false]), within(t, got[true])
			for _, line := range []string{
				"Host: [2001:db8::1]:8080", "x-route: me", "X-Client: me", "x-envoy-attempt-count: 2", "Expect: 100-continue",
			} {
				if !has(primary, line) {
					t.Errorf("production has no %s:\n%s", line, primary)
				}
			}
			for _, line := range []string{
				"Host: " + c.host, "x-route: copy of me", "x-envoy-attempt-count: 1", "x-attempt: 1",
			} {
				if !has(copied, line) {
					t.Errorf("the copy has no %s:\n%s", line, copied)
				}
			}
			body := "\r\n\r\n3\r\nabc\r\n" + end
			if value(copied, "x-client") != "-" || value(copied, "expect") != "-" || value(copied, "x-cluster") != "-" ||
				!strings.HasSuffix(primary, body) || !strings.HasSuffix(copied, body) {
				t.Errorf("%s\n%s", primary, copied)
			}
			r.copiesEnded("b")
			r.settledAfter(cl)
		})
	}
}

// Field by field, what a copy has in common with production's request and what not.
func TestCopyFieldByField(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	a := r.to("a", r.policy("b", 100))
	a.Timeout = 7 * time.Second
	a.Retry.PerTryTimeout = 2 * time.Second
	a.Rewrite = &filter.Rewrite{HasPrefix: true, Prefix: "/new", MatchLen: len("/old"), Host: "inner.example:8080"}
	a.Request = filter.NewHeaderOps(mutations(t, "add x-route: 1", "remove x-client-only"))
	primary, copied := r.pairOf(t, a, request("POST", "/old/x?q", "", "Content-Length: 0", "Cookie: a=b", "Authorization: Basic x",
		"X-Custom: v", "X-Client-Only: 1", "X-Forwarded-For: 198.51.100.7", "Connection: keep-alive, x-hop", "X-Hop: 1",
		"Keep-Alive: timeout=5", "TE: trailers", "Proxy-Connection: x", "traceparent: 00-"+strings.Repeat("a", 32)+"-"+
			strings.Repeat("b", 16)+"-01", "x-b3-traceid: c", "x-envoy-peer-metadata: m", "x-envoy-internal: false"))
	if line, _, _ := strings.Cut(copied, "\r\n"); line != "POST /new/x?q HTTP/1.1" {
		t.Errorf("line %q", line)
	}
	for _, c := range []struct{ field, primary, copied string }{
		{"host", "inner.example:8080", "inner.example-shadow:8080"},
		{"x-envoy-internal", "-", "true"},
		{"x-forwarded-for", "198.51.100.7,192.0.2.1", "198.51.100.7,192.0.2.1,192.0.2.1"},
		{"x-envoy-expected-rq-timeout-ms", "2000", "7000"},
		{"x-envoy-attempt-count", "1", "1"},
		{"x-umbra-mirror-hops", "-", "1"},
		{"x-hop", "-", "-"},
		{"keep-alive", "-", "-"},
		{"proxy-connection", "-", "-"},
		{"x-client-only", "-", "-"},
	} {
		if p, k := value(primary, c.field), value(copied, c.field); p != c.primary || k != c.copied {
			t.Errorf("%s: primary %s, copy %s; want %s and %s", c.field, p, k, c.primary, c.copied)
		}
	}
	for _, same := range []string{"x-request-id", "x-forwarded-proto", "x-envoy-external-address", "x-envoy-original-path",
		"x-envoy-original-host", "cookie", "authorization", "x-custom", "x-route", "content-length", "te", "traceparent", "x-b3-traceid",
		"x-envoy-peer-metadata"} {
		if p, k := value(primary, same), value(copied, same); p != k || p == "-" {
			t.Errorf("%s: primary %s, copy %s", same, p, k)
		}
	}
	if len(fields(copied)) != len(fields(primary))+2 {
		t.Errorf("primary:\n%s\ncopy:\n%s", primary, copied)
	}
}

func TestCopyOfAPolicyThatChangesIt(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	p := r.policy("b", 100)
	p.Headers = filter.NewMutations(mutations(t, "remove authorization", "set x-a: copy", "add x-of: %REQ(X-A)% %REQ(:PATH)%"))
	p.Host = "copies.example"
	primary, copied := r.pairOf(t, r.to("a", p), get("/p", "Authorization: Basic x", "X-A: 1"))
	want := strings.Split("Host: copies.example|X-A: copy|x-forwarded-proto: http|x-envoy-external-address: 127.0.0.1|x-request-id: *|"+
		"x-envoy-attempt-count: 1|x-of: copy /p|x-envoy-internal: true|x-forwarded-for: 192.0.2.1,192.0.2.1|x-umbra-mirror-hops: 1", "|")
	if d := cmp.Diff(want, fields(copied)); d != "" {
		t.Errorf("copy: %s", d)
	}
	if !has(primary, "Authorization: Basic x") || !has(primary, "X-A: 1") || strings.Contains(primary, "x-of") ||
		!has(primary, "Host: shop.example") {
		t.Errorf("production's request changed:\n%s", primary)
	}
}

func TestAttemptCountOfACopyThatBeginsWithARetry(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	p, b := recording(t, empty200), recording(t, empty200)
	r.cluster("a", nobody(t), p.addr)
	r.cluster("b", b.addr)
	a := r.to("a", r.policy("b", 100))
	a.Retry.Max, a.Retry.HostAttempts = 5, 100
	r.serve(a)
	for retried := false; !retried; {
		if code, _ := r.get2("/"); code != "200" {
			t.Fatal(code)
		}
		retried = !has(p.next(t), "x-envoy-attempt-count: 1")
		if head := b.next(t); !has(head, "x-envoy-attempt-count: 1") {
			t.Fatalf("copy:\n%s", head)
		}
	}
}

func TestMirrorOfTheClusterWinsOverTheRoutes(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	own, routes := recording(t, empty200), recording(t, empty200)
	cfg := unlimited
	cfg.Name = "a"
	r.cluster("a", recording(t, empty200).addr)
	r.cluster("own", own.addr)
	r.cluster("routes", routes.addr)
	cfg.Static = r.clusters.Slot("a").Cluster().Config().Static
	a := r.to("a", r.policy("routes", 100))
	r.serve(a)
	r.get2("/")
	routes.next(t)
	cfg.Mirrors = []mirror.Policy{r.policy("own", 100)}
	r.clusters.Set(cfg)
	r.get2("/")
	own.next(t)
	r.serve(r.to("a")) // a route without any
	r.get2("/")
	own.next(t)
	if n := r.copiesEnded("routes"); n.Eligible != 1 {
		t.Errorf("the route's mirror: %+v", n)
	}
}

func TestClusterOfTheCopyByAField(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	b := recording(t, empty200)
	r.cluster("a", recording(t, empty200).addr)
	r.cluster("b", b.addr)
	p := mirror.Policy{
		ClusterHeader: "x-mirror", Stats: r.mirrors.Stats("test", ""), Numerator: 100, Denominator: 100,
		Named: func(name []byte) *mirror.Target {
			if string(name) == "b" {
				return r.mirrors.Target(r.clusters.Slot("b"))
			}
			return nil
		},
	}
	a := r.to("a", p)
	a.Request = filter.NewHeaderOps(mutations(t, "add x-mirror: b"))
	r.serve(a)
	r.get2("/") // what the route writes counts
	b.next(t)
	a = r.to("a", p)
	r.serve(a)
	for _, f := range []string{"X-Mirror: b", "X-Mirror:", "X-Other: b", "X-Mirror: unknown"} {
		r.get2("/", f)
	}
	b.next(t)
	n := r.copiesEnded("")
	if n.Eligible != 5 || n.Skipped != 2 || n.Selected != 3 || n.Delivered != 2 || n.Dropped["config"] != 1 {
		t.Errorf("%+v", n)
	}
	r.counted(2, "umbra_mirror_skipped_total", "reason=cluster_header")
}

func TestSmallMirrorsRequestsAreAmongTheLargeOnesByRequestID(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	ids := map[string]*ids{"b10": {}, "b50": {}}
	r.cluster("a", answering(t, empty200))
	for name, s := range ids {
		r.cluster(name, origin(t, s.byRequestID))
	}
	r.serve(r.to("a", r.policy("b10", 10), r.policy("b50", 50)))
	const n = 2000
	cl := r.raw()
	for range n {
		cl.send(get("/"))
		cl.answer()
	}
	r.copiesEnded("b10")
	r.copiesEnded("b50")
	small, large := ids["b10"].all(), ids["b50"].all()
	near(t, "10 %", len(small), n, 0.1)
	near(t, "50 %", len(large), n, 0.5)
	for id := range small {
		if large[id] != 1 {
			t.Fatalf("request %s went to the 10 %% mirror and not to the 50 %% one", id)
		}
	}
}

func TestHostWithoutAnEndpointNameKeepsTheClientsHost(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	a := r.to("a", r.policy("b", 100))
	a.AutoHost = true
	primary, _ := r.pairOf(t, a, get("/"))
	if !has(primary, "Host: shop.example") {
		t.Errorf("%s", primary)
	}
}
