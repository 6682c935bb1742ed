// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
)

func TestHeadOfTheCopy(t *testing.T) {
	const added = "x-envoy-internal: true\r\nx-forwarded-for: "
	for _, c := range []struct {
		name, in, want string
		keep           bool
		hops           int
	}{
		{
			"plain", "GET /p?q HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n",
			"GET /p?q HTTP/1.1\r\nHost: h-shadow\r\nA: b\r\n" + added + "192.0.2.1\r\nx-umbra-mirror-hops: 1\r\n\r\n",
			false, 1,
		},
		{
			"addresses are joined, counts replaced",
			"GET / HTTP/1.1\r\nHost: h:80\r\nX-Forwarded-For: 198.51.100.1\r\nX-Umbra-Mirror-Hops: 11\r\n" +
				"X-Forwarded-For: 198.51.100.2, 198.51.100.3\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: h-shadow:80\r\n" + added + "198.51.100.1,198.51.100.2, 198.51.100.3,192.0.2.1\r\n" +
				"x-umbra-mirror-hops: 12\r\n\r\n",
			false, 12,
		},
		{
			"no Expect, no hop-by-hop fields, production's framing",
			"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: h\r\n" + added + "192.0.2.1\r\nx-umbra-mirror-hops: 1\r\nContent-Length: 5\r\n\r\n",
			true, 1,
		},
	} {
		var s scratch
		for range 2 { // scratch is used again
			got := string(s.render(copyBy(Policy{KeepHost: c.keep}, Request{}), head(t, c.in), nil, c.hops))
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%s: %s", c.name, d)
			}
		}
	}
}

// copyBy is a copy by a policy, of a request.
func copyBy(p Policy, q Request) *Copy {
	l := &Local{engine: NewEngine(Config{LocalIP: "192.0.2.1"})}
	return &Copy{local: l, state: state{policy: p, tap: &Tap{local: l, timeout: q.Timeout, span: q.Span}}}
}

func TestHeadOfTheCopyByPolicy(t *testing.T) {
	template := func(text string) format.Template {
		v, err := format.ParseTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	mutations := filter.NewMutations([]filter.Mutation{
		{Name: "cookie", Remove: true},
		{Name: "x-copy-of", Value: template("%REQ(:AUTHORITY)%")},
		{Name: "x-a", Value: template("2"), Action: filter.AppendIfExistsOrAdd},
	})
	const in = "GET / HTTP/1.1\r\nHost: h:80\r\nCookie: c\r\nX-A: 1\r\nx-envoy-expected-rq-timeout-ms: 2000\r\n\r\n"
	const tail = "x-envoy-internal: true\r\nx-forwarded-for: 192.0.2.1\r\n"
	for _, c := range []struct {
		name string
		p    Policy
		q    Request
		want string
	}{
		{
			"mutations, and the host with its suffix", Policy{Headers: mutations}, Request{},
			"Host: h-shadow:80\r\nX-A: 1\r\nx-envoy-expected-rq-timeout-ms: 2000\r\nx-copy-of: h:80\r\nx-a: 2\r\n" + tail,
		},
		{
			"a literal host has no suffix and no port", Policy{Host: "copy.example"}, Request{},
			"Host: copy.example\r\nCookie: c\r\nX-A: 1\r\nx-envoy-expected-rq-timeout-ms: 2000\r\n" + tail,
		},
		{
			"a literal host and the flag that keeps the host", Policy{Host: "copy.example", KeepHost: true}, Request{},
			"Host: copy.example\r\nCookie: c\r\nX-A: 1\r\nx-envoy-expected-rq-timeout-ms: 2000\r\n" + tail,
		},
		{
			"the whole request's time, not the attempt's", Policy{KeepHost: true}, Request{Timeout: 7 * time.Second},
			"Host: h:80\r\nCookie: c\r\nX-A: 1\r\n" + tail + "x-envoy-expected-rq-timeout-ms: 7000\r\n",
		},
	} {
		var s scratch
		for range 2 {
			h := head(t, in)
			v := &format.Values{Request: filter.View(h)}
			got := string(s.render(copyBy(c.p, c.q), h, v, 1))
			if d := cmp.Diff("GET / HTTP/1.1\r\n"+c.want+"x-umbra-mirror-hops: 1\r\n\r\n", got); d != "" {
				t.Errorf("%s: %s", c.name, d)
			}
		}
	}
}

func TestProductionsHeadIsNotChanged(t *testing.T) {
	h := head(t, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nX-Forwarded-For: 198.51.100.1\r\n"+
		"Content-Length: 5\r\n\r\n")
	before := head(t, string(h.Buf))
	var s scratch
	s.render(copyBy(Policy{}, Request{}), h, nil, 1)
	if d := cmp.Diff(before, h); d != "" {
		t.Error(d)
	}
}

func TestShadowHost(t *testing.T) {
	for in, want := range map[string]string{
		"h": "h-shadow", "h:80": "h-shadow:80", "[::1]": "[::1]-shadow", "[::1]:80": "[::1]-shadow:80",
		"192.0.2.1:1": "192.0.2.1-shadow:1", "h-shadow": "h-shadow", "h-shadow:80": "h-shadow:80",
		"[::1]-shadow:80": "[::1]-shadow:80", "h-shadow.example": "h-shadow.example-shadow",
	} {
		a, b, c := shadowHost([]byte(in))
		if got := string(a) + string(b) + string(c); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
