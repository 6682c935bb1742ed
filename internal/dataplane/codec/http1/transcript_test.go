// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// A transcript is all that a decoder told about one message, in one line, such as
//
//	POST /x?y a:80 chunked close {Name: value|Name: value} "body" trailers {T: v} rest "bytes that were not used"
//
// Removed fields, Host and Content-Length do not show. "..." stands where more bytes are needed, "! 400 why" for an
// error, "eof" behind what the connection's end completed.

type decoder interface {
	Next(b []byte) (Event, int, *codec.Error)
	Body() []byte
	Trailers() []codec.Field
}

// parts cuts in into the pieces a decoder is to be fed.
func parts(in []byte, cuts ...int) [][]byte {
	var out [][]byte
	at := 0
	for _, c := range cuts {
		out = append(out, in[at:c])
		at = c
	}
	return append(out, in[at:])
}

func bytewise(in []byte) [][]byte {
	var out [][]byte
	for i := range in {
		out = append(out, in[i:i+1])
	}
	return out
}

func requestTranscript(t testing.TB, pieces [][]byte) string {
	var h codec.Head
	var d RequestDecoder
	d.Reset(&h)
	return transcript(t, &d, pieces, &h, requestHead, nil)
}

func responseTranscript(t testing.TB, pieces [][]byte, toHead bool) string {
	var h codec.Head
	var d ResponseDecoder
	d.Reset(&h, toHead)
	return transcript(t, &d, pieces, &h, responseHead, d.EOF)
}

func transcript(t testing.TB, d decoder, pieces [][]byte, h *codec.Head, head func(*codec.Head) string,
	eof func() (Event, *codec.Error)) string {
	var out strings.Builder
	var body, rest []byte
	fail := func(err *codec.Error) string {
		if _, n, again := d.Next([]byte("x")); again != err || n != 0 {
			t.Errorf("the error %q is followed by %v", err, again)
		}
		flush(&out, body)
		fmt.Fprintf(&out, " ! %d %s", err.Status, err.Reason)
		return strings.TrimSpace(out.String())
	}
	end := func() string {
		flush(&out, body)
		if list := d.Trailers(); len(list) > 0 {
			out.WriteString(" trailers" + fieldList(list))
		}
		if len(rest) > 0 {
			fmt.Fprintf(&out, " rest %q", rest)
		}
		return strings.TrimSpace(out.String())
	}
	for i, b := range pieces {
		for {
			ev, n, err := d.Next(b)
			if n < 0 || n > len(b) || ev == More && err == nil && n != len(b) {
				t.Fatalf("event %d used %d of %d bytes", ev, n, len(b))
			}
			if err != nil {
				return fail(err)
			}
			b = b[n:]
			if ev == More {
				break
			}
			switch ev {
			case HeadDone:
				if cap(h.Buf)-len(h.Buf) < 512 {
					t.Errorf("%d bytes of room in Buf", cap(h.Buf)-len(h.Buf))
				}
				out.WriteString(" " + head(h))
				if h.Method == nil && h.Status < 200 {
					h.Reset()
				}
			case Data:
				if len(d.Body()) == 0 {
					t.Error("data without data")
				}
				body = append(body, d.Body()...)
			case End:
				rest = append(bytes.Clone(b), bytes.Join(pieces[i+1:], nil)...)
				return end()
			}
		}
	}
	if ev, n, err := d.Next(nil); err != nil || n != 0 {
		t.Errorf("Next(nil) = %d, %d, %v", ev, n, err)
	} else if ev == End {
		return end()
	}
	if eof != nil {
		ev, err := eof()
		if err != nil {
			return fail(err)
		}
		if ev != End {
			t.Errorf("event %d at the connection's end", ev)
		}
		out.WriteString(" eof")
		return end()
	}
	flush(&out, body)
	return strings.TrimSpace(out.String() + " ...")
}

func flush(out *strings.Builder, body []byte) {
	if len(body) > 200 {
		fmt.Fprintf(out, " body of %d", len(body))
	} else if len(body) > 0 {
		fmt.Fprintf(out, " %q", body)
	}
}

func requestHead(h *codec.Head) string {
	out := fmt.Sprintf("%s %s %s", h.Method, h.Target, h.Authority) + common(h)
	if h.IsHead != (string(h.Method) == "HEAD") {
		out += " wrong IsHead"
	}
	return out + fieldList(h.Fields)
}

func responseHead(h *codec.Head) string {
	return fmt.Sprintf("%d %q", h.Status, h.Reason) + common(h) + fieldList(h.Fields)
}

func common(h *codec.Head) (out string) {
	say := func(ok bool, word string) {
		if ok {
			out += " " + word
		}
	}
	say(h.Length < 0, "unknown")
	say(h.Length > 0, fmt.Sprint(h.Length))
	say(h.Minor == 0, "1.0")
	say(h.Close, "close")
	say(h.KeepAlive, "keep")
	say(h.ExpectContinue, "expect")
	say(h.Upgrade, "upgrade")
	return out
}

func fieldList(fields []codec.Field) string {
	var list []string
	for _, f := range fields {
		if f.Name != nil && f.ID != codec.Host && f.ID != codec.ContentLength {
			list = append(list, fmt.Sprintf("%s: %s", f.Name, f.Value))
		}
	}
	if list == nil {
		return ""
	}
	out := strings.Join(list, "|")
	if len(out) > 300 {
		out = fmt.Sprintf("%d fields", len(list))
	}
	return " {" + out + "}"
}

// everyWay feeds in whole, byte by byte, and cut in two everywhere, with empty pieces between, and wants the same said
// each time. (Long inputs are cut in two near their ends and at some places between.)
func everyWay(t *testing.T, in []byte, run func(pieces [][]byte) string) string {
	t.Helper()
	whole := run([][]byte{in})
	if got := run(bytewise(in)); got != whole {
		t.Errorf("byte by byte\n got %s\nwant %s", got, whole)
	}
	for cut := 1; cut < len(in); cut++ {
		if len(in) > 2000 && cut > 200 && cut < len(in)-200 && cut%997 != 0 {
			continue
		}
		if got := run(parts(in, cut, cut)); got != whole {
			t.Errorf("cut at %d\n got %s\nwant %s", cut, got, whole)
		}
	}
	return whole
}
