// SPDX-License-Identifier: Apache-2.0

// Package traffic is production's two ends while a mirror is ill: clients at a fixed rate, and an origin that sends each
// body back. Both look at every byte. It knows nothing of proxies.
package traffic

import (
	"fmt"
	"hash/crc32"
	"net/http"
	"strconv"
)

// Fields of a request, by which an origin or a mirror knows whether it got what was sent.
const (
	idField     = "X-Id"
	lengthField = "X-Length"
	sumField    = "X-Sum"
	// servedField tells a client that its answer is production's.
	servedField = "X-Served"
)

// shape is how a request is sent.
type shape struct {
	body    int // bytes; 0: a GET
	chunked bool
}

// shapes come in turn: half of the requests are GETs, and of the bodies half have a length.
var shapes = []shape{
	{}, {body: 1 << 10}, {}, {body: 5 << 10, chunked: true}, {}, {body: 60 << 10}, {}, {body: 40 << 10, chunked: true},
}

const (
	pieces  = 3 // of a chunked body
	answers = 1 << 10
)

var table = crc32.MakeTable(crc32.Castagnoli)

// content is n bytes that differ from request to request and from place to place.
func content(id uint64, n int) []byte {
	b := make([]byte, n)
	x := id*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

// render writes request id as it goes over the wire, and what its answer must carry.
func render(id uint64, s shape) (request, answer []byte) {
	method, body := "GET", content(id, s.body)
	if s.body > 0 {
		method = "POST"
	}
	b := fmt.Appendf(nil, "%s /isolation?id=%d HTTP/1.1\r\nHost: bench.example\r\n%s: %d\r\n%s: %d\r\n%s: %08x\r\n", method, id,
		idField, id, lengthField, len(body), sumField, crc32.Checksum(body, table))
	switch {
	case s.body == 0:
		return append(b, "\r\n"...), content(id, answers)
	case !s.chunked:
		b = fmt.Appendf(b, "Content-Length: %d\r\n\r\n", len(body))
		return append(b, body...), body
	}
	b = append(b, "Transfer-Encoding: chunked\r\n\r\n"...)
	for i := range pieces {
		piece := body[i*len(body)/pieces : (i+1)*len(body)/pieces]
		b = fmt.Appendf(b, "%x\r\n", len(piece))
		b = append(append(b, piece...), "\r\n"...)
	}
	return append(b, "0\r\n\r\n"...), body
}

// AsSent reports whether body is what a client sent with q. A request that no client of this package sent is not.
func AsSent(q *http.Request, body []byte) bool {
	return q.URL.Path == "/isolation" && q.Header.Get(lengthField) == strconv.Itoa(len(body)) &&
		q.Header.Get(sumField) == fmt.Sprintf("%08x", crc32.Checksum(body, table))
}
