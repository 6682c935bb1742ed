// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

// wire is one end of a connection whose bytes a test writes and reads itself. fail ends its goroutine.
type wire struct {
	*net.TCPConn
	in    *bufio.Reader
	fail  func(format string, args ...any)
	limit time.Duration // of each of its operations; 0: none
}

// begin gives the next operation its time.
func (w *wire) begin() {
	if w.limit > 0 {
		w.SetDeadline(time.Now().Add(w.limit))
	}
}

// raw is a client of the proxy.
func (r *rig) raw() *wire {
	c := r.dial().(*net.TCPConn)
	return &wire{c, bufio.NewReader(c), r.t.Fatalf, patience}
}

// scripted is an origin whose connections are served by script, one goroutine each, the first with n = 0. When script
// returns the connection is closed. A script ends silently when the proxy hangs up.
func scripted(t testing.TB, script func(w *wire, n int)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				script(&wire{c.(*net.TCPConn), bufio.NewReader(c), func(string, ...any) { runtime.Goexit() }, 0}, n)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// answering is an origin that answers every bodiless request of a connection with these bytes.
func answering(t testing.TB, answer string) string {
	return scripted(t, func(w *wire, _ int) {
		for {
			w.head()
			w.send(answer)
		}
	})
}

// bound is a socket with an address that nobody else gets.
func bound(t testing.TB) (fd int, addr string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
}

// nobody is an address that refuses connections.
func nobody(t testing.TB) string {
	t.Helper()
	_, addr := bound(t)
	return addr
}

func (w *wire) send(s string) {
	w.begin()
	if _, err := io.WriteString(w, s); err != nil {
		w.fail("write: %v", err)
	}
}

// line reads to the end of a line, which it returns too.
func (w *wire) line() string {
	w.begin()
	s, err := w.in.ReadString('\n')
	if err != nil {
		w.fail("after %q: %v", s, err)
	}
	return s
}

// head reads a head with its empty line.
func (w *wire) head() string {
	var b strings.Builder
	for {
		s := w.line()
		b.WriteString(s)
		if s == "\r\n" {
			return b.String()
		}
	}
}

// take reads n bytes.
func (w *wire) take(n int) string {
	w.begin()
	b := make([]byte, n)
	if k, err := io.ReadFull(w.in, b); err != nil {
		w.fail("after %q: %v", b[:k], err)
	}
	return string(b)
}

// until reads until the bytes end in s.
func (w *wire) until(s string) string {
	w.begin()
	var b []byte
	for !bytes.HasSuffix(b, []byte(s)) {
		c, err := w.in.ReadByte()
		if err != nil {
			w.fail("after %q: %v", b, err)
		}
		b = append(b, c)
	}
	return string(b)
}

// end reads to the end of the connection; reset tells how that came.
func (w *wire) end() (all string, reset bool) {
	w.begin()
	b, err := io.ReadAll(w.in)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.fail("still open after %q", b)
	}
	return string(b), err != nil
}

// reset ends the connection with a RST.
func (w *wire) reset() {
	w.SetLinger(0)
	w.Close()
}

// answer reads an answer with its body, which must have a Content-Length.
func (w *wire) answer() (head, body string) {
	head = w.head()
	m := regexp.MustCompile(`(?i)\r\ncontent-length: (\d+)\r\n`).FindStringSubmatch(head)
	if m == nil {
		w.fail("no length: %q", head)
	}
	n, _ := strconv.Atoi(m[1])
	return head, w.take(n)
}

// status is the status of an answer's head.
func status(head string) string {
	_, s, _ := strings.Cut(head, " ")
	s, _, _ = strings.Cut(s, " ")
	return s
}

// has reports whether a head has that field line, in any case.
func has(head, line string) bool {
	return strings.Contains(strings.ToLower(head), "\r\n"+strings.ToLower(line)+"\r\n")
}

// get is a request without a body.
func get(path string, fields ...string) string {
	return request("GET", path, "", fields...)
}

