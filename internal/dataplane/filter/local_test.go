// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"testing"
)

func TestLocalAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		local      Local
		server     string
		head, last bool
		want       string
	}{
		"with a body": {NoHost, "istio-envoy", false, false,
			"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 19\r\ncontent-type: text/plain\r\ndate: now\r\nserver: istio-envoy\r\n\r\nno healthy upstream"},
		"to HEAD": {NoHost, "", true, true,
			"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 19\r\ncontent-type: text/plain\r\ndate: now\r\nconnection: close\r\n\r\n"},
		"without a body": {NoRoute, "s", false, true,
			"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\ndate: now\r\nserver: s\r\nconnection: close\r\n\r\n"},
		"204 has no length": {Local{Status: 204, Body: "x"}, "", false, false, "HTTP/1.1 204 No Content\r\ndate: now\r\n\r\n"},
		"304 has no body":   {Local{Status: 304, Body: "x"}, "", false, false, "HTTP/1.1 304 Not Modified\r\ndate: now\r\n\r\n"},
		"a status unknown":  {Local{Status: 599}, "", false, false, "HTTP/1.1 599 \r\ncontent-length: 0\r\ndate: now\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.local.Append([]byte("before|"), []byte(c.server), []byte("now"), c.head, c.last)
			if string(got) != "before|"+c.want {
				t.Errorf("got  %q\nwant %q", got, "before|"+c.want)
			}
		})
	}
}
