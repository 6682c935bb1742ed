// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
)

func normalizing(t *testing.T, n filter.Normalization) *rig {
	return setup{log: true, workers: 1, change: func(c *proxy.ListenerConfig) { c.Paths = n }}.rig(t)
}

// A route that keeps people out of a path keeps them out of its other spellings, and everybody gets the one spelling.
func TestNormalisedPathIsMatchedSentOnCopiedAndLogged(t *testing.T) {
	r := normalizing(t, filter.Normalization{RFC3986: true})
	b := newFar(t, healthy)
	lines := make(chan string, 9)
	r.cluster("a", scripted(t, func(w *wire, _ int) {
		for {
			line, _, _ := strings.Cut(w.head(), "\r\n")
			lines <- line
			w.send(empty200)
		}
	}))
	r.cluster("b", b.addr)
	r.table(
		route.Route[*proxy.Action]{
			Path:   route.PathMatch{Kind: route.PathPrefix, Value: "/admin"},
			Action: &proxy.Action{Direct: &proxy.Direct{Status: 403, Details: "direct_response"}},
		},
		route.Route[*proxy.Action]{
			Path: route.PathMatch{Kind: route.PathPrefix, Value: "/"}, Action: r.to("a", r.policy("b", 100)),
		},
	)
	for _, path := range []string{"/admin", "/x/../admin", "/%61dmin", `/x\..\admin`, "/./%2e%2e/admin/x"} {
		if code, _ := r.get2(path); code != "403" {
			t.Errorf("%s: %s", path, code)
		}
	}
	if code, _ := r.get2("/admin/../shop/%7Euser?next=/x/../%61"); code != "200" {
		t.Error(code)
	}
	const want = "GET /shop/~user?next=/x/../%61 HTTP/1.1"
	if got := within(t, lines); got != want {
		t.Errorf("production got %q", got)
	}
	if n := r.copiesEnded("b"); n.Delivered != 1 {
		t.Errorf("%+v", n)
	}
	if e := r.logged(6); e[5].request != want || e[1].request != "GET /admin HTTP/1.1" {
		t.Errorf("%+v", e)
	}
	r.settled()
}

func TestPathThatCannotBeNormalisedIs400(t *testing.T) {
	r := normalizing(t, filter.Normalization{RFC3986: true, Escaped: filter.RejectEscaped})
	r.serve(&proxy.Action{Direct: directOf("here")})
	for _, path := range []string{"/a%00b", "/a%2fb", "/a%5Cb"} {
		if code, head := r.get2(path); code != "400" || has(head, "Connection: close") {
			t.Errorf("%s: %q", path, head)
		}
	}
	for _, path := range []string{"/?a=%00%2f", "/%25%20"} {
		if code, _ := r.get2(path); code != "200" {
			t.Errorf("%s: %s", path, code)
		}
	}
	if e := r.logged(5)[0]; e.flags != "-" || e.details != "path_normalization_failed" {
		t.Errorf("%+v", e)
	}
	r.counted(3, "envoy_http_downstream_rq_failed_path_normalization")
}

func TestEscapedSlashesAreAskedForAgainWithoutThem(t *testing.T) {
	r := normalizing(t, filter.Normalization{RFC3986: true, Escaped: filter.UnescapeAndRedirect})
	r.serve(&proxy.Action{Direct: directOf("here")})
	for path, location := range map[string]string{
		"/a%2Fb/%2e%2e?c=%2f": "/a/?c=%2f", "/%2fevil.example": "/.//evil.example", `/x/..%5c%5cevil.example`: "/.//evil.example",
	} {
		if code, head := r.get2(path); code != "307" || !has(head, "location: "+location) {
			t.Errorf("%s: %q", path, head)
		}
		if code, _ := r.get2(location); code != "200" { // one round is enough
			t.Errorf("%s: %s", location, code)
		}
	}
	cl := r.raw()
	cl.send(request("POST", "/a%2fb", "", "Content-Type: application/grpc", "Content-Length: 0"))
	if head := cl.head(); status(head) != "200" || !has(head, "grpc-status: 13") {
		t.Errorf("gRPC clients follow no redirect: %q", head)
	}
	r.counted(3, "envoy_http_downstream_rq_redirected_with_normalized_path")
	r.counted(1, "envoy_http_downstream_rq_failed_path_normalization")
}
