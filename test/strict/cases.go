// SPDX-License-Identifier: Apache-2.0

package strict

import (
	"fmt"
	"slices"
	"strings"
)

// Cases are all cases, each name once.
func Cases() []Case {
	return slices.Concat(requestLines(), hosts(), fields(), lengths(), codings(), chunks(), connections(), answers(), attacks())
}

// Statuses that say what is wrong with a request.
var (
	bad         = []int{400}
	badOrLong   = []int{400, 414, 431}
	badOrCoding = []int{400, 501}
)

const host = "Host: a.example\r\n"

// get is a GET of / with these field lines.
func get(lines ...string) string { return "GET / HTTP/1.1\r\n" + host + joined(lines) + "\r\n" }

// post is a POST to / with these field lines and a body as it is.
func post(body string, lines ...string) string {
	return "POST / HTTP/1.1\r\n" + host + joined(lines) + "\r\n" + body
}

func joined(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

func refused(name, rfc, send string) Case { return Case{Name: name, RFC: rfc, Send: send, Refuse: bad} }

func passed(name, rfc, send, line string) Case {
	return Case{Name: name, RFC: rfc, Send: send, Pass: true, Line: line}
}

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"

func requestLines() []Case {
	line := func(l string) string { return l + "\r\n" + host + "\r\n" }
	list := []Case{
		passed("a plain request", "RFC 9112 §3", get(), "GET / HTTP/1.1"),
		passed("one empty line before", "RFC 9112 §2.2", "\r\n"+get(), "GET / HTTP/1.1"),
		passed("a method of its own", "RFC 9110 §9.1", line("BREW /pot HTTP/1.1"), "BREW /pot HTTP/1.1"),
		passed("a method with all token bytes", "RFC 9110 §5.6.2", line("A!#$%&'*+-.^_`|~9 / HTTP/1.1"), "A!#$%&'*+-.^_`|~9 / HTTP/1.1"),
		passed("a lower-case method is another one", "RFC 9110 §9.1", line("get / HTTP/1.1"), "get / HTTP/1.1"),
		{Name: "a percent sign that begins no escape", RFC: "RFC 3986 §2.1", Send: line("GET /100%/%zz HTTP/1.1"), Pass: true, Line: "GET /100%/%zz HTTP/1.1", Refuse: bad},
		passed("a percent sign in the query", "RFC 3986 §2.1", line("GET /?q=100% HTTP/1.1"), "GET /?q=100% HTTP/1.1"),
		passed("percent-encoding stays", "RFC 3986 §2.1", line("GET /%41%2f%2e HTTP/1.1"), ""),
		passed("sub-delimiters and an empty query", "RFC 3986 §3.3", line("GET /a;b=c,(d)!$&'*+@:? HTTP/1.1"), ""),
		passed("absolute form is split", "RFC 9112 §3.2.2", line("GET http://a.example/x?y HTTP/1.1"), "GET /x?y HTTP/1.1"),
		passed("absolute form without a path", "RFC 9112 §3.2.1", line("GET http://a.example HTTP/1.1"), "GET / HTTP/1.1"),
		passed("absolute form without a path, with a query", "RFC 9112 §3.2.2", line("GET http://a.example?x HTTP/1.1"), "GET /?x HTTP/1.1"),
		passed("absolute form in upper case", "RFC 3986 §3.1", line("GET HTTP://a.example/ HTTP/1.1"), "GET / HTTP/1.1"),
		{Name: "absolute form overrules Host", RFC: "RFC 9112 §3.2.2", Send: "GET http://b.example/ HTTP/1.1\r\n" + host + "\r\n",
			Pass: true, Line: "GET / HTTP/1.1", Fields: map[string]string{"host": "b.example"}, Refuse: bad},
		{Name: "OPTIONS *", RFC: "RFC 9112 §3.2.4", Send: line("OPTIONS * HTTP/1.1"), Pass: true, Line: "OPTIONS * HTTP/1.1", Refuse: []int{404, 405, 400}},
		refused("* with GET", "RFC 9112 §3.2.4", line("GET * HTTP/1.1")),
		{Name: "authority form with GET", RFC: "RFC 9112 §3.2.3", Send: line("GET a.example:80 HTTP/1.1"), Refuse: bad},
		{Name: "CONNECT", RFC: "RFC 9110 §9.3.6", Send: "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n", Refuse: []int{400, 403, 404, 405, 501}},
		{Name: "early data behind CONNECT is no request", RFC: "RFC 9110 §9.3.6",
			Send: "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n" + smuggled, Refuse: []int{400, 403, 404, 405, 501}},
		{Name: "HTTP/1.0", RFC: "RFC 9112 §2.3", Send: "GET / HTTP/1.0\r\n" + host + "\r\n", Pass: true, Refuse: []int{400, 426, 505}},
		{Name: "HTTP/1.0 without Host", RFC: "RFC 9112 §3.2", Send: "GET / HTTP/1.0\r\n\r\n", Pass: true, Refuse: []int{400, 426, 505, 404}},
		{Name: "HTTP/1.2 is read as 1.1", RFC: "RFC 9110 §2.5", Send: line("GET / HTTP/1.2"), Pass: true, Refuse: []int{400, 505}},
		{Name: "HTTP/2.0", RFC: "RFC 9110 §15.6.6", Send: line("GET / HTTP/2.0"), Refuse: []int{400, 505}},
		{Name: "HTTP/9.9", RFC: "RFC 9110 §15.6.6", Send: line("GET / HTTP/9.9"), Refuse: []int{400, 505}},
		{Name: "HTTP/0.9", RFC: "RFC 9112 §3", Send: "GET /\r\n\r\n", Refuse: []int{400, 505}},
		{Name: "preface of HTTP/2", RFC: "RFC 9113 §3.4", Send: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refuse: []int{400, 505}},
		{Name: "a very long target", RFC: "RFC 9110 §4.1", Send: line("GET /" + strings.Repeat("a", 70<<10) + " HTTP/1.1"), Refuse: badOrLong},
		{Name: "a target of 8,000 bytes", RFC: "RFC 9112 §3", Send: line("GET /" + strings.Repeat("a", 7995) + " HTTP/1.1"), Pass: true},
		{Name: "a fragment", RFC: "RFC 9112 §3.2", Send: line("GET /a#b HTTP/1.1"), Pass: true, Refuse: bad},
	}
	for name, l := range map[string]string{
		"no version": "GET / ", "no target": "GET  HTTP/1.1", "two spaces before the target": "GET  / HTTP/1.1",
		"two spaces before the version": "GET /  HTTP/1.1", "a space at the end": "GET / HTTP/1.1 ", "a space in front": " GET / HTTP/1.1",
		"a tab for a space": "GET\t/\tHTTP/1.1", "a form feed for a space": "GET\x0c/\x0cHTTP/1.1", "a space in the target": "GET /a b HTTP/1.1",
		"lower-case http": "GET / http/1.1", "HTTP/1.10": "GET / HTTP/1.10", "HTTP/1": "GET / HTTP/1", "HTTP/1.": "GET / HTTP/1.", "HTTP/01.1": "GET / HTTP/01.1",
		"HTTP/1.1x": "GET / HTTP/1.1x", "HTTP /1.1": "GET / HTTP /1.1", "HTTP/1,1": "GET / HTTP/1,1", "no slash in the version": "GET / HTTP1.1",
		"a method with a colon": "GE:T / HTTP/1.1", "a method with a slash": "GE/T / HTTP/1.1", "a method with a quote": "GE\"T / HTTP/1.1",
		"a method with a NUL": "GE\x00T / HTTP/1.1", "a method with a high byte": "G\xc3\x8bT / HTTP/1.1", "a target without a slash": "GET a HTTP/1.1",
		"NUL in the target": "GET /\x00 HTTP/1.1", "CR in the target": "GET /\r HTTP/1.1", "DEL in the target": "GET /\x7f HTTP/1.1",
		"control byte in the target": "GET /\x01 HTTP/1.1", "userinfo in absolute form": "GET http://u@a.example/ HTTP/1.1",
		"absolute form without a host": "GET http:///x HTTP/1.1", "another scheme in absolute form": "GET ftp://a.example/ HTTP/1.1",
	} {
		c := refused(name, "RFC 9112 §3", line(l))
		if strings.Contains(name, "HTTP") || strings.Contains(name, "http") || strings.Contains(name, "version") {
			c.Refuse = []int{400, 505}
		}
		list = append(list, c)
	}
	return sorted(append(list,
		refused("bare LF ends the request line", "RFC 9112 §2.2", "GET / HTTP/1.1\n"+host+"\r\n"),
		refused("bare CR ends the request line", "RFC 9112 §2.2", "GET / HTTP/1.1\r"+host+"\r\n"),
		refused("garbage", "RFC 9112 §2.2", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
	))
}

func hosts() []Case {
	with := func(h string) string { return "GET / HTTP/1.1\r\n" + h + "\r\n" }
	list := []Case{
		{Name: "Host with a port", RFC: "RFC 9110 §7.2", Send: with("Host: a.example:8080\r\n"), Pass: true, Fields: map[string]string{"host": "a.example:8080"}},
		{Name: "Host is an IPv6 literal", RFC: "RFC 3986 §3.2.2", Send: with("Host: [::1]:80\r\n"), Pass: true, Fields: map[string]string{"host": "[::1]:80"}},
		{Name: "Host with an underscore", RFC: "RFC 3986 §3.2.2", Send: with("Host: a_b.example\r\n"), Pass: true, Refuse: bad},
		{Name: "Host with percent-encoding", RFC: "RFC 3986 §3.2.2", Send: with("Host: a%41.example\r\n"), Pass: true, Refuse: bad},
		{Name: "Host with an empty port", RFC: "RFC 3986 §3.2.3", Send: with("Host: a.example:\r\n"), Pass: true, Refuse: bad},
		{Name: "an empty Host", RFC: "RFC 9110 §7.2", Send: with("Host:\r\n"), Pass: true, Refuse: []int{400, 404}},
		{Name: "Host in upper case", RFC: "RFC 9110 §5.1", Send: with("HOST: A.EXAMPLE\r\n"), Pass: true},
		refused("no Host", "RFC 9112 §3.2", with("")),
		refused("two Hosts", "RFC 9112 §3.2", with("Host: a.example\r\nHost: b.example\r\n")),
		refused("the same Host twice", "RFC 9112 §3.2", with("Host: a.example\r\nHost: a.example\r\n")),
		refused("Host and a folded one", "RFC 9112 §5.2", with("Host: a.example\r\n b.example\r\n")),
		refused("a space before Host's colon", "RFC 9112 §5.1", with("Host : a.example\r\n")),
		refused("no Host, in absolute form", "RFC 9112 §3.2.2", "GET http://a.example/ HTTP/1.1\r\n\r\n"),
		refused("two Hosts, in absolute form", "RFC 9112 §3.2", "GET http://a.example/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
	}
	for name, h := range map[string]string{
		"with a space": "a b", "with a path": "a.example/x", "with userinfo": "u@a.example", "with a list": "a.example, b.example",
		"with a query": "a.example?x", "with a fragment": "a.example#x", "with a scheme": "http://a.example", "with a backslash": "a\\b",
		"with a port of letters": "a.example:x", "with a negative port": "a.example:-1", "with two ports": "a.example:80:80", "with an open bracket": "[::1",
		"with NUL": "a\x00b", "with a high byte": "\xff.example", "with a tab": "a\tb", "with angle brackets": "<a>", "with a quote": "a\"b",
	} {
		list = append(list, refused("Host "+name, "RFC 9112 §3.2", with("Host: "+h+"\r\n")))
	}
	return sorted(list)
}

func fields() []Case {
	list := []Case{
		{Name: "spaces and tabs around a value", RFC: "RFC 9112 §5", Send: get("x-a: \t v \t "), Pass: true, Fields: map[string]string{"x-a": "v"}},
		{Name: "no space after the colon", RFC: "RFC 9112 §5", Send: get("x-a:v"), Pass: true, Fields: map[string]string{"x-a": "v"}},
		{Name: "an empty value", RFC: "RFC 9110 §5.5", Send: get("x-a:"), Pass: true, Fields: map[string]string{"x-a": ""}},
		{Name: "a tab in a value", RFC: "RFC 9110 §5.5", Send: get("x-a: a\tb"), Pass: true, Fields: map[string]string{"x-a": "a\tb"}},
		{Name: "high bytes in a value", RFC: "RFC 9110 §5.5", Send: get("x-a: \x80\xff"), Pass: true, Fields: map[string]string{"x-a": "\x80\xff"}},
		{Name: "a colon in a value", RFC: "RFC 9110 §5.5", Send: get("x-a: b:c"), Pass: true, Fields: map[string]string{"x-a": "b:c"}},
		{Name: "all token bytes in a name", RFC: "RFC 9110 §5.6.2", Send: get("X!#$%&'*+-.^_`|~9: v"), Pass: true, Fields: map[string]string{"x!#$%&'*+-.^_`|~9": "v"}},
		{Name: "a field twice", RFC: "RFC 9110 §5.3", Send: get("x-a: 1", "x-a: 2"), Pass: true, Fields: map[string]string{"x-a": "1|2"}},
		{Name: "two cookies", RFC: "RFC 6265 §5.4", Send: get("Cookie: a=1", "Cookie: b=2"), Pass: true},
		{Name: "90 fields", RFC: "RFC 9110 §5.4", Send: get(numbered(90)...), Pass: true},
		{Name: "5,000 fields", RFC: "RFC 6585 §5", Send: get(numbered(5000)...), Refuse: []int{400, 431}},
		{Name: "a head of 16,000 bytes", RFC: "RFC 9110 §5.4", Send: get("x-a: "+strings.Repeat("v", 7000), "x-b: "+strings.Repeat("v", 7000)), Pass: true},
		{Name: "a head of 200,000 bytes", RFC: "RFC 6585 §5", Send: get("x-a: " + strings.Repeat("v", 200_000)), Refuse: []int{400, 431}},
		refused("a folded field", "RFC 9112 §5.2", get("x-a: b", " c")),
		refused("a field folded by a tab", "RFC 9112 §5.2", get("x-a: b", "\tc")),
		refused("a space before the first field", "RFC 9112 §2.2", "GET / HTTP/1.1\r\n x-a: b\r\n"+host+"\r\n"),
		refused("bare LF ends a field", "RFC 9112 §2.2", "GET / HTTP/1.1\r\n"+host+"x-a: b\nx-c: d\r\n\r\n"),
		refused("bare LF ends the head", "RFC 9112 §2.2", "GET / HTTP/1.1\r\n"+host+"\n"),
		refused("CR CR LF ends a field", "RFC 9112 §2.2", "GET / HTTP/1.1\r\n"+host+"x-a: b\r\r\n\r\n"),
		refused("bare CR in a value", "RFC 9110 §5.5", get("x-a: b\rc")),
		refused("bare CR before a field hides it", "RFC 9112 §2.2", get("x-a: b\rContent-Length: 5")),
		refused("no colon", "RFC 9112 §5", get("x-a")),
		refused("an empty name", "RFC 9110 §5.1", get(": v")),
		refused("a space before the colon", "RFC 9112 §5.1", get("x-a : v")),
		refused("a tab before the colon", "RFC 9112 §5.1", get("x-a\t: v")),
		refused("a space in a name", "RFC 9112 §5.1", get("x a: v")),
	}
	for _, c := range []byte("\"(),/;<=>?@[\\]{}") {
		list = append(list, refused(fmt.Sprintf("%q in a name", c), "RFC 9110 §5.6.2", get("x"+string(c)+"a: v")))
	}
	for _, c := range []byte{0x00, 0x01, 0x08, 0x0b, 0x0c, 0x1b, 0x1f, 0x7f} {
		list = append(list, refused(fmt.Sprintf("byte %#02x in a value", c), "RFC 9110 §5.5", get("x-a: b"+string(rune(c))+"c")))
		list = append(list, refused(fmt.Sprintf("byte %#02x in a name", c), "RFC 9110 §5.6.2", get("x"+string(rune(c))+"a: v")))
	}
	list = append(list, refused("a high byte in a name", "RFC 9110 §5.6.2", get("x\xffa: v")))
	return list
}

func numbered(n int) []string {
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf("x-%d: %d", i, i))
	}
	return lines
}

// sorted makes the order of what came from a map the same each time.
func sorted(list []Case) []Case {
	slices.SortStableFunc(list, func(a, b Case) int { return strings.Compare(a.Name, b.Name) })
	return list
}