func request(method, path, body string, fields ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: shop.example\r\n", method, path)
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

// metric is the sum of a metric's series that have all of the labels ("name=value").
func (r *rig) metric(name string, labels ...string) (sum float64) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(r.registry)
	families, err := reg.Gather()
	if err != nil {
		r.t.Error(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	series:
		for _, m := range f.GetMetric() {
			for _, want := range labels {
				found := false
				for _, l := range m.GetLabel() {
					found = found || l.GetName()+"="+l.GetValue() == want
				}
				if !found {
					continue series
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// counted waits for a metric to reach a value, exactly.
func (r *rig) counted(want float64, name string, labels ...string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%s%v = %v", name, labels, want), func() bool { return r.metric(name, labels...) == want })
}

// settled waits until no request is in flight anywhere and no client is connected.
func (r *rig) settled() {
	r.t.Helper()
	r.client.CloseIdleConnections()
	r.counted(0, "envoy_http_downstream_rq_active")
	r.counted(0, "envoy_http_downstream_cx_active")
	r.counted(0, "envoy_cluster_upstream_rq_active")
	// One that its client has left may not even be accepted yet, and two metrics are not read at one time.
	eventually(r.t, "every client connection has ended", func() bool {
		return r.metric("envoy_http_downstream_cx_total") == r.metric("envoy_http_downstream_cx_destroy")
	})
	eventually(r.t, "the upstream connections open are those opened and not ended", func() bool {
		cx := r.metric("envoy_cluster_upstream_cx_total") - r.metric("envoy_cluster_upstream_cx_destroy")
		return r.metric("envoy_cluster_upstream_cx_active") == cx
	})
	for _, c := range r.clusters.Clusters() {
		for _, h := range c.Hosts() {
			if h.Active() != 0 {
				r.t.Errorf("host %s: %d active", h.Name, h.Active())
			}
		}
	}
}

// entry is a line of the access log.
type entry struct {
	request, flags, details string
	code, received, sent    int
	duration                time.Duration
	serviceTime             string
	host, cluster, route    string
}

var logLine = regexp.MustCompile(`^\[[^]]+\] "([^"]*)" (\d+) (\S+) (\S+) \S+ "[^"]*" (\d+) (\d+) (\d+) (\S+) "[^"]*" "[^"]*" ` +
	`"[^"]*" "[^"]*" "([^"]*)" (\S+) \S+ \S+ \S+ \S+ (\S+)$`)

// logged waits for n lines of the access log and returns them.
func (r *rig) logged(n int) (entries []entry) {
	r.t.Helper()
	var lines []string
	eventually(r.t, fmt.Sprintf("%d lines logged", n), func() bool {
		r.log.Flush()
		b, err := os.ReadFile(r.logFile)
		if err != nil {
			r.t.Fatal(err)
		}
		lines = strings.Split(string(b), "\n")
		return len(lines) > n
	})
	for _, l := range lines[:len(lines)-1] {
		m := logLine.FindStringSubmatch(l)
		if m == nil {
			r.t.Fatalf("no log line: %q", l)
		}
		num := func(s string) int { n, _ := strconv.Atoi(s); return n }
		entries = append(entries, entry{
			request: m[1], code: num(m[2]), flags: m[3], details: m[4], received: num(m[5]), sent: num(m[6]),
			duration: time.Duration(num(m[7])) * time.Millisecond, serviceTime: m[8], host: m[9], cluster: m[10], route: m[11],
		})
	}
	if len(entries) != n {
		r.t.Fatalf("%d lines logged, want %d: %q", len(entries), n, lines)
	}
	return entries
}

// logs checks that exactly one line is in the access log, and what it says of the outcome.
func (r *rig) logs(code int, flags, details string) entry {
	r.t.Helper()
	e := r.logged(1)[0]
	if e.code != code || e.flags != flags || e.details != details {
		r.t.Errorf("logged %d %s %s, want %d %s %s", e.code, e.flags, e.details, code, flags, details)
	}
	return e
}

// settledAfter closes a client, then is settled.
func (r *rig) settledAfter(clients ...*wire) {
	r.t.Helper()
	for _, c := range clients {
		c.Close()
	}
	r.settled()
}

// fullBacklog is an address whose connection attempts get no answer: its queue of connections is full.
func fullBacklog(t testing.TB) string {
	t.Helper()
	fd, addr := bound(t)
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for late := 0; late < 2; { // until none is taken any more: the first may be late for the machine's sake
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			late++
			continue
		}
		late = 0
		t.Cleanup(func() { c.Close() })
	}
	return addr
}

// counter is counted by one goroutine and watched by another.
type counter = atomic.Int64

// quiet waits until a number that grows has stopped growing for 200 ms: everything on the way is full.
func quiet(t testing.TB, n func() float64) {
	t.Helper()
	last, since := -1.0, time.Now()
	eventually(t, "quiet", func() bool {
		if now := n(); now != last {
			last, since = now, time.Now()
		}
		return last > 0 && time.Since(since) > 200*time.Millisecond
	})
}

// late is a client that has asked for size bytes and taken as few as let its request end for the proxy: the last of the
// answer waits in the proxy. left is how many the client has yet to take.
func (r *rig) late(size int) (cl *wire, left int) {
	r.t.Helper()
	cl = r.raw()
	cl.SetReadBuffer(8 << 10)
	cl.send(get("/"))
	cl.head()
	r.counted(1, "envoy_http_downstream_rq_active")
	for r.metric("envoy_http_downstream_rq_active") > 0 {
		cl.take(4 << 10)
		size -= 4 << 10
	}
	return cl, size
}

// directOf is a direct response of 200 with that body.
func directOf(body string) *proxy.Direct {
	return &proxy.Direct{Status: 200, Body: body, Details: "direct_response"}
}
