// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const (
	get  = "GET /a HTTP/1.1\r\nHost: x-shadow:80\r\nCookie: c\r\n\r\n"
	post = "POST /b?q HTTP/1.1\r\nhost: x\r\ncontent-LENGTH: 5\r\n\r\nhello"
)

func feedAll(t *testing.T, pieces ...string) (*stream, *tallies, []byte) {
	t.Helper()
	s, counts, out := new(stream), newTallies(), []byte(nil)
	for _, p := range pieces {
		var err error
		if out, err = s.feed([]byte(p), out, counts); err != nil {
			t.Fatalf("feed %q: %v", p, err)
		}
	}
	return s, counts, out
}

func TestCountsAreTheSameHoweverTheBytesArrive(t *testing.T) {
	check := func(pieces ...string) {
		t.Helper()
		s, counts, out := feedAll(t, pieces...)
		if a := counts.paths["/a"]; a == nil || a.seen != (Seen{Requests: 2, Shadow: 2}) {
			t.Fatalf("in %d pieces: /a: %+v", len(pieces), a)
		}
		if b := counts.paths["/b?q"]; b == nil || b.seen != (Seen{Requests: 1, Bytes: 5}) {
			t.Fatalf("in %d pieces: /b?q: %+v", len(pieces), b)
		}
		if n := bytes.Count(out, answer); n != 3 || len(out) != 3*len(answer) {
			t.Fatalf("in %d pieces: %d answers in %d bytes", len(pieces), n, len(out))
		}
		if s.midway() {
			t.Fatalf("in %d pieces: midway at the end", len(pieces))
		}
	}
	all := get + post + get
	check(all)
	check(strings.Split(all, "")...)
	for i := range all {
		check(all[:i], all[i:])
	}
}

func TestRequestCountsOnlyWithItsLastByte(t *testing.T) {
	for i := 1; i < len(post); i++ {
		s, counts, out := feedAll(t, post[:i])
		if c := counts.paths["/b?q"]; c != nil && c.seen != (Seen{}) {
			t.Fatalf("after %d bytes: %+v", i, c.seen)
		}
		if !s.midway() || len(out) != 0 {
			t.Fatalf("after %d bytes: midway %v, answered %q", i, s.midway(), out)
		}
	}
}

func TestAskingIsAnsweredAndNotCounted(t *testing.T) {
	_, _, out := feedAll(t, get+"GET "+CountPath+" HTTP/1.1\r\nHost: x\r\n\r\n")
	_, body, ok := strings.Cut(strings.TrimPrefix(string(out), string(answer)), "\r\n\r\n")
	var c Counts
	if err := json.Unmarshal([]byte(body), &c); !ok || err != nil {
		t.Fatalf("answer %q: %v", out, err)
	}
	if len(c.Paths) != 1 || c.Paths["/a"] != (Seen{Requests: 1, Shadow: 1}) || c.Broken != 0 {
		t.Errorf("counts are %+v", c)
	}
}

func TestWhatTheLoadNeverSendsIsRefused(t *testing.T) {
	for _, in := range []string{
		"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST /b HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"POST /b HTTP/1.1\r\nContent-Length: x\r\n\r\n",
		"GET\r\n\r\n",
		"\r\n\r\n",
		"GET /b HTTP/1.1\r\nX: " + strings.Repeat("x", maxHead),
	} {
		if _, err := new(stream).feed([]byte(in), nil, newTallies()); err == nil {
			t.Errorf("%.60q was accepted", in)
		}
	}
}

func TestTableOfPathsIsBounded(t *testing.T) {
	counts := newTallies()
	for range 2 {
		for i := range maxPaths + 100 {
			c := counts.of(fmt.Appendf(nil, "/%d", i))
			c.seen.Requests++
		}
	}
	if len(counts.paths) > maxPaths+1 {
		t.Errorf("%d paths are kept", len(counts.paths))
	}
	total := int64(0)
	for _, c := range counts.paths {
		total += c.seen.Requests
	}
	if total != 2*(maxPaths+100) {
		t.Errorf("%d requests counted, want %d", total, 2*(maxPaths+100))
	}
}
