// SPDX-License-Identifier: Apache-2.0

package strict

import (
	"fmt"
	"strings"
)

func lengths() []Case {
	list := []Case{
		{Name: "a body", RFC: "RFC 9112 §6.2", Send: post("hello", "Content-Length: 5"), Pass: true, Body: "hello", Open: true},
		{Name: "an empty body", RFC: "RFC 9112 §6.2", Send: post("", "Content-Length: 0"), Pass: true, Open: true},
		{Name: "POST without a length", RFC: "RFC 9112 §6.3", Send: post(""), Pass: true, Refuse: []int{411}},
		{Name: "GET with a body", RFC: "RFC 9110 §9.3.1", Send: get("Content-Length: 5") + "hello", Pass: true, Body: "hello"},
		{Name: "a length with leading zeros", RFC: "RFC 9110 §8.6", Send: post("hello", "Content-Length: 005"), Pass: true, Body: "hello", Refuse: bad},
		{Name: "the same length twice", RFC: "RFC 9110 §8.6", Send: post("hello", "Content-Length: 5", "Content-Length: 5"), Pass: true, Body: "hello", Refuse: bad},
		{Name: "the same length in a list", RFC: "RFC 9110 §8.6", Send: post("hello", "Content-Length: 5, 5"), Pass: true, Body: "hello", Refuse: bad},
		{Name: "what follows a body is the next request", RFC: "RFC 9112 §9.3.2", Send: post("hello", "Content-Length: 5") + get(), Pass: true, Body: "hello", Requests: 2},
		{Name: "what looks like a request in a body is none", RFC: "RFC 9112 §6.2",
			Send: post(smuggled, fmt.Sprintf("Content-Length: %d", len(smuggled))), Pass: true, Body: smuggled},
		{Name: "a body cut off", RFC: "RFC 9112 §8", Send: post("hel", "Content-Length: 5"), Half: true, Refuse: []int{400, 408}},
		{Name: "an upload of 1 MiB", RFC: "RFC 9112 §6.2", Send: post(strings.Repeat("u", 1<<20), "Content-Length: 1048576"), Pass: true, Body: strings.Repeat("u", 1<<20), Refuse: []int{413}},
		refused("two lengths", "RFC 9112 §6.3", post("hello", "Content-Length: 5", "Content-Length: 6")),
		refused("two lengths in a list", "RFC 9112 §6.3", post("hello", "Content-Length: 5, 6")),
		refused("two lengths, the first smuggles", "RFC 9112 §6.3", post(smuggled, "Content-Length: 0", fmt.Sprintf("Content-Length: %d", len(smuggled)))),
		{Name: "a length past 64 bits", RFC: "RFC 9110 §8.6", Send: post("hello", "Content-Length: 18446744073709551621"), Refuse: []int{400, 413}},
		{Name: "a length past 63 bits", RFC: "RFC 9110 §8.6", Send: post("hello", "Content-Length: 9223372036854775808"), Refuse: []int{400, 413}},
	}
	for _, v := range []string{"+5", "-5", "0x5", "5_0", "5 5", "5,", ",5", "5;", "5.0", "1e1", "five", "", "\"5\"", "５", "5\x0b", "٥"} {
		list = append(list, refused(fmt.Sprintf("the length %q", v), "RFC 9110 §8.6", post("hello", "Content-Length: "+v)))
	}
	return list
}

