// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/admin"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// meshes are the two of the example, in this process.
type meshes struct {
	a, b                 proxy
	workloadA, workloadB *workload
}

// crossCluster runs the example with another share in mesh A.
func crossCluster(t *testing.T, share string) meshes {
	t.Helper()
	m := meshes{workloadA: newWorkload(t, "a-v1"), workloadB: newWorkload(t, "b")}
	m.b = serve(t, example(t, "cross-cluster/b.yaml", port(9002), port(m.workloadB.port)))
	m.a = serve(t, exampleA(t, m.workloadA.addr, m.b.Addr, share))
	return m
}

// exampleA is mesh A of the example, with a workload and mesh B elsewhere.
func exampleA(t *testing.T, workload, b, share string) string {
	t.Helper()
	at := func(addr string) string { return "http: " + addr[strings.LastIndexByte(addr, ':')+1:] }
	return example(t, "cross-cluster/a.yaml", port(9001), at(workload), port(8082), at(b), "value: 50", "value: "+share)
}

// send makes a request with a body and fields of all sorts.
func (m meshes) send(t *testing.T, host string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://"+m.a.Addr+"/headers?q=%22'<a>&r=1&r=2;x", strings.NewReader("user=Jos\u00e9&token=\x00\xff"))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for k, v := range clientFields {
		req.Header[k] = v
	}
	resp, body := do(t, &http.Transport{DisableKeepAlives: true, DisableCompression: true}, req)
	if err := by("a-v1")(resp); err != nil {
		t.Fatal(err)
	}
	return body
}

// clientFields are what a client sends; of those that only a proxy may set, none arrives as sent.
var clientFields = http.Header{
	"User-Agent":                     {"scenario"},
	"Cookie":                         {"session=1; theme=dark"},
	"Authorization":                  {"Bearer secret"},
	"X-Odd":                          {"caf\u00e9 \"quoted\" ;,=", "twice"},
	"Te":                             {"trailers"},
	"Keep-Alive":                     {"timeout=1"},
	"X-Forwarded-Proto":              {"gopher"},
	"X-Request-Id":                   {"from-the-client"},
	"X-Envoy-Internal":               {"true"},
	"X-Envoy-Max-Retries":            {"9"},
	"X-Envoy-Decorator-Operation":    {"x"},
	"X-Envoy-Upstream-Rq-Timeout-Ms": {"1"},
}

