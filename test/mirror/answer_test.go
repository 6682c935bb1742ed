// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/test/faulty"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// This file is about what mirrors answer: it costs memory as long as it cannot be thrown away, and time while it is.

// never is longer than any test takes: what ends before has ended by itself.
const never = 10 * time.Minute

// answerRig mirrors everything to a far end, by copies that no time ends; send sends requests, all on one connection and so
// to one worker.
func answerRig(t *testing.T, memory int64, serve func(*faulty.Conn)) (r *rig, send func(n int)) {
	t.Helper()
	production := newProduction(t)
	far, _ := newFaulty(t)
	far.Serve(serve)
	r = newRig(t, mirror.Limits{Timeout: never, ConnectTime: never, Memory: memory}, production.addr(), far.Addr())
	client, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	in := bufio.NewReader(client)
	return r, func(n int) {
		t.Helper()
		client.SetDeadline(time.Now().Add(meshtest.Patience))
		for range n {
			fmt.Fprint(client, "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.Header.Get("X-Served") != "production" || resp.ContentLength != 0 {
				t.Fatal(resp, err)
			}
		}
	}
}

// fieldBytes are sent of the fields of an answer that is unfinished, in its head or its trailers; their end is to come, and
// a body behind that.
const fieldBytes = 59 << 10

var unfinished = map[string]struct{ begin, end, body string }{
	"head":     {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", "\r\n", "ok"},
	"field":    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Long: ", "\r\n\r\n", "ok"},
	"trailers": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "\r\n", ""},
}

// fields are what is sent of an answer before its end.
func fields(name string) string {
	if name == "field" {
		return unfinished[name].begin + strings.Repeat("x", fieldBytes)
	}
	return unfinished[name].begin + strings.Repeat("X-Field: "+strings.Repeat("x", 1013)+"\r\n", fieldBytes>>10)
}

// Heads and trailers that mirrors do not end are memory for copies, from the first byte to the last. A head that has ended
// is let go of, though its body hangs.
func TestUnfinishedAnswersCountAsMemoryForCopies(t *testing.T) {
	for name, answer := range unfinished {
		t.Run(name, func(t *testing.T) {
			end, body := make(chan struct{}), make(chan struct{})
			closeBody := sync.OnceFunc(func() { close(body) })
			closeEnd := sync.OnceFunc(func() { close(end) })
			r, send := answerRig(t, 0, func(c *faulty.Conn) {
				if _, _, err := c.Request(); err != nil || c.Send(fields(name)) != nil {
					return
				}
				<-end
				if c.Send(answer.end) != nil {
					return
				}
				<-body
				if c.Send(answer.body) == nil {
					c.Hang()
				}
			})
			t.Cleanup(closeEnd)
			t.Cleanup(closeBody)
			const n = 64
			send(n)
			const each = 160 << 10 // at most: the fields twice, and the table of them
			meshtest.Until(t, "what has come is counted", func() bool { return r.mirrors.Held() >= n*fieldBytes })
			if held := r.mirrors.Held(); held > n*2*each {
				t.Errorf("%d bytes are held for %d answers", held, n)
			}
			if got := r.stats.Counts(); got.Live != n {
				t.Errorf("%+v", got)
			}
			closeEnd()
			meshtest.Until(t, "nothing is held", func() bool { return r.mirrors.Held() == 0 })
			if got := r.stats.Counts(); answer.body != "" && got.Live != n {
				t.Errorf("%+v", got)
			}
			closeBody()
			meshtest.Until(t, "the answers are done with", func() bool { return r.stats.Counts().Delivered == n })
			if held := r.mirrors.Held(); held != 0 {
				t.Errorf("%d bytes are held at the end", held)
			}
		})
	}
}

