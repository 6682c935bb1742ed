// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n"

// What follows a 101 that was asked for is none of the decoder's, however the bytes are cut.
func TestSwitchingProtocolsEndsHTTPWhenItWasAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		in, err string
		status  int
		rest    string
	}{
		"with bytes behind it":        {in: switching + "\r\nHTTP/1.1 200 OK\r\n\r\n", status: 101, rest: "HTTP/1.1 200 OK\r\n\r\n"},
		"behind an interim answer":    {in: "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + switching + "\r\nx", status: 101, rest: "x"},
		"with a length, which is not": {in: switching + "Content-Length: 3\r\n\r\nabc", status: 101, rest: "abc"},
		"refused":                     {in: "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", status: 403},
		"without Upgrade":             {in: "HTTP/1.1 101 x\r\nConnection: upgrade\r\n\r\n", err: "switching protocols without naming one"},
		"without Connection":          {in: "HTTP/1.1 101 x\r\nUpgrade: x\r\n\r\n", err: "switching protocols without naming one"},
		"in HTTP/1.0":                 {in: "HTTP/1.0 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", err: "switching protocols without naming one"},
	} {
		for _, pieces := range [][][]byte{{[]byte(c.in)}, bytewise([]byte(c.in))} {
			var h codec.Head
			d := ResponseDecoder{Switching: true}
			d.Reset(&h, false)
			status, rest, failed := 0, []byte(nil), ""
			for _, b := range pieces {
				if status >= 101 && status != 103 {
					rest = append(rest, b...)
					continue
				}
				for more := true; more && failed == ""; {
					ev, n, err := d.Next(b)
					b = b[n:]
					if err != nil {
						failed = err.Reason
						continue
					}
					if ev == HeadDone {
						status = h.Status
						if status == 103 {
							h.Reset()
							continue
						}
						rest = append(rest, b...)
					}
					more = false
				}
			}
			if failed != c.err || c.err == "" && (status != c.status || string(rest) != c.rest) {
				t.Errorf("%s, in %d pieces: %d, rest %q, error %q", name, len(pieces), status, rest, failed)
			}
		}
	}
}

func TestAnotherProtocolIsAskedForAndAgreedTo(t *testing.T) {
	const in = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nUpgrade: X, y\r\nConnection: upgrade, te\r\n\r\n"
	h := decodeRequest(t, in)
	if !h.Upgrade {
		t.Fatal("not seen")
	}
	h.Protocol = []byte("X")
	want := "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: Upgrade, TE\r\nUpgrade: X\r\n\r\n"
	if got := string(AppendRequestHead(nil, h, 0)); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	a := &codec.Head{Status: 101, Protocol: []byte("X"), Fields: []codec.Field{{Name: []byte("a"), Value: []byte("b")}}}
	want = "HTTP/1.1 101 Switching Protocols\r\na: b\r\nConnection: Upgrade\r\nUpgrade: X\r\n\r\n"
	if got := string(AppendResponseHead(nil, a, 0)); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
