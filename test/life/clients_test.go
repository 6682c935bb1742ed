// SPDX-License-Identifier: Apache-2.0

package life_test

import (
	"strings"
	"testing"
)

// What a client may send and how long it may take are flags, each with its answer.
func TestLimitsOnClientsHold(t *testing.T) {
	o := newOrigin(t)
	port := freePort(t)
	p := launch(t, nil, "run", "-f", config(t, port, o.addr, ""), "--admin", "127.0.0.1:0", "--max-head", "2Ki",
		"--max-head-fields", "10", "--head-timeout", "1s", "--stream-idle-timeout", "1100ms", "--idle-timeout", "1200ms").serves()
	addr := address(port)
	const begin = "GET / HTTP/1.1\r\nHost: a.example\r\n"
	for name, f := range map[string]struct {
		send string
		want int
	}{
		"a head that fits":             {begin + "X-Long: " + strings.Repeat("x", 1800) + "\r\n\r\n", 200},
		"a head that is too long":      {begin + "X-Long: " + strings.Repeat("x", 2048) + "\r\n\r\n", 431},
		"as many fields as may be":     {begin + strings.Repeat("X-A: b\r\n", 9) + "\r\n", 200},
		"a field too many":             {begin + strings.Repeat("X-A: b\r\n", 10) + "\r\n", 431},
		"a head that does not end":     {begin, 408},
		"a body that does not come":    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhe", 408},
		"an answer that does not come": {"GET /hold HTTP/1.1\r\nHost: a.example\r\n\r\n", 504},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, addr)
			c.send(f.send)
			if resp, body := c.answer(); resp.StatusCode != f.want {
				t.Errorf("%d %q, want %d", resp.StatusCode, body, f.want)
			}
		})
	}
	idle, unused := dial(t, addr), dial(t, addr)
	idle.get("/")
	idle.answer()
	for name, c := range map[string]*client{"idle": idle, "unused": unused} {
		if rest, err := c.over(); rest != "" || err != nil {
			t.Errorf("%s connection: %q, %v", name, rest, err)
		}
	}
	_, dump := p.page("/config_dump")
	for _, s := range []string{`"idle_timeout": "1.200s"`, `"max_request_headers_kb": 2`, `"max_headers_count": 10`} {
		if !strings.Contains(dump, s) {
			t.Errorf("the dump does not say %s", s)
		}
	}
}