// More of it than the memory for copies are dropped for that, and production does not notice.
func TestUnfinishedAnswersHoldNoMoreThanTheMemoryForCopies(t *testing.T) {
	const limit, n = 4 << 20, 200
	for name := range unfinished {
		t.Run(name, func(t *testing.T) {
			var read atomic.Int64
			begin, end := make(chan struct{}), make(chan struct{})
			closeBegin, closeEnd := sync.OnceFunc(func() { close(begin) }), sync.OnceFunc(func() { close(end) })
			r, send := answerRig(t, limit, func(c *faulty.Conn) {
				if _, _, err := c.Request(); err != nil {
					return
				}
				read.Add(1)
				<-begin
				if c.Send(fields(name)) == nil {
					<-end
					c.Reset()
				}
			})
			t.Cleanup(closeEnd)
			t.Cleanup(closeBegin)
			stop := observe(t, r)
			send(n)
			meshtest.Until(t, "all copies wait for their answers", func() bool {
				return read.Load() == n && r.stats.Counts().Live == n
			})
			closeBegin()
			// Where the final head has come the copy is delivered, however its trailers end.
			ended := func(c mirror.Counts) int64 { return c.Dropped["memory"] + c.Delivered }
			meshtest.Until(t, "there is no room for more", func() bool { return ended(r.stats.Counts()) >= n-limit/fieldBytes })
			if most := stop().held; most > limit+264<<10 || most < limit/4 { // two workers: see MemoryLimit
				t.Errorf("%d bytes were held, bound %d", most, limit)
			}
			closeEnd()
			meshtest.Until(t, "all have ended", func() bool { return r.stats.Counts().Live == 0 })
			got := r.stats.Counts()
			reset, memory := got.Dropped["reset"], got.Dropped["memory"]
			if got.Delivered+reset+memory != n || name != "trailers" && (memory < n/2 || reset == 0) {
				t.Errorf("%+v", got)
			}
			if held := r.mirrors.Held(); held != 0 {
				t.Errorf("%d bytes are held at the end", held)
			}
		})
	}
}

// An answer is read to 8 MiB, whatever it says its length is, and what frames it counts too. Then its connection ends.
func TestAnswerOfAMirrorIsReadToItsCap(t *testing.T) {
	const capped = 8 << 20
	const chunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	const buffers = 16 << 20 // more than two sockets take that nobody reads
	for name, answer := range map[string]struct{ head, piece string }{
		"a length":         {"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", strings.Repeat("x", 64<<10)},
		"no length":        {"HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 64<<10)},
		"large chunks":     {chunkedHead, "10000\r\n" + strings.Repeat("x", 64<<10) + "\r\n"},
		"chunks of a byte": {chunkedHead, strings.Repeat("1\r\nx\r\n", 1000)},
	} {
		t.Run(name, func(t *testing.T) {
			var sent, broken atomic.Int64
			r, send := answerRig(t, 0, func(c *faulty.Conn) {
				if _, _, err := c.Request(); err != nil || c.Send(answer.head) != nil {
					return
				}
				for c.Send(answer.piece) == nil {
					sent.Add(int64(len(answer.piece)))
				}
				broken.Add(1)
			})
			const n = 3
			for i := range int64(n) {
				send(1)
				meshtest.Until(t, "the connection ends, and the copy with it", func() bool {
					return broken.Load() == i+1 && r.stats.Counts().Live == 0
				})
			}
			if got := r.stats.Counts(); got.Delivered != n {
				t.Errorf("%+v", got)
			}
			if each := sent.Load() / n; each > capped+buffers {
				t.Errorf("it took %d bytes of each answer", each)
			}
		})
	}
}

// One that is shorter is read whole, and its connection carries the next. (Not just so long: short reads count for more.)
func TestAnswerOfAMirrorUpToTheCapIsReadWhole(t *testing.T) {
	var connections atomic.Int64
	body := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", 7<<20, strings.Repeat("x", 7<<20))
	r, send := answerRig(t, 0, func(c *faulty.Conn) {
		connections.Add(1)
		for {
			if _, _, err := c.Request(); err != nil || c.Send(body) != nil {
				return
			}
		}
	})
	for i := range int64(3) {
		send(1)
		meshtest.Until(t, "the answer is read", func() bool { return r.stats.Counts().Delivered == i+1 })
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for answers that are not too long", n)
	}
}
