// SPDX-License-Identifier: Apache-2.0

package strict

import "strings"

// webSocket is what asks for one (RFC 6455 §4.1), webSocketAccept what agrees to it (RFC 6455 §4.2.2).
var webSocket = []string{
	"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
}

const webSocketAccept = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
	"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

func connections() []Case {
	hop := func(name, send string, gone ...string) Case {
		c := Case{Name: name, RFC: "RFC 9110 §7.6.1", Send: send, Pass: true, Fields: map[string]string{}}
		for _, g := range gone {
			c.Fields[g] = "-"
		}
		return c
	}
	return []Case{
		{Name: "kept alive", RFC: "RFC 9112 §9.3", Send: get(), Pass: true, Open: true},
		{Name: "three requests at once", RFC: "RFC 9112 §9.3.2", Send: get() + get() + get(), Pass: true, Requests: 3},
		{Name: "twenty requests at once", RFC: "RFC 9112 §9.3.2", Send: strings.Repeat(get(), 20), Pass: true, Requests: 20},
		{Name: "a good request, then a bad one", RFC: "RFC 9112 §9.3.2", Send: get() + "GET  / HTTP/1.1\r\n\r\n", Pass: true, Refuse: bad, Requests: 2},
		{Name: "nothing is taken behind close", RFC: "RFC 9112 §9.6", Send: get("Connection: close") + smuggled, Pass: true},
		{Name: "the client ends its side", RFC: "RFC 9112 §9.6", Send: get(), Half: true, Pass: true, Refuse: []int{499}},
		hop("Connection does not travel", get("Connection: keep-alive"), "keep-alive"),
		hop("what Connection names does not travel", get("Connection: x-hop, X-Other", "X-Hop: 1", "x-other: 2"), "x-hop", "x-other"),
		hop("Keep-Alive does not travel", get("Keep-Alive: timeout=5"), "keep-alive"),
		hop("Proxy-Connection does not travel", get("Proxy-Connection: close"), "proxy-connection"),
		hop("Upgrade does not travel unasked", get("Upgrade: foo"), "upgrade"),
		hop("TE is reduced to trailers", get("TE: gzip;q=1", "Connection: te"), "connection-te"),
		hop("Connection naming Host does not take it away", get("Connection: host, close")),
		{Name: "Expect: 100-continue", RFC: "RFC 9110 §10.1.1", Send: post("hello", "Expect: 100-continue", "Content-Length: 5"), Pass: true, Body: "hello"},
		{Name: "another expectation", RFC: "RFC 9110 §10.1.1", Send: post("hello", "Expect: 200-maybe", "Content-Length: 5"), Pass: true, Body: "hello", Refuse: []int{400, 417}},
		{Name: "Expect without a body", RFC: "RFC 9110 §10.1.1", Send: get("Expect: 100-continue"), Pass: true, Refuse: []int{400, 417}},
		{Name: "an upgrade with a body", RFC: "RFC 9110 §7.8", Send: post("hello", "Connection: upgrade", "Upgrade: websocket", "Content-Length: 5"), Pass: true, Body: "hello", Refuse: bad},
		{Name: "an upgrade in HTTP/1.0", RFC: "RFC 9110 §7.8", Send: "GET / HTTP/1.0\r\n" + host + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", Pass: true,
			Fields: map[string]string{"upgrade": "-"}, Refuse: []int{400, 426, 505}},
		{Name: "an upgrade to h2c", RFC: "RFC 9113 §3.1", Send: get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), Pass: true,
			Fields: map[string]string{"upgrade": "-", "http2-settings": "-"}, Refuse: bad},
		{Name: "an upgrade with a chunked body", RFC: "RFC 9110 §7.8", Send: post("5\r\nhello\r\n0\r\n\r\n", "Connection: upgrade", "Upgrade: websocket", "Transfer-Encoding: chunked"),
			Pass: true, Body: "hello", Refuse: bad},
		{Name: "early data behind a refused upgrade is no request", RFC: "RFC 9110 §7.8", Send: get(webSocket...) + smuggled, Pass: true},
		{Name: "an upgrade to what nobody knows", RFC: "RFC 9110 §7.8", Send: get("Connection: upgrade", "Upgrade: umbrella"), Pass: true, Refuse: []int{403}},
		{Name: "an upgrade and a length of 0", RFC: "RFC 9110 §7.8", Send: get(append([]string{"Content-Length: 0"}, webSocket...)...), Pass: true},
		{Name: "Upgrade in two fields", RFC: "RFC 9110 §5.3", Send: get("Connection: upgrade", "Upgrade: foo", "Upgrade: websocket"), Pass: true, Refuse: bad},
		{Name: "HEAD", RFC: "RFC 9110 §9.3.2", Send: "HEAD / HTTP/1.1\r\n" + host + "\r\n", Pass: true, Line: "HEAD / HTTP/1.1"},
		{Name: "an empty line behind a body", RFC: "RFC 9112 §2.2", Send: post("hello\r\n", "Content-Length: 5") + get(), Pass: true, Body: "hello", Requests: 2, Refuse: bad},
	}
}