func codings() []Case {
	const chunked = "Transfer-Encoding: chunked"
	const body = "5\r\nhello\r\n0\r\n\r\n"
	list := []Case{
		{Name: "a chunked body", RFC: "RFC 9112 §7.1", Send: post(body, chunked), Pass: true, Body: "hello", Open: true},
		{Name: "chunked in upper case", RFC: "RFC 9112 §7", Send: post(body, "Transfer-Encoding: CHUNKED"), Pass: true, Body: "hello", Refuse: badOrCoding},
		{Name: "chunked between spaces", RFC: "RFC 9112 §5", Send: post(body, "Transfer-Encoding: \tchunked\t "), Pass: true, Body: "hello"},
		{Name: "an empty element beside chunked", RFC: "RFC 9110 §5.6.1", Send: post(body, "Transfer-Encoding: chunked,"), Pass: true, Body: "hello", Refuse: badOrCoding},
		{Name: "what follows a chunked body is the next request", RFC: "RFC 9112 §9.3.2", Send: post(body, chunked) + get(), Pass: true, Body: "hello", Requests: 2},
		{Name: "GET with a chunked body", RFC: "RFC 9110 §9.3.1", Send: "GET / HTTP/1.1\r\n" + host + chunked + "\r\n\r\n" + body, Pass: true, Body: "hello"},
		{Name: "gzip, chunked", RFC: "RFC 9112 §6.1", Send: post(body, "Transfer-Encoding: gzip, chunked"), Refuse: badOrCoding},
		{Name: "identity", RFC: "RFC 9112 §7", Send: post("hello", "Transfer-Encoding: identity", "Content-Length: 5"), Refuse: badOrCoding},
		{Name: "a length, then chunked (CL.TE)", RFC: "RFC 9112 §6.1", Send: post("0\r\n\r\n"+smuggled, "Content-Length: 5", chunked), Refuse: bad, Pass: true, Requests: 2, Fields: map[string]string{"content-length": "-"}},
		{Name: "chunked, then a length (TE.CL)", RFC: "RFC 9112 §6.1", Send: post("0\r\n\r\n", chunked, "Content-Length: 6"), Refuse: bad, Pass: true, Fields: map[string]string{"content-length": "-"}},
		{Name: "HTTP/1.0 with chunked", RFC: "RFC 9112 §6.1", Send: "POST / HTTP/1.0\r\n" + host + chunked + "\r\n\r\n" + body + smuggled, Refuse: []int{400, 426, 501, 505}},
		{Name: "a list of chunked twice", RFC: "RFC 9112 §6.1", Send: post(body, "Transfer-Encoding: chunked, chunked"), Refuse: badOrCoding},
		{Name: "chunked in two fields", RFC: "RFC 9112 §6.1", Send: post(body, chunked, chunked), Refuse: badOrCoding},
	}
	for _, v := range []string{
		"chunked, gzip", "gzip", "xchunked", "chunkedx", "chunked;q=1", "\"chunked\"", "chunked chunked", "identity, chunked", "x, chunked", "",
		"chunked\x0b", "\x0cchunked", "chun\x00ked", "chunked, identity", "cow", "chunked;", "[chunked]", "'chunked'", "c hunked",
	} {
		c := refused(fmt.Sprintf("the coding %q", v), "RFC 9112 §6.1", post(body, "Transfer-Encoding: "+v))
		c.Refuse = badOrCoding
		list = append(list, c)
	}
	for name, l := range map[string]string{
		"a space before the coding's colon": "Transfer-Encoding : chunked", "the coding folded": "Transfer-Encoding:\r\n chunked",
		"a bare LF in the coding's field": "x: y\nTransfer-Encoding: chunked", "the coding after a CR": "x: y\rTransfer-Encoding: chunked",
		"a space before the coding's name": " Transfer-Encoding: chunked", "NUL in the coding's name": "Transfer\x00-Encoding: chunked",
	} {
		list = append(list, refused(name, "RFC 9112 §5", post(body, l)))
	}
	// A field of another name is no coding: its proxy and its origin must agree on that.
	list = append(list, Case{Name: "a name with an underscore is no coding", RFC: "RFC 9110 §5.1",
		Send: post("hello", "Transfer_Encoding: chunked", "Content-Length: 5"), Pass: true, Body: "hello", Refuse: bad})
	return sorted(list)
}

