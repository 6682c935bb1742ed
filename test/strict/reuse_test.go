// SPDX-License-Identifier: Apache-2.0

package strict

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
)

// A connection to an origin is used again only where nothing can follow an answer that would be taken for the next one.
func TestNoRequestFollowsAnAnswerThatMayNotBeOver(t *testing.T) {
	o := listen(t)
	addr := serve(t, o, nil, compile.NormalizeBase)
	for _, c := range []struct {
		name, rfc, method, answer string
		again                     bool
	}{
		{"a length", "RFC 9112 §9.3", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", true},
		{"chunks", "RFC 9112 §9.3", "GET",
			"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", true},
		{"204", "RFC 9112 §6.3", "GET", "HTTP/1.1 204 No Content\r\n\r\n", true},
		{"304 with the length of what it stands for", "RFC 9110 §8.6", "GET",
			"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", true},
		{"the length of what HEAD is not sent", "RFC 9110 §8.6", "HEAD",
			"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", true},
		{"204 with a length", "RFC 9110 §8.6", "GET", "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", false},
		{"204 with a coding", "RFC 9112 §6.1", "GET",
			"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n", false},
		{"another answer behind it", "RFC 9112 §6.3", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi" + more, false},
		{"a body behind 304", "RFC 9112 §6.3", "GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\npoison", false},
		{"a body behind an answer to HEAD", "RFC 9112 §6.3", "HEAD", more, false},
		{"close", "RFC 9112 §9.6", "GET", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi", false},
		{"HTTP/1.0", "RFC 9112 §9.3", "GET", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o.Tell(c.answer, false)
			conn, err := net.DialTimeout("tcp", addr, patience)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			for range 2 {
				if _, err := io.WriteString(conn, c.method+" / HTTP/1.1\r\n"+host+"\r\n"); err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(in, &http.Request{Method: c.method})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Fatal(err)
				}
			}
			got := o.Got()
			if len(got) != 2 {
				t.Fatalf("%s: %d requests came, want 2", c.rfc, len(got))
			}
			if again := got[0].Conn == got[1].Conn; again != c.again {
				t.Errorf("%s: the connection was used again: %v, want %v", c.rfc, again, c.again)
			}
		})
	}
}
