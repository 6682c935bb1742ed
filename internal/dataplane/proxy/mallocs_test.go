// SPDX-License-Identifier: Apache-2.0

//go:build !race

package proxy_test

import (
	"bytes"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

// plainOrigin answers every request of a connection with the same bytes and allocates nothing for it.
func plainOrigin(t testing.TB, served *atomic.Int64) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: Sun, 22 Nov 2026 00:00:00 GMT\r\n\r\nhello")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 8192)
				have := 0
				for {
					n, err := c.Read(buf[have:])
					if err != nil {
						return
					}
					have += n
					for {
						end := bytes.Index(buf[:have], []byte("\r\n\r\n"))
						if end < 0 {
							break
						}
						have = copy(buf, buf[end+4:have])
						served.Add(1)
						if _, err := c.Write(answer); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// drive sends n requests over one connection, one after the other.
func drive(t testing.TB, c net.Conn, n int) {
	request := []byte("GET /headers?show_env=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test\r\nAccept: */*\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef\r\nX-Custom: value\r\n\r\n")
	buf := make([]byte, 4096)
	tail := []byte("hello")
	for range n {
		if _, err := c.Write(request); err != nil {
			t.Error(err)
			return
		}
		have := 0
		for !bytes.HasSuffix(buf[:have], tail) {
			k, err := c.Read(buf[have:])
			if err != nil {
				t.Error(err)
				return
			}
			have += k
		}
	}
}

func TestMallocsPerRequestThroughRealSockets(t *testing.T) {
	for _, mirrored := range []bool{false, true} {
		r := newRig(t, mirror.Limits{})
		var a, b atomic.Int64
		r.cluster("a", plainOrigin(t, &a))
		r.cluster("b", plainOrigin(t, &b))
		if mirrored {
			r.serve(r.to("a", r.policy("b", 100)))
		} else {
			r.serve(r.to("a"))
		}
		const connections, each = 8, 12500
		conns := make([]net.Conn, connections)
		for i := range conns {
			conns[i] = r.dial()
		}
		run := func(n int) {
			done := make(chan struct{})
			for _, c := range conns {
				c.SetDeadline(time.Now().Add(time.Minute))
				go func() { drive(t, c, n); done <- struct{}{} }()
			}
			for range conns {
				<-done
			}
		}
		run(500) // what is made once
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run(each)
		runtime.ReadMemStats(&after)
		per := float64(after.Mallocs-before.Mallocs) / (connections * each)
		t.Logf("mirrored %v: %.5f mallocs a request", mirrored, per)
		if per > 0.01 {
			t.Errorf("mirrored %v: %.4f mallocs a request, want at most 0.01", mirrored, per)
		}
		if mirrored {
			s := r.mirrors.Stats("test", "b")
			eventually(t, "copies ended", func() bool { return s.Counts().Live == 0 })
			if n := s.Counts(); n.Delivered != connections*(each+500) {
				t.Errorf("%+v", n)
			}
		}
		for _, c := range conns {
			c.Close()
		}
	}
}