// passed are the fields that arrive as sent.
func passed() http.Header {
	h := http.Header{"Content-Length": {"19"}, "Connection": {"TE"}} // RFC 9110 §10.1.4: Te comes with it, hop by hop
	for _, name := range []string{"User-Agent", "Cookie", "Authorization", "X-Odd", "Te"} {
		h[name] = clientFields[name]
	}
	return h
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// take removes a field and returns its one value.
func take(t *testing.T, h http.Header, name string) string {
	t.Helper()
	v := h[name]
	delete(h, name)
	if len(v) != 1 {
		t.Errorf("%s: %q, want one value", name, v)
		return ""
	}
	return v[0]
}

func TestMeshBSeesWhatMeshASeesButForItsHost(t *testing.T) {
	m := crossCluster(t, "100")
	m.send(t, "shop.example")
	a, b := m.workloadA.wait(t, 1)[0], m.workloadB.wait(t, 1)[0]

	want := request{Method: "POST", Target: "/headers?q=%22'<a>&r=1&r=2;x", Host: "shop.example",
		Body: "user=Jos\u00e9&token=\x00\xff", Header: passed()}
	node := take(t, a.Header, "X-Forwarded-For")
	idA := take(t, a.Header, "X-Request-Id")
	want.Header["X-Forwarded-Proto"] = []string{"http"}
	want.Header["X-Envoy-External-Address"] = []string{"127.0.0.1"}
	want.Header["X-Envoy-Attempt-Count"] = []string{"1"}
	if d := cmp.Diff(want, a); d != "" {
		t.Errorf("A's workload (-want +got):\n%s", d)
	}

	// In B: A's gateway is the client, and B's gateway is an edge of its own.
	want.Host = "shop.example-shadow"
	want.Header["X-Umbra-Mirror-Hops"] = []string{"1"}
	if got := take(t, b.Header, "X-Forwarded-For"); got != strings.Join([]string{node, node, node}, ",") {
		t.Errorf("B's x-forwarded-for is %q: want the client, A's own address and A as B's peer, all %s here", got, node)
	}
	idB := take(t, b.Header, "X-Request-Id")
	if d := cmp.Diff(want, b); d != "" {
		t.Errorf("B's workload (-want +got):\n%s", d)
	}
	if !uuid.MatchString(idA) || !uuid.MatchString(idB) || idA == idB {
		t.Errorf("request ids %q in A and %q in B: want two new ones", idA, idB)
	}
}

func TestCopyLeavesTheGatewayWithTheMarksOfACopy(t *testing.T) {
	m := meshes{workloadA: newWorkload(t, "a-v1"), workloadB: newWorkload(t, "b")}
	m.a = serve(t, exampleA(t, m.workloadA.addr, m.workloadB.addr, "100"))
	m.send(t, "shop.example:8080")
	a, b := m.workloadA.wait(t, 1)[0], m.workloadB.wait(t, 1)[0]
	want := a
	want.Host = "shop.example-shadow:8080"
	want.Header = a.Header.Clone()
	node := take(t, want.Header, "X-Forwarded-For")
	want.Header["X-Forwarded-For"] = []string{node + "," + node}
	want.Header["X-Envoy-Internal"] = []string{"true"}
	want.Header["X-Umbra-Mirror-Hops"] = []string{"1"}
	if d := cmp.Diff(want, b); d != "" {
		t.Errorf("the copy beside its primary, changed as documented (-want +got):\n%s", d)
	}
	if m.a.settled(t).Delivered != 1 {
		t.Errorf("%+v", m.a.mirrors(t))
	}
}

// within5Sigma holds that k of n is a share p as chance has it.
func within5Sigma(t *testing.T, what string, k, n int, p float64) {
	t.Helper()
	want, sigma := float64(n)*p, math.Sqrt(float64(n)*p*(1-p))
	if math.Abs(float64(k)-want) > 5*sigma {
		t.Errorf("%s: %d of %d, want %.0f +- %.0f", what, k, n, want, 5*sigma)
	}
}

func TestShareOfRequestsIsCopiedAndEveryAnswerIsProductions(t *testing.T) {
	m := crossCluster(t, "50")
	const n = 4000
	m.a.load(t, n, "/headers", by("a-v1"))
	c := m.a.settled(t)
	within5Sigma(t, "selected", int(c.Selected), n, 0.5)
	if c.Delivered != c.Selected || m.workloadB.count() != int(c.Delivered) || m.workloadA.count() != n {
		t.Errorf("A saw %d, B %d: %+v", m.workloadA.count(), m.workloadB.count(), c)
	}
	seen := map[string]bool{}
	for _, r := range m.workloadB.all() {
		if seen[r.Target] || !strings.HasSuffix(r.Host, "-shadow:"+m.a.Addr[strings.IndexByte(m.a.Addr, ':')+1:]) {
			t.Fatalf("B saw %s twice, or for Host %s", r.Target, r.Host)
		}
		seen[r.Target] = true
	}
}

func TestSharesOfNothingAndAllAreExact(t *testing.T) {
	const n = 500
	for share, want := range map[string]int{"100": n, "0": 0} {
		t.Run(share, func(t *testing.T) {
			m := crossCluster(t, share)
			m.a.load(t, n, "/headers", by("a-v1"))
			if want > 0 {
				m.a.settled(t)
			} else if list := m.a.mirrors(t); len(list) != 0 {
				t.Errorf("a share of 0 is a mirror: %+v", list)
			}
			if got := m.workloadB.count(); got != want {
				t.Errorf("B saw %d of %d, want %d", got, n, want)
			}
		})
	}
}

func TestEachWeightsRequestsAreCopiedByTheMirrorsShare(t *testing.T) {
	v1, v2, b := newWorkload(t, "v1"), newWorkload(t, "v2"), newWorkload(t, "b")
	p := serve(t, meshtest.Gateway+service("shop", "v1", v1.port, "v2", v2.port)+meshtest.External("b.example", b.addr)+`
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: ["*"]
  gateways: [gateway]
  http:
  - route:
    - {destination: {host: shop, subset: v1}, weight: 50}
    - {destination: {host: shop, subset: v2}, weight: 50}
    mirror: {host: b.example}
    mirrorPercentage: {value: 50}
`)
	const n = 4000
	p.load(t, n, "/headers", by("v1", "v2"))
	c := p.settled(t)
	if int(c.Selected) != b.count() {
		t.Errorf("selected %d, B saw %d", c.Selected, b.count())
	}
	within5Sigma(t, "requests of v1", v1.count(), n, 0.5)
	copied := map[string]bool{}
	for _, r := range b.all() {
		copied[r.Target] = true
	}
	for _, w := range []*workload{v1, v2} {
		k := 0
		for _, r := range w.all() {
			if copied[r.Target] {
				k++
			}
		}
		within5Sigma(t, "copies of "+w.name+"'s requests", k, w.count(), 0.5)
	}
}

func TestNothingIsCopiedOfARequestThatGoesNowhere(t *testing.T) {
	b := newWorkload(t, "b")
	const nobody = "1" // a port that refuses connections
	text := meshtest.Gateway + meshtest.External("b.example", b.addr) + `
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {selector: {app: none}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: refusing}
spec: {hosts: [refusing.example], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}],
  endpoints: [{address: 127.0.0.1, ports: {http: ` + nobody + `}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: ["*"]
  gateways: [gateway]
  http:
`
	for _, r := range []string{"empty", "refusing.example", "unknown.example"} {
		text += fmt.Sprintf("  - match: [{uri: {prefix: /%s}}]\n    route: [{destination: {host: %s, port: {number: 80}}}]\n"+
			"    mirror: {host: b.example}\n", strings.Split(r, ".")[0], r)
	}
	p := serve(t, text)
	for _, c := range []struct {
		path   string
		status int
	}{{"/empty", 503}, {"/refusing", 503}, {"/unknown", 503}, {"/no/route", 404}} {
		if resp, body := p.get(t, "x", c.path); resp.StatusCode != c.status {
			t.Errorf("%s: %s %s, want %d", c.path, resp.Status, body, c.status)
		}
	}
	meshtest.Until(t, "copies have ended", func() bool {
		return !slices.ContainsFunc(p.mirrors(t), func(m admin.Mirror) bool { return m.InFlight > 0 })
	})
	for _, m := range p.mirrors(t) {
		if m.Delivered != 0 || m.Selected != m.Dropped["refused"] {
			t.Errorf("%+v: want none, or dropped because the primary was refused", m)
		}
	}
	if b.count() != 0 {
		t.Errorf("B saw %+v", b.all())
	}
}
