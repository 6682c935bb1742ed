// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"testing"

	"github.com/google/go-cmp/cmp"
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
			got := string(s.render(head(t, c.in), c.keep, "192.0.2.1", c.hops))
			if d := cmp.Diff(c.want, got); d != "" {
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
	s.render(h, false, "192.0.2.1", 1)
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
