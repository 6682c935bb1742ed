// SPDX-License-Identifier: Apache-2.0

package strict

import (
	"fmt"
	"strings"
)

// Odd is a request that is unusual, and right: it must travel as it is.
type Odd struct {
	Name string
	Line string // method and target
	Host string
	// Fields are whole lines, without CRLF; Body is sent with a length, or in chunks of Chunk bytes if that is not 0.
	Fields []string
	Body   string
	Chunk  int
}

// Odds are all of them, each name once.
func Odds() []Odd {
	list := []Odd{
		{Name: "a body of 64 MiB", Line: "POST /", Body: strings.Repeat("0123456789abcdef", 4<<20)},
		{Name: "a body of 64 MiB in chunks", Line: "POST /", Body: strings.Repeat("0123456789abcdef", 4<<20), Chunk: 100_000},
		{Name: "chunks of one byte", Line: "POST /", Body: strings.Repeat("c", 5000), Chunk: 1},
		{Name: "a head of 59 KiB", Line: "GET /", Fields: []string{"x-long: " + strings.Repeat("l", 59<<10)}},
		{Name: "a target of 59 KiB", Line: "GET /" + strings.Repeat("t", 59<<10)},
		{Name: "90 fields", Line: "GET /", Fields: numbered(90)},
		{Name: "a body with every byte", Line: "POST /", Body: everyByte()},
		{Name: "GET with a body", Line: "GET /", Body: "hello"},
		{Name: "DELETE with a body", Line: "DELETE /", Body: "hello"},
		{Name: "an empty body", Line: "POST /", Fields: []string{"Content-Length: 0"}},
		{Name: "an empty body in chunks", Line: "POST /", Fields: []string{"Transfer-Encoding: chunked"}, Chunk: 1},
	}
	add := func(what string, o Odd) {
		o.Name = fmt.Sprintf("%s: %.60q", what, o.Line+strings.Join(o.Fields, ""))
		list = append(list, o)
	}
	for _, target := range []string{
		"/%2e", "/%2E%2e/", "/a/%2e%2e/b", "/a/../b", "/a/./b", "/./", "/../", "//", "///a//b", "/a//", "/%00", "/%0d%0aX:1", "/%20", "/+", "/;", "/a;b=c;d",
		"/;/..;/", "/a,b", "/%2f", "/%2F%5c", "/%ff%fe", "/%c3%a9", "/%25", "/%252e", "/%", "/%z", "/%4", "/~u", "/a=b&c", "/(a)", "/!*'", "/@", "/:", "/a:80",
		"/?", "/??", "/?a", "/?a=", "/?=b", "/?a=b&a=c", "/?a;b", "/?%00", "/?a=%26", "/?/", "/?//", "/?a?b", "/?[]", "/?a[]=1", "/?q={x}", "/?q=100%", "/?%zz", "/?q=\"x\"", "/?q=<x>",
		"/{a}", "/[a]", "/|", "/^", "/`", "/\\", "/a\\b", "/\"", "/<a>", "/?a=b|c", "/?^", "/?`", "/?\\",
		"/?q=1'+OR+'1'='1", "/?q=';DROP+TABLE+t;--", "/?q=1+UNION+SELECT+*", "/?q=${jndi:ldap://x/y}", "/?q=%24%7Bjndi%3Aldap%7D", "/${jndi:ldap:x}",
		"/?q=<script>alert(1)</script>", "/?q=%3Cscript%3E", "/?q=javascript:alert(1)", "/etc/passwd", "/..%2f..%2fetc/passwd", "/.git/config", "/cgi-bin/;id", "/?q=$(id)", "/?q=`id`",
		"/?q=../../x", "/robots.txt", "/favicon.ico", "/.well-known/x", "/a.b.c", "/A/B", "/index.php?x[]=1&x[]=2", "/*", "/**", "/a*b", "/-", "/_", "/.", "/..", "/...",
		"/" + strings.Repeat("a/", 500), "/?" + strings.Repeat("a=b&", 500),
	} {
		add("target", Odd{Line: "GET " + target})
	}
	for c := 0x80; c <= 0xff; c += 3 {
		add("byte in a value", Odd{Line: "GET /", Fields: []string{"X-Byte: a" + string([]byte{byte(c)}) + "b"}})
	}
	for _, f := range []string{
		"X-Empty:", "x: y", "X-TAB: a\tb", "X-Quote: \"a\"", "X-Comma: a,,b,", "X-Semi: a;b;", "X-Equals: ===", "X-Percent: %00%zz", "X-Paren: (a", "X-Angle: <a>", "X-Brace: {a}",
		"X-Sql: ' OR 1=1 --", "X-Jndi: ${jndi:ldap://x/y}", "X-Xss: <script>alert(1)</script>", "X-Shell: $(id)`id`", "X-Utf8: \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "X-Latin: \xe9", "X-Invalid: \xc0\x80",
		"Cookie: a=b; c=d", "Cookie: a", "Cookie: =", "Cookie: a=b;c=d;;", "Cookie: a=\"b c\"", "Authorization: Basic Og==", "Authorization: Bearer x.y.z", "Accept: */*;q=0.1", "Accept-Encoding: gzip, br;q=0", "Accept-Language: *",
		"Range: bytes=0-0,-1", "If-Match: *", "If-None-Match: W/\"a\", \"b\"", "If-Modified-Since: x", "Referer: http://a.example/b?c", "Origin: null", "Origin: http://evil.example", "User-Agent: ", "User-Agent: () { :; }; id",
		"From: a@b", "Max-Forwards: 0", "Via: 1.1 a, 1.0 b", "Forwarded: for=\"[::1]:80\";by=_x", "X-Real-IP: 127.0.0.1", "X-Forwarded-Host: evil.example", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X-HTTP-Method-Override: DELETE",
		"X_Under_Score: v", "X.Dot: v", "X~Tilde: v", "!: v", "1: v", "X-Very-Long-Name-" + strings.Repeat("n", 1000) + ": v", "Content-Type: multipart/form-data; boundary=x", "Content-Encoding: gzip", "Content-Language: x", "Content-MD5: x",
		"Content-Range: bytes 0-1/2", "Content-Location: /x", "Date: x", "Warning: 199 - x", "Pragma: no-cache", "Cache-Control: no-store, x=\"y\"", "Expires: 0", "Age: -1", "Server: s", "Set-Cookie: a=b", "Location: /x", "Allow: GET", "Retry-After: x",
		"DNT: 1", "Sec-Fetch-Mode: cors", "Sec-WebSocket-Key: x", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "B3: 0", "X-B3-TraceId: 1", "Grpc-Timeout: 1S", "Http2-Settings-X: v", "Proxy-Authorization: Basic x", "Early-Data: 1",
	} {
		add("field", Odd{Line: "GET /", Fields: []string{f}})
	}
	for _, f := range [][]string{
		{"x-a: 1", "x-a: 2"}, {"X-A: 1", "x-a: 2", "x-A: 1"}, {"Cookie: a=1", "Cookie: b=2"}, {"x-a: 1", "x-b: 2", "x-a: 3"}, {"x-a:", "x-a:"}, {"Accept: a", "Accept: b"}, {"Via: 1.1 a", "Via: 1.1 b"},
	} {
		add("repeated fields", Odd{Line: "GET /", Fields: f})
	}
	for _, m := range []string{"OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "M-SEARCH", "BREW", "get", "X", "A!#$%&'*+-.^_`|~", strings.Repeat("M", 20), "QUERY", "PURGE"} {
		add("method", Odd{Line: m + " /m"})
	}
	for _, h := range []string{"a.example:80", "a.example:65535", "A.Example", "a_b.example", "xn--e1afmkfd.example", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080", "[fe80::1]", "a", "a.", "1", "a-b", strings.Repeat("h", 250)} {
		o := Odd{Line: "GET /", Host: h}
		o.Name = "host " + h[:min(len(h), 30)]
		list = append(list, o)
	}
	for n := range 24 {
		body := strings.Repeat("b", 1<<n-n%3)
		if n < 18 {
			list = append(list, Odd{Name: fmt.Sprintf("a body of %d bytes", len(body)), Line: "POST /", Body: body},
				Odd{Name: fmt.Sprintf("a body of %d bytes in chunks", len(body)), Line: "POST /", Body: body, Chunk: 1 + len(body)/7})
		}
	}
	return list
}