func answers() []Case {
	answer := func(name, rfc, raw string, closes bool, status int, got string) Case {
		return Case{Name: "answer: " + name, RFC: rfc, Send: get(), Answer: raw, Close: closes, Status: []int{status}, Got: got}
	}
	badAnswer := func(name, rfc, raw string) Case {
		return Case{Name: "answer: " + name, RFC: rfc, Send: get(), Answer: raw, Close: true, Status: []int{502, 503}}
	}
	broken := func(name, rfc, raw string) Case {
		return Case{Name: "answer: " + name, RFC: rfc, Send: get(), Answer: raw, Close: true, Status: []int{200, 502, 503}, Broken: true}
	}
	upgraded := func(c Case) Case {
		c.Send = get(webSocket...)
		return c
	}
	head := func(c Case) Case { c.Send = "HEAD / HTTP/1.1\r\n" + host + "\r\n"; return c }
	return []Case{
		answer("a length", "RFC 9112 §6.3", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", false, 200, "hello"),
		answer("chunked", "RFC 9112 §7.1", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false, 200, "hello"),
		answer("to the end of the connection", "RFC 9112 §6.3", "HTTP/1.1 200 OK\r\n\r\nhello", true, 200, "hello"),
		answer("HTTP/1.0", "RFC 9112 §2.3", "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", true, 200, "hello"),
		answer("no reason", "RFC 9112 §4", "HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello", false, 200, "hello"),
		answer("an unknown status", "RFC 9110 §15", "HTTP/1.1 299 Odd\r\ncontent-length: 5\r\n\r\nhello", false, 299, "hello"),
		answer("204 has no body", "RFC 9112 §6.3", "HTTP/1.1 204 No Content\r\n\r\n", false, 204, "-"),
		answer("304 tells a length it does not send", "RFC 9110 §8.6", "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", false, 304, "-"),
		answer("an interim answer first", "RFC 9110 §15.2", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", false, 200, "hello"),
		answer("100 nobody asked for", "RFC 9110 §15.2.1", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", false, 200, "hello"),
		answer("more than it says is dropped", "RFC 9112 §6.3", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n", true, 200, "hello"),
		upgraded(answer("a switch that was asked for", "RFC 9110 §7.8", webSocketAccept, false, 101, "")),
		upgraded(answer("no switch", "RFC 9110 §7.8", "HTTP/1.1 426 Upgrade Required\r\nupgrade: foo\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nno", false, 426, "no")),
		upgraded(badAnswer("a switch to another protocol", "RFC 9110 §15.2.2", "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n")),
		upgraded(badAnswer("a switch to nothing", "RFC 9110 §15.2.2", "HTTP/1.1 101 Switching Protocols\r\n\r\n")),
		answer("its hop-by-hop fields", "RFC 9110 §7.6.1", "HTTP/1.1 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\ncontent-length: 5\r\n\r\nhello", false, 200, "hello"),
		head(answer("to HEAD, with a length", "RFC 9110 §9.3.2", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", false, 200, "-")),
		head(answer("to HEAD, chunked", "RFC 9110 §9.3.2", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", false, 200, "-")),
		badAnswer("a length and chunked", "RFC 9112 §6.3", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
		badAnswer("two lengths", "RFC 9112 §6.3", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
		badAnswer("a length that is no number", "RFC 9112 §6.3", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nhello"),
		badAnswer("a negative length", "RFC 9112 §6.3", "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhello"),
		badAnswer("garbage", "RFC 9112 §4", "SSH-2.0-OpenSSH\r\n\r\n"),
		badAnswer("HTTP/2.0", "RFC 9112 §4", "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n"),
		badAnswer("HTTP/0.9", "RFC 9112 §4", "hello"),
		badAnswer("a status of two digits", "RFC 9112 §4", "HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n"),
		badAnswer("a status of four digits", "RFC 9112 §4", "HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n"),
		badAnswer("a status of letters", "RFC 9112 §4", "HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n"),
		badAnswer("a field without a colon", "RFC 9112 §5", "HTTP/1.1 200 OK\r\nbroken\r\ncontent-length: 0\r\n\r\n"),
		badAnswer("NUL in a field", "RFC 9110 §5.5", "HTTP/1.1 200 OK\r\nx: a\x00b\r\ncontent-length: 0\r\n\r\n"),
		badAnswer("101 nobody asked for", "RFC 9110 §15.2.2", "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
		badAnswer("a hundred interim answers", "RFC 9110 §15.2", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100)+"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
		badAnswer("a head of 1 MiB", "RFC 9110 §5.4", "HTTP/1.1 200 OK\r\nx: "+strings.Repeat("a", 1<<20)+"\r\ncontent-length: 0\r\n\r\n"),
		badAnswer("1,000 fields", "RFC 9110 §5.4", "HTTP/1.1 200 OK\r\n"+joined(numbered(1000))+"content-length: 0\r\n\r\n"),
		badAnswer("nothing but the end", "RFC 9112 §8", "HTTP/1.1"),
		badAnswer("a head cut off", "RFC 9112 §8", "HTTP/1.1 200 OK\r\ncontent-le"),
		badAnswer("an unknown coding", "RFC 9112 §6.3", "HTTP/1.1 200 OK\r\ntransfer-encoding: cow\r\n\r\nhello"),
		broken("a body shorter than its length", "RFC 9112 §8", "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello"),
		broken("a chunked body cut off", "RFC 9112 §8", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"),
		broken("a chunk size that is no number", "RFC 9112 §7.1", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n\r\n"),
		broken("a chunk longer than its size", "RFC 9112 §7.1", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n"),
		broken("bare LF in a chunk size", "RFC 9112 §7.1", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
	}
}
