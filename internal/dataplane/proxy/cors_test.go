// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
)

func TestCrossOrigin(t *testing.T) {
	policy := &filter.CORS{
		Origins: []filter.StringMatch{{Value: "https://shop.example"}}, Methods: "GET,POST", AllowHeaders: "x-a,x-b",
		ExposeHeaders: "x-c", MaxAge: "600", Credentials: true,
	}
	const preflight = "Access-Control-Request-Method: POST"
	for name, c := range map[string]struct {
		method   string
		fields   []string
		forward  bool
		answered bool // here, and so no copy
		want     []string
		absent   string
	}{
		"preflight": {
			"OPTIONS", []string{"Origin: https://shop.example", preflight}, true, true, []string{
				"access-control-allow-origin: https://shop.example", "access-control-allow-methods: GET,POST",
				"access-control-allow-headers: x-a,x-b", "access-control-max-age: 600", "access-control-allow-credentials: true",
			}, "",
		},
		"preflight of another origin, forwarded": {
			"OPTIONS", []string{"Origin: https://else.example", preflight}, true, false, nil, "access-control-allow-origin: https",
		},
		"preflight of another origin, not forwarded": {
			"OPTIONS", []string{"Origin: https://else.example", preflight}, false, true, nil, "access-control-allow-origin",
		},
		"request": {
			"GET", []string{"Origin: https://shop.example"}, true, false, []string{
				"access-control-allow-origin: https://shop.example", "access-control-expose-headers: x-c",
				"access-control-allow-credentials: true",
			}, "theirs",
		},
		"request of another origin": {
			"GET", []string{"Origin: https://else.example"}, true, false, []string{"access-control-allow-origin: theirs"}, "shop",
		},
		"no origin": {"GET", nil, true, false, []string{"access-control-allow-origin: theirs"}, "shop"},
	} {
		t.Run(name, func(t *testing.T) {
			r := setup{log: true}.rig(t)
			o := recording(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: theirs\r\n\r\n")
			r.cluster("a", o.addr)
			r.cluster("b", recording(t, empty200).addr)
			a := r.to("a", r.policy("b", 100))
			p := *policy
			p.ForwardUnmatched = c.forward
			a.CORS = &p
			r.serve(a)
			cl := r.raw()
			cl.send(request(c.method, "/", "", c.fields...))
			head, _ := cl.answer()
			if status(head) != "200" {
				t.Errorf("%q", head)
			}
			for _, line := range c.want {
				if !has(head, line) {
					t.Errorf("no %s:\n%s", line, head)
				}
			}
			if c.absent != "" && strings.Contains(head, c.absent) {
				t.Errorf("%s:\n%s", c.absent, head)
			}
			n := r.copiesEnded("b")
			if served := len(o.got) == 1; served == c.answered || c.answered != (n.Eligible == 0) {
				t.Errorf("served %v; copies %+v", served, n)
			}
			details := "via_upstream"
			if c.answered {
				details = "cors_response"
			}
			r.logs(200, "-", details)
		})
	}
}

func TestFailuresCanBeReadByAnAllowedOrigin(t *testing.T) {
	r := setup{}.rig(t)
	r.cluster("empty")
	a := r.to("empty")
	a.CORS = &filter.CORS{Origins: []filter.StringMatch{{Kind: filter.PrefixMatch, Value: "https://"}}}
	r.serve(a)
	if code, head := r.get2("/", "Origin: https://x"); code != "503" || !has(head, "access-control-allow-origin: https://x") {
		t.Errorf("%q", head)
	}
	r.counted(1, "envoy_http_cors_origin_valid")
	r.get2("/", "Origin: http://x")
	r.counted(1, "envoy_http_cors_origin_invalid")
}