func everyByte() string {
	b := make([]byte, 1024)
	for i := range b {
		b[i] = byte(i)
	}
	return string(b)
}

// Wire is the request as a client sends it.
func (o *Odd) Wire() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s HTTP/1.1\r\nHost: %s\r\n%s", o.Line, o.host(), joined(o.Fields))
	switch {
	case o.Chunk > 0:
		if o.Body != "" {
			b.WriteString("Transfer-Encoding: chunked\r\n")
		}
		b.WriteString("\r\n")
		for at := 0; at < len(o.Body); at += o.Chunk {
			part := o.Body[at:min(at+o.Chunk, len(o.Body))]
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(part), part)
		}
		b.WriteString("0\r\n\r\n")
	case o.Body != "":
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(o.Body), o.Body)
	default:
		b.WriteString("\r\n")
	}
	return b.String()
}

func (o *Odd) host() string {
	if o.Host == "" {
		return "a.example"
	}
	return o.Host
}

// The fields that a gateway adds on the way to production, and on the way to a mirror besides (docs/reference.md). Framing
// fields say the same in other words.
var (
	added = []string{
		"host", "content-length", "transfer-encoding", "x-forwarded-for", "x-forwarded-proto", "x-envoy-external-address", "x-request-id",
		"x-envoy-attempt-count",
	}
	addedToCopies = append([]string{"x-envoy-internal", "x-umbra-mirror-hops"}, added...)
)

