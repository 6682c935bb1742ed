// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

func TestNothingIsAllocatedOnceWarm(t *testing.T) {
	var h codec.Head
	var d RequestDecoder
	message := []byte(chunked("5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nT: v\r\n\r\n"))
	whole := func() {
		h.Reset()
		d.Reset(&h)
		for b := message; ; {
			ev, n, err := d.Next(b)
			if err != nil || ev == More {
				t.Fatalf("event %d, error %v", ev, err)
			}
			if b = b[n:]; ev == End {
				return
			}
		}
	}
	split := func() {
		h.Reset()
		d.Reset(&h)
		for i := range message {
			for b := message[i : i+1]; len(b) > 0; {
				_, n, err := d.Next(b)
				if err != nil {
					t.Fatal(err)
				}
				b = b[n:]
			}
		}
	}
	many := with(strings.Repeat("Some-Field: "+strings.Repeat("v", 40)+"\r\n", 98) + "X: y")
	for name, f := range map[string]func(){
		"request head":                  rewrite(t, []byte(head200)),
		"request head with 21 fields":   rewrite(t, []byte(head21Fields)),
		"answer head":                   rewriteAnswer(t, []byte(answerHead)),
		"chunked message with trailers": whole,
		"chunked message, byte by byte": split,
		"request with options and te": rewrite(t, []byte(with("Connection: close, x", "X: y", "TE: trailers",
			"Upgrade: u"))),
		"request for an absolute target":   rewrite(t, []byte(target("GET", "http://b?c"))),
		"request with 100 fields in 6 KiB": rewrite(t, []byte(many)),
	} {
		f()
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// Buffers grow by doubling, so that a head that comes in small pieces costs no more than a few times its size.
func TestAHeadByteByByteTakesFewBuffers(t *testing.T) {
	in := []byte(with("X: " + strings.Repeat("y", 50<<10)))
	n := testing.AllocsPerRun(5, func() {
		var h codec.Head
		var d RequestDecoder
		d.Reset(&h)
		for i := range in {
			if _, _, err := d.Next(in[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
	})
	if n > 12 {
		t.Errorf("%v allocations for %d bytes", n, len(in))
	}
}

func TestDecodersKeepNoMemoryOfBigTrailers(t *testing.T) {
	var h codec.Head
	var d RequestDecoder
	d.Reset(&h)
	for b := []byte(chunked("0\r\n" + strings.Repeat("X: "+strings.Repeat("y", 100)+"\r\n", 50) + "\r\n")); ; {
		ev, n, err := d.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		if b = b[n:]; ev == End {
			break
		}
	}
	if len(d.Trailers()) != 50 {
		t.Fatalf("%d trailers", len(d.Trailers()))
	}
	d.Reset(&h)
	if d.body.buf != nil || d.body.fields != nil {
		t.Errorf("%d bytes and %d fields kept", cap(d.body.buf), cap(d.body.fields))
	}
}

func TestBodyBytesAreNotCopied(t *testing.T) {
	in := []byte(with("Content-Length: 5") + "hello")
	var h codec.Head
	var d RequestDecoder
	d.Reset(&h)
	_, n, _ := d.Next(in)
	if ev, _, err := d.Next(in[n:]); ev != Data || err != nil || &d.Body()[0] != &in[n] {
		t.Errorf("event %d, error %v: the body is not a slice of what was given", ev, err)
	}
	if cap(d.Body()) != 5 {
		t.Errorf("the body has room for %d bytes, appending would overwrite what follows", cap(d.Body()))
	}
}

func TestRequestsOnOneConnectionAreToldApart(t *testing.T) {
	in := []byte(with("Content-Length: 2") + "hi" + "\r\n" + chunked("1\r\nx\r\n0\r\n\r\n") + with())
	var h codec.Head
	var d RequestDecoder
	var bodies []string
	for len(in) > 0 {
		h.Reset()
		d.Reset(&h)
		body := ""
		for done := false; !done; {
			ev, n, err := d.Next(in)
			if err != nil || ev == More {
				t.Fatalf("event %d, error %v", ev, err)
			}
			in = in[n:]
			if done = ev == End; ev == Data {
				body += string(d.Body())
			}
		}
		bodies = append(bodies, body)
	}
	if got := strings.Join(bodies, ","); got != "hi,x," {
		t.Errorf("bodies %q", got)
	}
}

func TestAHeadThatHoldsBytesKeepsThem(t *testing.T) {
	for in, want := range map[string]int{with("X: y"): 0, "GET a\r\n\r\n": 400, with("X : y"): 400, with() + "rest": 0} {
		h := codec.Head{Buf: []byte("kept")}
		var d RequestDecoder
		d.Reset(&h)
		_, n, err := d.Next([]byte(in))
		if statusOf(err) != want || n < 0 || !strings.HasPrefix(string(h.Buf), "kept") {
			t.Errorf("%q: error %v after %d bytes, Buf %q", in, err, n, h.Buf)
		}
	}
}