func chunks() []Case {
	send := func(body string) string { return post(body, "Transfer-Encoding: chunked") }
	list := []Case{
		{Name: "several chunks", RFC: "RFC 9112 §7.1", Send: send("3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"), Pass: true, Body: "hello"},
		{Name: "a size with leading zeros", RFC: "RFC 9112 §7.1", Send: send("0005\r\nhello\r\n000\r\n\r\n"), Pass: true, Body: "hello", Refuse: bad},
		{Name: "a size in upper-case digits", RFC: "RFC 9112 §7.1", Send: send("A\r\n0123456789\r\n0\r\n\r\n"), Pass: true, Body: "0123456789"},
		{Name: "an extension", RFC: "RFC 9112 §7.1.1", Send: send("5;a=b\r\nhello\r\n0;c\r\n\r\n"), Pass: true, Body: "hello"},
		{Name: "an extension in quotes", RFC: "RFC 9112 §7.1.1", Send: send("5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n"), Pass: true, Body: "hello", Refuse: bad},
		{Name: "a trailer", RFC: "RFC 9112 §7.1.2", Send: send("5\r\nhello\r\n0\r\nx-t: v\r\n\r\n"), Pass: true, Body: "hello"},
		{Name: "no chunk but the last", RFC: "RFC 9112 §7.1", Send: send("0\r\n\r\n"), Pass: true},
		{Name: "a chunked body cut off", RFC: "RFC 9112 §8", Send: send("5\r\nhel"), Half: true, Refuse: []int{400, 408}},
		{Name: "a chunked body without its last chunk", RFC: "RFC 9112 §8", Send: send("5\r\nhello\r\n"), Half: true, Refuse: []int{400, 408}},
		{Name: "an extension of 100,000 bytes", RFC: "RFC 9112 §7.1.1", Send: send("5;" + strings.Repeat("a", 100_000) + "\r\nhello\r\n0\r\n\r\n"), Refuse: []int{400, 413, 431}},
		{Name: "trailers of 200,000 bytes", RFC: "RFC 9112 §7.1.2", Send: send("0\r\nx: " + strings.Repeat("a", 200_000) + "\r\n\r\n"), Refuse: []int{400, 413, 431}},
		{Name: "a length among the trailers", RFC: "RFC 9110 §6.5.1", Send: send("5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"), Pass: true, Body: "hello", Refuse: bad},
		{Name: "a Host among the trailers", RFC: "RFC 9110 §6.5.1", Send: send("5\r\nhello\r\n0\r\nHost: evil\r\n\r\n"), Pass: true, Body: "hello", Refuse: bad},
	}
	for name, body := range map[string]string{
		"a size with 0x": "0x5\r\nhello\r\n0\r\n\r\n", "a size with a plus": "+5\r\nhello\r\n0\r\n\r\n", "a negative size": "-5\r\nhello\r\n0\r\n\r\n",
		"no size": "\r\nhello\r\n0\r\n\r\n", "a size that is no number": "g\r\nhello\r\n0\r\n\r\n", "a space before the size": " 5\r\nhello\r\n0\r\n\r\n",
		"a size past 64 bits": "10000000000000005\r\nhello\r\n0\r\n\r\n", "a size of 2^64-1": "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
		"bare LF ends the size": "5\nhello\r\n0\r\n\r\n", "bare CR ends the size": "5\rhello\r\n0\r\n\r\n", "bare LF ends the data": "5\r\nhello\n0\r\n\r\n",
		"nothing ends the data": "5\r\nhello0\r\n\r\n", "data longer than its size": "5\r\nhelloworld\r\n0\r\n\r\n", "data shorter than its size": "6\r\nhello\r\n0\r\n\r\n",
		"bare LF in an extension": "5;a\nb\r\nhello\r\n0\r\n\r\n", "bare CR in an extension": "5;a\rb\r\nhello\r\n0\r\n\r\n", "NUL in an extension": "5;a\x00\r\nhello\r\n0\r\n\r\n",
		"a size with an underscore": "0_5\r\nhello\r\n0\r\n\r\n", "a size with a comma": "5,\r\nhello\r\n0\r\n\r\n", "bare LF after the last chunk": "5\r\nhello\r\n0\n\n",
		"a trailer without a colon": "0\r\nx\r\n\r\n", "a folded trailer": "0\r\nx: a\r\n b\r\n\r\n", "NUL in a trailer": "0\r\nx: a\x00\r\n\r\n",
		"a space before a trailer's colon": "0\r\nx : a\r\n\r\n", "a tab before the size": "\t5\r\nhello\r\n0\r\n\r\n",
	} {
		// The head went on already: what counts is that the origin never takes the request for whole.
		list = append(list, refused(name, "RFC 9112 §7.1", send(body)))
	}
	list = append(list, Case{Name: "a space after the size", RFC: "RFC 9112 §7.1.1", Send: send("5 \r\nhello\r\n0\r\n\r\n"), Pass: true, Body: "hello", Refuse: bad})
	return sorted(list)
}
