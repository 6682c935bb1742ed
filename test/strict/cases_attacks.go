// SPDX-License-Identifier: Apache-2.0

package strict

import (
	"fmt"
	"strings"
)

// attacks are what somebody tries who wants two parties to read the same bytes in two ways.
func attacks() []Case {
	return append(append(append(attackedLines(), attackedFraming()...), attackedTrailers()...), attackedAnswers()...)
}

func attackedLines() []Case {
	line := func(l string) string { return l + "\r\n" + host + "\r\n" }
	list := []Case{
		passed("a target that begins with two slashes is a path", "RFC 9112 §3.2.1", line("GET //b.example/x HTTP/1.1"),
			"GET //b.example/x HTTP/1.1"),
		{Name: "absolute form and a Host that is none", RFC: "RFC 9112 §3.2",
			Send: "GET http://a.example/ HTTP/1.1\r\nHost: b/c\r\n\r\n", Refuse: bad},
		{Name: "CONNECT in absolute form", RFC: "RFC 9112 §3.2.3", Refuse: []int{400, 403, 404, 405, 501},
			Send: line("CONNECT http://a.example:80/ HTTP/1.1") + smuggled},
		{Name: "CONNECT with a length", RFC: "RFC 9110 §9.3.6", Refuse: []int{400, 403, 404, 405, 501},
			Send: "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n" + length(smuggled) + "\r\n\r\n" + smuggled},
		{Name: "CONNECT in chunks", RFC: "RFC 9110 §9.3.6", Refuse: []int{400, 403, 404, 405, 501},
			Send: "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\nTransfer-Encoding: chunked\r\n\r\n" +
				"0\r\n\r\n" + smuggled},
		{Name: "PRI in HTTP/1.1", RFC: "RFC 9113 §3.4", Send: line("PRI * HTTP/1.1"), Refuse: []int{400, 405, 501}},
		refused("a proxy's preface", "RFC 9112 §3", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"+get()),
		refused("a proxy's binary preface", "RFC 9112 §3", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"+get()),
		{Name: "a bare LF before", RFC: "RFC 9112 §2.2", Send: "\n" + get(), Pass: true, Refuse: bad},
		{Name: "a bare CR before", RFC: "RFC 9112 §2.2", Send: "\r" + get(), Refuse: bad},
		{Name: "two empty lines before", RFC: "RFC 9112 §2.2", Send: "\r\n\r\n" + get(), Pass: true, Refuse: bad},
	}
	for name, l := range map[string]string{
		"a target of a query": "GET ?x HTTP/1.1", "a target that is userinfo": "GET @b.example/x HTTP/1.1",
		"a target that begins with a backslash": "GET \\x HTTP/1.1",
		"a target that is a script":             "GET javascript:alert(1) HTTP/1.1",
		"a target with two dots first":          "GET ../x HTTP/1.1", "a high byte in the target": "GET /\x80 HTTP/1.1",
		"a scheme and no more": "GET http: HTTP/1.1", "absolute form with one slash": "GET http:/a.example HTTP/1.1",
		"absolute form with a backslash": "GET http://a.example\\x HTTP/1.1",
		"absolute form with port 65536":  "GET http://a.example:65536/ HTTP/1.1",
		"CONNECT to a path":              "CONNECT /x HTTP/1.1", "another protocol's version": "GET / ICY/1.1",
		"a version with a sign":      "GET / HTTP/+1.1",
		"a version of three numbers": "GET / HTTP/1.1.1",
	} {
		c := refused(name, "RFC 9112 §3.2", line(l))
		if strings.Contains(name, "version") {
			c.RFC, c.Refuse = "RFC 9112 §2.3", []int{400, 505}
		}
		list = append(list, c)
	}
	for name, h := range map[string]string{
		"behind a bracket": "[::1]x", "in brackets that is no address": "[x]", "with a zone": "[fe80::1%25eth0]",
		"that is an address without brackets": "::1", "with port 65536": "a.example:65536",
	} {
		list = append(list, refused("Host "+name, "RFC 9110 §7.2", "GET / HTTP/1.1\r\nHost: "+h+"\r\n\r\n"))
	}
	return sorted(list)
}

func length(body string) string { return fmt.Sprintf("Content-Length: %d", len(body)) }

func attackedFraming() []Case {
	const chunked = "Transfer-Encoding: chunked"
	list := []Case{
		{Name: "Connection names what frames", RFC: "RFC 9110 §7.6.1", Pass: true, Body: "hello", Refuse: bad,
			Send: post("hello", "Connection: content-length, transfer-encoding, host", "Content-Length: 5")},
		{Name: "Connection names the coding", RFC: "RFC 9110 §7.6.1", Pass: true, Body: "hello", Refuse: bad,
			Send: post("5\r\nhello\r\n0\r\n\r\n", "Connection: transfer-encoding", chunked)},
		{Name: "a body in HTTP/1.0, kept alive and chunked", RFC: "RFC 9112 §6.1", Refuse: []int{400, 426, 501, 505},
			Send: "POST / HTTP/1.0\r\n" + host + "Connection: keep-alive\r\n" + chunked + "\r\n\r\n0\r\n\r\n" + smuggled},
		{Name: "a length of 0, then chunked", RFC: "RFC 9112 §6.1", Pass: true, Requests: 2, Refuse: bad,
			Send:   post("0\r\n\r\n"+smuggled, "Content-Length: 0", chunked),
			Fields: map[string]string{"content-length": "-"}},
		{Name: "an upgrade whose body is a request", RFC: "RFC 9110 §7.8", Pass: true, Body: smuggled, Refuse: bad,
			Send: post(smuggled, append([]string{length(smuggled)}, webSocket...)...)},
		{Name: "a name with an underscore is no length", RFC: "RFC 9110 §5.1", Pass: true, Body: "hello", Refuse: bad,
			Send: post("hello", "Content_Length: 60", "Content-Length: 5")},
		{Name: "HEAD asks for another protocol", RFC: "RFC 9110 §9.3.2", Pass: true, Refuse: bad,
			Send: "HEAD / HTTP/1.1\r\n" + host + joined(webSocket) + "\r\n"},
	}
	for _, l := range []string{
		"Content-Length:\r\n 5", "Content-Length : 5", "Content-Length: 5\t5", "Content-Length: NaN", "Content-Length: 5 ;",
		"Content-Length: 99999999999999999999999999", "Content-Length: 5\r\ncontent-length: 6",
	} {
		list = append(list, refused(fmt.Sprintf("the field %q", l), "RFC 9112 §6.3", post("hello", l)))
	}
	for _, v := range []string{
		": chunked\xa0", ": chunked\x85", ": \x80chunked", ": chunked\r\n ,identity", ": cow\r\nTransfer-Encoding: chunked",
		": chunked\r\ntransfer-ENCODING: identity", ": ,chunked", ": chunked; a=b", "\t: chunked",
	} {
		c := refused(fmt.Sprintf("the field %q", "Transfer-Encoding"+v), "RFC 9112 §6.1",
			post("0\r\n\r\n"+smuggled, "Transfer-Encoding"+v))
		c.Refuse = badOrCoding
		list = append(list, c)
	}
	for _, size := range []string{
		"00000000000000005", "8000000000000000", "7fffffffffffffff0", "5.0", "5\x00", "5\r", "5;\x7f", "5;a\x0b",
		"0x", ";a", "５", "5\n", "5;a\n",
	} {
		list = append(list, refused(fmt.Sprintf("the chunk size %q", size), "RFC 9112 §7.1",
			post(size+"\r\nhello\r\n0\r\n\r\n"+smuggled, chunked)))
	}
	for name, body := range map[string]string{
		"an empty line between chunks": "5\r\nhello\r\n\r\n0\r\n\r\n", "bare CR ends the data": "5\r\nhello\r0\r\n\r\n",
		"CR CR LF ends the last size": "5\r\nhello\r\n0\r\r\n\r\n", "bare LF ends the trailers": "5\r\nhello\r\n0\r\n\n",
		"an extension that quotes a line's end": "5;a=\"\r\nhello\"\r\n0\r\n\r\n",
	} {
		list = append(list, refused(name, "RFC 9112 §7.1", post(body+smuggled, chunked)))
	}
	return sorted(list)
}

func attackedTrailers() []Case {
	with := func(trailers string) string {
		return post("5\r\nhello\r\n0\r\n"+trailers+"\r\n", "Transfer-Encoding: chunked")
	}
	list := []Case{{Name: "101 trailers", RFC: "RFC 9112 §7.1.2", Refuse: []int{400, 413, 431},
		Send: with(joined(numbered(101)))}}
	for _, l := range []string{
		"Transfer-Encoding: chunked", "Connection: close", "Trailer: x", "Authorization: x", "Cookie: a=b",
		"X-Forwarded-For: 192.0.2.1",
		"X-Envoy-Attempt-Count: 9", "Content-Encoding: gzip", "Expect: 100-continue",
	} {
		list = append(list, Case{Name: fmt.Sprintf("the trailer %q", l), RFC: "RFC 9110 §6.5.1", Send: with(l + "\r\n"),
			Pass: true, Body: "hello", Tail: "-", Refuse: bad})
	}
	for name, l := range map[string]string{
		"bare LF in a trailer": "x: a\ny: b\r\n", "bare CR in a trailer": "x: a\rb\r\n",
		"a space before a trailer": " x: a\r\n",
		"an empty trailer name":    ": a\r\n", "a request line among the trailers": "GET /smuggled HTTP/1.1\r\n",
	} {
		list = append(list, refused(name, "RFC 9112 §5", with(l)))
	}
	return sorted(list)
}

// more is another answer behind the one that was asked for.
const more = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"

func attackedAnswers() []Case {
	list := []Case{
		{Name: "answer: 204 with a body", RFC: "RFC 9110 §8.6", Status: []int{204, 502}, Got: "-",
			Answer: fmt.Sprintf("HTTP/1.1 204 No Content\r\ncontent-length: %d\r\n\r\n%s", len(more), more)},
		{Name: "answer: 204 in chunks", RFC: "RFC 9112 §6.1", Status: []int{204, 502}, Got: "-",
			Answer: "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"},
		{Name: "answer: 304 with a body", RFC: "RFC 9112 §6.3", Status: []int{304, 502}, Got: "-",
			Answer: fmt.Sprintf("HTTP/1.1 304 Not Modified\r\ncontent-length: %d\r\n\r\n%s", len(more), more)},
		{Name: "answer: 205 with a body", RFC: "RFC 9110 §15.3.6", Status: []int{205, 502},
			Answer: "HTTP/1.1 205 Reset Content\r\ncontent-length: 2\r\n\r\nhi"},
		{Name: "answer: ten interim ones", RFC: "RFC 9110 §15.2", Status: []int{200}, Got: "poison",
			Answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10) + more},
		{Name: "answer: status 999", RFC: "RFC 9110 §15", Status: []int{999, 502},
			Answer: "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n"},
		{Name: "answer: what follows chunks", RFC: "RFC 9112 §7.1", Status: []int{200}, Got: "hi",
			Answer: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" + more},
	}
	for name, send := range map[string]string{
		"to HEAD, with a body":                            "HEAD / HTTP/1.1\r\n" + host + "\r\n",
		"to HEAD that asked for another protocol, a body": "HEAD / HTTP/1.1\r\n" + host + joined(webSocket) + "\r\n",
	} {
		list = append(list, Case{Name: "answer: " + name, RFC: "RFC 9110 §9.3.2", Send: send, Answer: more,
			Status: []int{200}, Got: "-"})
	}
	for name, l := range map[string]string{
		"the same length twice": "content-length: 2\r\ncontent-length: 2", "a list of lengths": "content-length: 2, 2",
		"a length with a sign": "content-length: +2", "a space before the colon": "content-length : 2",
		"bare LF ends a field": "x: a\ncontent-length: 2", "bare CR in a field": "x: a\rb\r\ncontent-length: 2",
		"a folded field": "x: a\r\n b\r\ncontent-length: 2", "an empty field name": ": x\r\ncontent-length: 2",
		"a coding before chunked": "transfer-encoding: gzip, chunked", "identity": "transfer-encoding: identity",
		"a coding in two fields": "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
	} {
		list = append(list, Case{Name: "answer: " + name, RFC: "RFC 9112 §6.3", Close: true, Status: []int{502, 503},
			Answer: "HTTP/1.1 200 OK\r\n" + l + "\r\n\r\nhi"})
	}
	for name, a := range map[string]string{
		"chunked in HTTP/1.0":    "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
		"bare LF ends all":       "HTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
		"an empty line before":   "\r\n" + more,
		"status 000":             "HTTP/1.1 000 OK\r\ncontent-length: 2\r\n\r\nhi",
		"a bell in the reason":   "HTTP/1.1 200 \a\r\ncontent-length: 2\r\n\r\nhi",
		"an interim with chunks": "HTTP/1.1 103 Early Hints\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + more,
	} {
		list = append(list, Case{Name: "answer: " + name, RFC: "RFC 9112 §4", Answer: a, Close: true,
			Status: []int{502, 503}})
	}
	for i := range list {
		if list[i].Send == "" {
			list[i].Send = get()
		}
	}
	return sorted(list)
}
