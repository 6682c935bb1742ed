// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

func lines(s ...string) string { return strings.Join(append(s, "", ""), "\r\n") }

func decodeRequest(t *testing.T, in string) *codec.Head {
	t.Helper()
	h := new(codec.Head)
	var d RequestDecoder
	d.Reset(h)
	if ev, _, err := d.Next([]byte(in)); ev != HeadDone || err != nil {
		t.Fatalf("event %d, error %v", ev, err)
	}
	return h
}

func decodeResponse(t *testing.T, in string) *codec.Head {
	t.Helper()
	h := new(codec.Head)
	var d ResponseDecoder
	d.Reset(h, false)
	if ev, _, err := d.Next([]byte(in)); ev != HeadDone || err != nil {
		t.Fatalf("event %d, error %v", ev, err)
	}
	return h
}

func TestRequestHeadsAreRendered(t *testing.T) {
	for name, c := range map[string]struct {
		in    string
		flags Flags
		want  string
	}{
		"host first, fields as they came": {
			lines("GET /x?y HTTP/1.1", "a: 1", "hOsT: h:80", "B:2 \xff"), 0,
			lines("GET /x?y HTTP/1.1", "Host: h:80", "a: 1", "B: 2 \xff")},
		"host of an absolute target": {
			lines("GET http://b?y HTTP/1.1", "Host: a"), 0, lines("GET /?y HTTP/1.1", "Host: b")},
		"hop-by-hop fields stay behind": {
			lines("GET / HTTP/1.1", "Host: h", "Connection: close, x", "X: 1", "Upgrade: u", "Keep-Alive: 1",
				"Y: 2"), 0,
			lines("GET / HTTP/1.1", "Host: h", "Y: 2")},
		"close": {with(), Close, lines("GET / HTTP/1.1", "Host: a", "Connection: close")},
		"te is named": {with("TE: trailers"), 0,
			lines("GET / HTTP/1.1", "Host: a", "TE: trailers", "Connection: TE")},
		"te and close are named": {with("TE: trailers"), Close,
			lines("GET / HTTP/1.1", "Host: a", "TE: trailers", "Connection: close, TE")},
		"length": {with("Content-Length: 007"), 0,
			lines("GET / HTTP/1.1", "Host: a", "Content-Length: 7")},
		"a length of 0 if told": {with("Content-Length: 0"), 0,
			lines("GET / HTTP/1.1", "Host: a", "Content-Length: 0")},
		"chunked": {with("Transfer-Encoding: Chunked"), 0,
			lines("GET / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked")},
		"an old client is raised": {"GET / HTTP/1.0\r\n\r\n", 0, lines("GET / HTTP/1.1", "Host: ")},
	} {
		if got := string(AppendRequestHead([]byte("before"), decodeRequest(t, c.in), c.flags)); got != "before"+c.want {
			t.Errorf("%s\n got %q\nwant %q", name, got, "before"+c.want)
		}
	}
}

func TestChangedHeadsAreRenderedAsChanged(t *testing.T) {
	h := decodeRequest(t, with("X-Request-Id: 1", "Server: s", "x-request-id: 2"))
	h.Set(codec.RequestID, h.Store([]byte("3")))
	h.Authority = h.Store(h.Authority, []byte("-shadow"))
	h.Del(codec.Server)
	want := lines("GET / HTTP/1.1", "Host: a-shadow", "x-request-id: 3")
	if got := string(AppendRequestHead(nil, h, 0)); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestResponseHeadsAreRendered(t *testing.T) {
	for name, c := range map[string]struct {
		in    string
		flags Flags
		want  string
	}{
		"length": {answer("content-length: 03", "Server: x"), 0,
			lines("HTTP/1.1 200 OK", "Server: x", "Content-Length: 3")},
		"length 0": {answer("Content-Length: 0"), 0, lines("HTTP/1.1 200 OK", "Content-Length: 0")},
		"empty reason": {lines("HTTP/1.1 200", "Content-Length: 0"), 0,
			lines("HTTP/1.1 200 ", "Content-Length: 0")},
		"chunked": {answer("Transfer-Encoding: chunked"), 0,
			lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")},
		"unknown length":  {answer(), 0, lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")},
		"unknown, to 1.0": {answer(), ToHTTP10 | KeepAlive, lines("HTTP/1.1 200 OK", "Connection: close")},
		"length, to 1.0": {answer("Content-Length: 1"), ToHTTP10 | KeepAlive,
			lines("HTTP/1.1 200 OK", "Content-Length: 1", "Connection: keep-alive")},
		"close": {answer("Content-Length: 1"), Close | KeepAlive,
			lines("HTTP/1.1 200 OK", "Content-Length: 1", "Connection: close")},
		"hop-by-hop": {answer("Content-Length: 0", "Connection: x", "x: y", "Keep-Alive: z"), 0,
			lines("HTTP/1.1 200 OK", "Content-Length: 0")},
		"interim": {lines("HTTP/1.1 103 Early Hints", "Link: a", "Content-Length: 1"), 0,
			lines("HTTP/1.1 103 Early Hints", "Link: a")},
		"204": {lines("HTTP/1.1 204 No Content", "Content-Length: 1"), 0,
			lines("HTTP/1.1 204 No Content")},
		"304 with length": {lines("HTTP/1.1 304 x", "Content-Length: 5"), 0,
			lines("HTTP/1.1 304 x", "Content-Length: 5")},
		"304 without length":  {lines("HTTP/1.1 304 x", "Transfer-Encoding: chunked"), 0, lines("HTTP/1.1 304 x")},
		"head with length":    {answer("Content-Length: 5"), ToHead, lines("HTTP/1.1 200 OK", "Content-Length: 5")},
		"head without length": {answer(), ToHead, lines("HTTP/1.1 200 OK")},
	} {
		if got := string(AppendResponseHead(nil, decodeResponse(t, c.in), c.flags)); got != c.want {
			t.Errorf("%s\n got %q\nwant %q", name, got, c.want)
		}
	}
}

func TestLocalAnswersGetTheirUsualReason(t *testing.T) {
	h := &codec.Head{Status: 503, Length: 2, Fields: []codec.Field{{Name: []byte("server"), Value: []byte("x")}}}
	for f, want := range map[Flags]string{
		0:      lines("HTTP/1.1 503 Service Unavailable", "server: x", "Content-Length: 2"),
		ToHead: lines("HTTP/1.1 503 Service Unavailable", "server: x", "Content-Length: 2"),
		Close:  lines("HTTP/1.1 503 Service Unavailable", "server: x", "Content-Length: 2", "Connection: close"),
	} {
		if got := string(AppendResponseHead(nil, h, f)); got != want {
			t.Errorf("flags %d\n got %q\nwant %q", f, got, want)
		}
	}
}

func TestChunksAreRendered(t *testing.T) {
	if got := string(AppendChunkHead([]byte("x"), 64<<10)); got != "x10000\r\n" {
		t.Errorf("chunk head %q", got)
	}
	if got := string(AppendTrailers(nil, nil)); got != LastChunk {
		t.Errorf("no trailers: %q, want %q", got, LastChunk)
	}
	fields := []codec.Field{{Name: []byte("a"), Value: []byte("1")}, {Value: []byte("removed")}, {Name: []byte("B")}}
	if got := string(AppendTrailers(nil, fields)); got != "0\r\na: 1\r\nB: \r\n\r\n" {
		t.Errorf("trailers %q", got)
	}
}
