// SPDX-License-Identifier: Apache-2.0

//go:build !race

package proxy_test

import (
	"bytes"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
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

// noSink takes spans and forgets them.
type noSink struct{}

func (noSink) Export([]trace.Span) {}

func TestMallocsPerRequestThroughRealSockets(t *testing.T) {
	for name, change := range map[string]func(r *rig, a *proxy.Action){
		"plain":    nil,
		"mirrored": func(r *rig, a *proxy.Action) { a.Mirrors = []mirror.Policy{r.policy("b", 100)} },
		"mutations, rewrite, hash, mirrored": func(r *rig, a *proxy.Action) {
			p := r.policy("b", 100)
			p.Headers = filter.NewMutations(mutations(t, "remove cookie", "set x-copy: 1"))
			p.Host = "copies.example"
			a.Mirrors = []mirror.Policy{p}
			a.Request = filter.NewHeaderOps(mutations(t, "set x-custom: new", "add x-route: 1", "remove accept"))
			a.Response = filter.NewHeaderOps(mutations(t, "add x-ours: 1", "set server: mine"))
			a.Rewrite = &filter.Rewrite{HasPrefix: true, Prefix: "/new", MatchLen: len("/headers"), Host: "inner.example"}
			a.Hash = []filter.HashPolicy{{Cookie: &filter.HashCookie{Name: "session"}}, {Query: "show_env"}}
			a.Timeout = time.Minute
			a.Retry.PerTryTimeout = 10 * time.Second
			a.CORS = &filter.CORS{}
			a.Fault = &filter.Fault{AbortStatus: 500, AbortGRPC: -1, AbortShare: filter.Share{Denominator: 100}}
			a.Stats = r.server.NewRouteStats("host", "route")
		},
		"traced, mirrored": func(r *rig, a *proxy.Action) { a.Mirrors = []mirror.Policy{r.policy("b", 100)} },
		"templates": func(_ *rig, a *proxy.Action) {
			a.Request = filter.NewHeaderOps(mutations(t, "add x-v: %REQ(USER-AGENT)% %PROTOCOL% %DOWNSTREAM_REMOTE_ADDRESS%"))
			a.Response = filter.NewHeaderOps(mutations(t, "add x-v: %UPSTREAM_HOST% %RESPONSE_CODE%"))
		},
	} {
		var set setup
		if strings.HasPrefix(name, "traced") {
			set = setup{sink: noSink{}, sampling: 100}
		}
		r := set.rig(t)
		var a, b atomic.Int64
		r.cluster("a", plainOrigin(t, &a))
		r.cluster("b", plainOrigin(t, &b))
		action := r.to("a")
		if change != nil {
			change(r, action)
		}
		mirrored := len(action.Mirrors) > 0
		r.serve(action)
		const connections, each = 8, 6000
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
		t.Logf("%s: %.5f mallocs a request", name, per)
		if per > 0.01 {
			t.Errorf("%s: %.4f mallocs a request, want at most 0.01", name, per)
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