// Same tells in what g differs from what was sent, but for the fields that a proxy adds; "" if in nothing. copied is the
// mirror's side.
func (o *Odd) Same(g *Got, copied bool) string {
	drop, host := added, o.host()
	if copied {
		drop = addedToCopies
		end := len(host)
		if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
			end = colon
		}
		host = host[:end] + "-shadow" + host[end:]
	}
	if g.Faulty != "" {
		return "not HTTP/1.1: " + g.Faulty
	}
	if g.Line() != o.Line+" HTTP/1.1" {
		return fmt.Sprintf("the request line is %.100q", g.Line())
	}
	if got, _ := g.Field("host"); got != host {
		return fmt.Sprintf("the Host is %q, want %q", got, host)
	}
	if g.Body != o.Body {
		return fmt.Sprintf("the body has %d bytes, want %d, or others", len(g.Body), len(o.Body))
	}
	var got, want []string
	for _, l := range strings.Split(strings.TrimSuffix(g.Head, "\r\n\r\n"), "\r\n")[1:] {
		if !among(drop, l) {
			got = append(got, l)
		}
	}
	for _, l := range o.Fields {
		if !among(drop, l) {
			want = append(want, spaced(l))
		}
	}
	if have, want := strings.Join(got, "\n"), strings.Join(want, "\n"); have != want {
		return fmt.Sprintf("the fields are\n%.300q, want\n%.300q", have, want)
	}
	return ""
}

func among(names []string, line string) bool {
	name, _, _ := strings.Cut(line, ":")
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// spaced writes a field with one space after its colon and none at its end: the space around a value is no part of it
// (RFC 9112 §5).
func spaced(line string) string {
	name, value, _ := strings.Cut(line, ":")
	return name + ": " + strings.Trim(value, " \t")
}
