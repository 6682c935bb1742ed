// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// answer is a 200 with the given field lines.
func answer(lines ...string) string {
	return "HTTP/1.1 200 OK\r\n" + strings.Join(append(lines, "", ""), "\r\n")
}

var responseCases = []wireCase{
	{"9112 §4", answer("Content-Length: 2") + "hi!", `200 "OK" 2 "hi" rest "!"`},
	{"9112 §4", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", `200 ""`},
	{"9112 §4", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", `200 ""`},
	{"9112 §4", "HTTP/1.1 299 a\tb \xe9 c\r\nContent-Length: 0\r\n\r\n", "299 \"a\\tb \\xe9 c\""},
	{"9112 §4", "HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", `999 "x"`},
	{"9112 §4", "", `! 502 connection ended without an answer`},
	{"9112 §8", "HTTP/1.1 200 OK\r\nX: y\r\n", `! 502 connection ended within an answer's head`},
	{"9112 §4", "HTTP/1.1 099 x\r\n\r\n", `! 502 bad status in the status line`},
	{"9112 §4", "HTTP/1.1 20 x\r\n\r\n", `! 502 bad status in the status line`},
	{"9112 §4", "HTTP/1.1 2000 x\r\n\r\n", `! 502 byte "0" after the status`},
	{"9112 §4", "HTTP/1.1  200 x\r\n\r\n", `! 502 bad status in the status line`},
	{"9112 §4", "HTTP/1.1 200 a\rb\r\n\r\n", `! 502 byte "\r" in the reason phrase`},
	{"9112 §4", "HTTP/1.1 200 a\x00b\r\n\r\n", `! 502 byte "\x00" in the reason phrase`},
	{"9112 §2.2", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", `! 502 byte "\n" in the reason phrase`},
	{"9112 §2.2", "\r\n" + answer(), `! 502 byte "\r" before the status line`},
	{"9112 §2.3", "HTTP/2.0 200 OK\r\n\r\n", `! 502 bad version in the status line`},
	{"9112 §2.3", "HTTP/1.2 200 OK\r\n\r\n", `! 502 bad version in the status line`},
	{"9112 §2.3", "HTTP/1.10 200 OK\r\n\r\n", `! 502 bad version in the status line`},
	{"9112 §2.3", "HTTP 200 OK\r\n\r\n", `! 502 bad version in the status line`},
	{"9112 §2.3", "ICY 200 OK\r\n\r\n", `! 502 byte "I" before the status line`},
	{"9112 §5", answer("X: y", "Content-Length: 0", "Server: z"), `200 "OK" {X: y|Server: z}`},
	{"9112 §5.1", answer("X : y"), `! 502 whitespace after the field name "X"`},
	{"9112 §5.2", answer("X: y", " z"), `! 502 line folding`},
	{"9110 §5.5", answer("X: y\x00"), `! 502 control byte in the value of "X"`},
	// Framing.
	{"9112 §6.3", answer() + "hello", `200 "OK" unknown close eof "hello"`},
	{"9112 §6.3", answer(), `200 "OK" unknown close eof`},
	{"9112 §6.3", answer("Connection: keep-alive") + "x", `200 "OK" unknown close keep eof "x"`},
	{"9112 §8", answer("Content-Length: 3") + "hi", `200 "OK" 3 "hi" ! 502 connection ended within an answer's body`},
	{"9112 §6.3", answer("Content-Length: 3", "Content-Length: 3"), `! 502 two content-length fields`},
	{"9112 §6.3", answer("Content-Length: 3, 3"), `! 502 content-length "3, 3"`},
	{"9112 §6.1", answer("Content-Length: 3", "Transfer-Encoding: chunked"),
		`! 502 content-length and transfer-encoding`},
	{"9112 §6.1", answer("Transfer-Encoding: gzip, chunked"), `! 502 transfer-encoding "gzip, chunked"`},
	{"9112 §6.1", answer("Transfer-Encoding: gzip"), `! 502 transfer-encoding "gzip"`},
	{"9112 §6.1", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", `! 502 transfer-encoding in http/1.0`},
	{"9112 §7.1", answer("Transfer-Encoding: chunked") + "2\r\nhi\r\n0\r\nT: v\r\nContent-Length: 9\r\n\r\nx",
		`200 "OK" unknown "hi" trailers {T: v} rest "x"`},
	{"9112 §7.1", answer("Transfer-Encoding: chunked") + "2\r\nhi\r\n0\r\n",
		`200 "OK" unknown "hi" ! 502 connection ended within an answer's body`},
	{"9112 §7.1", answer("Transfer-Encoding: chunked") + "x", `200 "OK" unknown ! 502 no chunk size`},
	{"9112 §9.3", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", `200 "OK" 1 1.0 close "x"`},
	{"9112 §9.3", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx", `200 "OK" 1 1.0 keep "x"`},
	{"9112 §9.6", answer("Content-Length: 1", "Connection: close") + "x", `200 "OK" 1 close "x"`},
	{"9110 §7.6.1", answer("Content-Length: 0", "Connection: x", "X: y", "Keep-Alive: timeout=5", "TE: trailers",
		"Upgrade: h2c"),
		`200 "OK"`},
	// No body, whatever the fields say.
	{"9112 §6.3", "HTTP/1.1 204 No Content\r\n\r\nx", `204 "No Content" rest "x"`},
	// And where they say that there is one, it may follow later: the connection is not used again.
	{"9110 §8.6", "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\nx", `204 "No Content" close rest "x"`},
	{"9110 §8.6", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", `204 "No Content"`},
	{"9112 §6.1", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0", `204 "No Content" close rest "0"`},
	{"9112 §6.3", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\nx", `304 "Not Modified" rest "x"`},
	{"9112 §6.3", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"e\"\r\n\r\n",
		`304 "Not Modified" {ETag: "e"}`},
	{"9112 §6.1", "HTTP/1.1 304 x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		`! 502 content-length and transfer-encoding`},
	{"9110 §15.3.6", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", `205 "Reset Content"`},
	// Interim answers.
	{"9110 §15.2.1", "HTTP/1.1 100 Continue\r\n\r\n" + answer("Content-Length: 1") + "x",
		`100 "Continue" 200 "OK" 1 "x"`},
	{"8297 §2", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n" + answer("Content-Length: 0"),
		`103 "Early Hints" {Link: </a>} 200 "OK"`},
	{"9110 §15.2.2", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		`! 502 switching protocols without being asked`},
	{"9110 §15.2", strings.Repeat("HTTP/1.1 102 \r\n\r\n", MaxInterim) + answer("Content-Length: 0"),
		strings.Repeat(`102 "" `, MaxInterim) + `200 "OK"`},
	{"9110 §15.2", strings.Repeat("HTTP/1.1 102 \r\n\r\n", MaxInterim+1) + answer("Content-Length: 0"),
		strings.Repeat(`102 "" `, MaxInterim) + `! 502 too many interim answers`},
	{"9112 §8", "HTTP/1.1 100 Continue\r\n\r\n", `100 "Continue" ! 502 connection ended within an answer's head`},
	// Limits.
	{"9110 §5.4", answer("Content-Length: 0", "X: "+strings.Repeat("y", DefaultMaxHead-len(answer("Content-Length: 0",
		"X: ")))),
		`200 "OK" {1 fields}`},
	{"9110 §5.4", answer("Content-Length: 0", "X: "+strings.Repeat("y", DefaultMaxHead-len(answer("Content-Length: 0",
		"X: "))+1)),
		`! 502 head over its limit`},
	{"9110 §5.4", answer(strings.Repeat("X: y\r\n", 100) + "X: y"), `! 502 too many fields`},
}

func TestAnswersAreReadAsTheStandardSays(t *testing.T) {
	for _, c := range responseCases {
		got := everyWay(t, []byte(c.in), func(pieces [][]byte) string { return responseTranscript(t, pieces, false) })
		if got != c.want {
			t.Errorf("RFC %s: %.200q\n got %s\nwant %s", c.rule, c.in, got, c.want)
		}
	}
}

func TestAnswersToHeadHaveNoBody(t *testing.T) {
	for _, c := range []wireCase{
		{"9112 §6.3", answer("Content-Length: 5") + "x", `200 "OK" rest "x"`},
		{"9112 §6.3", answer("Transfer-Encoding: chunked") + "x", `200 "OK" rest "x"`},
		{"9112 §6.3", answer(), `200 "OK"`},
		{"9112 §6.3", "HTTP/1.1 103 \r\n\r\n" + answer("Content-Length: 5"), `103 "" 200 "OK"`},
		{"9112 §6.3", answer("Content-Length: 5, 5"), `! 502 content-length "5, 5"`},
	} {
		got := everyWay(t, []byte(c.in), func(pieces [][]byte) string { return responseTranscript(t, pieces, true) })
		if got != c.want {
			t.Errorf("RFC %s: %q\n got %s\nwant %s", c.rule, c.in, got, c.want)
		}
	}
}

func TestThereAreEnoughCases(t *testing.T) {
	if n := len(requestCases) + len(responseCases); n < 120 {
		t.Errorf("%d cases, want at least 120", n)
	}
}

func TestEmptyTellsAnIdleConnectionFromAMessage(t *testing.T) {
	var h codec.Head
	var req RequestDecoder
	req.Reset(&h)
	for _, step := range []struct {
		in    string
		empty bool
	}{{"", true}, {"\r", true}, {"\n", true}, {"G", false}, {"ET / HTTP/1.1\r\n", false}} {
		if _, _, err := req.Next([]byte(step.in)); err != nil || req.Empty() != step.empty {
			t.Errorf("after %q: Empty = %v, error %v", step.in, req.Empty(), err)
		}
	}
	h.Reset()
	req.Reset(&h)
	if !req.Empty() {
		t.Error("not empty after Reset")
	}
	var resp ResponseDecoder
	h.Reset()
	resp.Reset(&h, false)
	if _, _, err := resp.Next(nil); err != nil || !resp.Empty() {
		t.Errorf("no byte: Empty = %v, error %v", resp.Empty(), err)
	}
	if _, _, err := resp.Next([]byte("HTTP/1.1 100 \r\n\r\n")); err != nil || resp.Empty() {
		t.Errorf("an interim answer: Empty = %v, error %v", resp.Empty(), err)
	}
}

func TestLimitsAreSettings(t *testing.T) {
	in := []byte(with("X: y"))
	for _, c := range []struct{ bytes, fields, status int }{
		{len(in), 2, 0}, {len(in) - 1, 2, 431}, {len(in), 1, 431}, {0, 0, 0},
	} {
		var h codec.Head
		d := RequestDecoder{MaxHead: c.bytes, MaxFields: c.fields}
		d.Reset(&h)
		_, _, err := d.Next(in)
		if status := statusOf(err); status != c.status {
			t.Errorf("%d bytes, %d fields: status %d, want %d", c.bytes, c.fields, status, c.status)
		}
	}
}

func statusOf(err *codec.Error) int {
	if err == nil {
		return 0
	}
	return err.Status
}
