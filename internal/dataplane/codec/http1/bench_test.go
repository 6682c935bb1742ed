// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

const (
	head200 = "GET /headers?show_env=1 HTTP/1.1\r\n" +
		"Host: httpbin.example.com:8000\r\n" +
		"User-Agent: curl/7.88.1 (bench)\r\n" +
		"Accept: application/json, text/plain;q=0.9, */*;q=0.8\r\n" +
		"X-Trace: 0123456789abcdef0123456789abcdef\r\n" +
		"\r\n"
	head21Fields = "GET /a/rather/long/path/with/several/segments?and=a&query=too HTTP/1.1\r\n" +
		"Host: shop.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
		"Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Connection: keep-alive\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; region=eu\r\n" +
		"Upgrade-Insecure-Requests: 1\r\n" +
		"Sec-Fetch-Dest: document\r\n" +
		"Sec-Fetch-Mode: navigate\r\n" +
		"Sec-Fetch-Site: same-origin\r\n" +
		"Sec-Fetch-User: ?1\r\n" +
		"Referer: https://shop.example.com/a/rather/long/path\r\n" +
		"X-Request-Id: 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0\r\n" +
		"X-Forwarded-For: 203.0.113.7\r\n" +
		"X-Forwarded-Proto: https\r\n" +
		"X-B3-TraceId: 0123456789abcdef0123456789abcdef\r\n" +
		"X-B3-SpanId: 0123456789abcdef\r\n" +
		"X-B3-Sampled: 0\r\n" +
		"Priority: u=0, i\r\n" +
		"Pragma: no-cache\r\n" +
		"\r\n"
	answerHead = "HTTP/1.1 200 OK\r\n" +
		"Date: Sun, 22 Nov 2026 16:00:00 GMT\r\n" +
		"Content-Type: application/json\r\n" +
		"Content-Length: 0\r\n" +
		"Server: httpbin\r\n" +
		"\r\n"
)

func TestBenchmarkHeadsAreWhatTheyAreCalled(t *testing.T) {
	if n := len(head200); n < 195 || n > 205 {
		t.Errorf("head200 has %d bytes", n)
	}
	var h codec.Head
	var d RequestDecoder
	d.Reset(&h)
	if ev, _, err := d.Next([]byte(head21Fields)); ev != HeadDone || err != nil || len(h.Fields) != 21 {
		t.Errorf("event %d, error %v, %d fields", ev, err, len(h.Fields))
	}
}

// rewrite decodes a request and renders it again, as proxying it does.
func rewrite(t testing.TB, in []byte) func() {
	var h codec.Head
	var d RequestDecoder
	var out []byte
	return func() {
		h.Reset()
		d.Reset(&h)
		ev, n, err := d.Next(in)
		if ev != HeadDone || n != len(in) || err != nil {
			t.Fatalf("event %d after %d bytes, error %v", ev, n, err)
		}
		out = AppendRequestHead(out[:0], &h, 0)
		if ev, _, _ := d.Next(nil); ev != End {
			t.Fatalf("event %d, want End", ev)
		}
	}
}

func rewriteAnswer(t testing.TB, in []byte) func() {
	var h codec.Head
	var d ResponseDecoder
	var out []byte
	return func() {
		h.Reset()
		d.Reset(&h, false)
		ev, n, err := d.Next(in)
		if ev != HeadDone || n != len(in) || err != nil {
			t.Fatalf("event %d after %d bytes, error %v", ev, n, err)
		}
		out = AppendResponseHead(out[:0], &h, 0)
	}
}

func bench(b *testing.B, in string, f func()) {
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		f()
	}
}

func BenchmarkRequestHead200(b *testing.B) { bench(b, head200, rewrite(b, []byte(head200))) }
func BenchmarkRequestHead21Fields(b *testing.B) {
	bench(b, head21Fields, rewrite(b, []byte(head21Fields)))
}
func BenchmarkAnswerHead(b *testing.B) { bench(b, answerHead, rewriteAnswer(b, []byte(answerHead))) }
