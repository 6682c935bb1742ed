// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// What an answer took that is large is let go of when the answer is done with: nothing that is kept lies in it.
func TestLargeHeadsAndTrailersAreLetGoOf(t *testing.T) {
	many := strings.Repeat("X-Field: "+strings.Repeat("x", 4000)+"\r\n", 14)
	var d ResponseDecoder
	h := &codec.Head{}
	var pieces []weak.Pointer[byte]
	next := func(text string) (ev Event) {
		for len(text) > 0 { // in pieces, so that memory is outgrown in which fields lie
			n := min(len(text), 1000)
			var err *codec.Error
			if ev, _, err = d.Next([]byte(text[:n])); err != nil {
				t.Fatal(err)
			}
			text = text[n:]
			for _, buf := range [][]byte{h.Buf, d.body.buf} {
				if cap(buf) > 8<<10 {
					pieces = append(pieces, weak.Make(&buf[:1][0]))
				}
			}
		}
		return ev
	}
	gone := func(what string) {
		t.Helper()
		runtime.GC()
		for _, p := range pieces {
			if p.Value() != nil {
				t.Errorf("%s are held", what)
				break
			}
		}
		if len(pieces) == 0 || d.Held() != 0 {
			t.Errorf("%s: %d pieces were large, %d bytes counted", what, len(pieces), d.Held())
		}
		pieces = nil
	}
	d.Reset(h, false)
	if next("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + many); d.Held() < len(many) {
		t.Errorf("%d bytes of a head count as %d", len(many), d.Held())
	}
	if ev := next("\r\n"); ev != HeadDone {
		t.Fatal(ev)
	}
	h.Reset()
	gone("a head's fields")
	if next("0\r\n" + many); d.Held() < len(many) {
		t.Errorf("%d bytes of trailers count as %d", len(many), d.Held())
	}
	if ev := next("\r\n"); ev != End || len(d.Trailers()) != 14 {
		t.Fatal(ev, len(d.Trailers()))
	}
	d.Free()
	gone("trailers")
	runtime.KeepAlive(h)
}
