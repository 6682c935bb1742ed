// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/test/faulty"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// A client that goes away, at whatever byte of its request, leaves no copy that looks whole.
func TestClientThatAbortsAtAnyByteOfItsUpload(t *testing.T) {
	production := newProduction(t)
	b, seen := newFaulty(t)
	m := newMesh(t, mirrored(production.addr(), b.Addr()), mirror.Limits{})
	stop := m.watch()
	defer stop()
	body := []byte("forty bytes are enough for each boundary")
	m.must(nil, false) // production's connection beside is there from now on
	connections := func() int { return int(m.metric("envoy_http_downstream_cx_total", "")) }
	for _, chunked := range []bool{false, true} {
		for _, reset := range []bool{false, true} {
			was, before := m.ended("b"), connections()
			whole, at := rawPost("aborted", body, chunked)
			for cut := range len(whole) {
				c := m.dial()
				if _, err := c.Write(whole[:cut]); err != nil {
					t.Fatal(err)
				}
				if reset {
					c.(*net.TCPConn).SetLinger(0)
				}
				c.Close()
				if cut%16 == 0 {
					m.must(body, chunked)
				}
			}
			beside := int64((len(whole) + 15) / 16)
			most := int64(len(whole)-at) + beside // a reset may overtake what was sent
			meshtest.Until(t, "every connection has ended", func() bool {
				return connections() >= before+len(whole) && m.metric("envoy_http_downstream_cx_active", "") <= 1
			})
			got := since(was, m.ended("b"))
			partial := got.Dropped["partial"] + got.Dropped["refused"]
			if got.Delivered != beside || meshtest.Dropped(got) != partial || got.Selected > most || !reset && got.Selected != most {
				t.Errorf("chunked %v, reset %v: %+v, want %d delivered, %d at most", chunked, reset, got, beside, most)
			}
		}
	}
	if n, k := seen.of("aborted").times, production.times("aborted"); n != 0 || k != 0 {
		t.Errorf("the mirror saw %d whole requests that were not, production %d", n, k)
	}
}

// Whatever a body's length and framing, its copy is the same. Only one that is longer than what a copy may lag may be
// dropped for that, and is then not seen whole.
func TestCopyOfABodyOfAnyLengthIsWhole(t *testing.T) {
	const window = 48 << 20 / 8
	production := newProduction(t)
	b, seen := newFaulty(t)
	m := newMesh(t, mirrored(production.addr(), b.Addr()), mirror.Limits{})
	body := make([]byte, 10<<20)
	rand.Read(body)
	for _, n := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 10 << 20} {
		for _, chunked := range []bool{false, true} {
			id := fmt.Sprintf("%d, chunked %v", n, chunked)
			was := m.mirror("b")
			if err := m.exchange(id, body[:n:n], chunked); err != nil {
				t.Errorf("%s: production: %v", id, err)
			}
			got, c := since(was, m.ended("b")), seen.of(id)
			lagged := n > window && got.Dropped["buffer"] == 1 && c.times == 0
			if got.Selected != 1 || !lagged && (got.Delivered != 1 || !c.whole(body[:n])) {
				t.Errorf("%s: the mirror saw it %d times, with %d bytes: %+v", id, c.times, c.bytes, got)
			}
		}
	}
}

// Retries of production, with the body kept up to 64 KiB, give each request one copy, whole.
func TestRetriesAtTheBoundOfTheReplayGiveOneCopy(t *testing.T) {
	const bound = 64 << 10
	production, seenA := newFaulty(t)
	production.Serve(refusesFirst)
	b, seenB := newFaulty(t)
	m := newMesh(t, mirrored(production.Addr(), b.Addr()), mirror.Limits{})
	body := make([]byte, bound+1)
	rand.Read(body)
	requests := int64(0)
	for _, n := range []int{0, 1, bound - 1, bound, bound + 1} {
		for _, chunked := range []bool{false, true} {
			id := fmt.Sprintf("%d, chunked %v", n, chunked)
			c := m.dial()
			raw, _ := rawPost(id, body[:n], chunked)
			if _, err := c.Write(raw); err != nil {
				t.Fatal(err)
			}
			want, tries := 200, 2
			if n > bound {
				want, tries = 503, 1
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != want {
				t.Fatalf("%s: %v, %v, want %d", id, resp, err, want)
			}
			requests++
			got := m.ended("b")
			if got.Selected != requests || got.Delivered != requests {
				t.Errorf("%s: %+v", id, got)
			}
			last := seenA.of(id)
			if last.times != tries || last.sum != sha256.Sum256(body[:n]) {
				t.Errorf("%s: production saw it %d times, at last with %d bytes", id, last.times, last.bytes)
			}
			if c := seenB.of(id); !c.whole(body[:n]) {
				t.Errorf("%s: the mirror saw it %d times, with %d bytes", id, c.times, c.bytes)
			}
		}
	}
	if n := m.metric("envoy_cluster_retry_or_shadow_abandoned", cluster("a")); n != 2 {
		t.Errorf("%v retries were given up for the length of the body, want 2", n)
	}
}

// refusesFirst answers 503 to the first try of each request and 200 to the next.
func refusesFirst(c *faulty.Conn) {
	for {
		q, _, err := c.Request()
		if err != nil {
			return
		}
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
		if q.Header.Get("X-Envoy-Attempt-Count") == "1" {
			answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
		}
		if c.Send(answer) != nil {
			return
		}
	}
}
