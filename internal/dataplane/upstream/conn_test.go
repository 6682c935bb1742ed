// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/resolve"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

func receive[T any](t *testing.T, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// origin answers every request on l with the number of its connection.
type origin struct {
	conns  atomic.Int64
	closed chan int64 // connections that ended
}

func serve(t *testing.T, l net.Listener) *origin {
	o := &origin{closed: make(chan int64, 64)}
	var running sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			n := o.conns.Add(1)
			running.Go(func() {
				defer func() { o.closed <- n }()
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					for line := "-"; line != "\r\n"; {
						if line, err = r.ReadString('\n'); err != nil {
							return
						}
					}
					body := strconv.FormatInt(n, 10)
					head := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
					if _, err := c.Write([]byte(head + body)); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return o
}

func tcp(t *testing.T) (net.Listener, netip.AddrPort) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, l.Addr().(*net.TCPAddr).AddrPort()
}

// running is a directory whose worker runs.
func running(t *testing.T, lookup resolve.Lookup) (*Directory, *loop.Worker) {
	w, err := loop.New(loop.Config{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.Run(context.Background()) }()
	d := NewDirectoryWith([]*loop.Worker{w}, stats.NewRegistry(1), lookup)
	t.Cleanup(func() {
		d.Close()
		w.Stop()
		if err := receive(t, done, "the worker's end"); err != nil {
			t.Error(err)
		}
	})
	return d, w
}

// fetch is an exchange that sends one request and keeps the answer's body, or the failure.
type fetch struct {
	conn *Conn
	body []byte
	done chan string
}

func (f *fetch) Connected(c *Conn) {
	c.StartAnswer(false)
	c.IO.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
}
func (f *fetch) AnswerHead(*Conn, *codec.Head)     {}
func (f *fetch) AnswerData(_ *Conn, b chunk.Bytes) { f.body = append(f.body, b.B...) }
func (f *fetch) Writable(*Conn)                    {}
func (f *fetch) Failed(_ *Conn, x Failure)         { f.done <- x.Err.Error() }
func (f *fetch) AnswerEnd(c *Conn, _ []codec.Field) {
	c.Release(true)
	f.done <- string(f.body)
}

// get sends a request to the cluster's choice and returns the body of its answer.
func get(t *testing.T, d *Directory, w *loop.Worker, class loop.Class) string {
	t.Helper()
	f := &fetch{done: make(chan string, 1)}
	w.Post(func() {
		c := d.Slot("c").Cluster()
		h := c.Pick(w, &Choice{Class: class})
		if h == nil {
			f.done <- "no host"
			return
		}
		conn, ready := c.Acquire(w, h, class, 5*time.Second, false, f)
		f.conn = conn
		if ready {
			f.Connected(conn)
		}
	})
	return receive(t, f.done, "an answer")
}

func stat(t *testing.T, d *Directory, w *loop.Worker, metric int) int64 {
	t.Helper()
	n := make(chan int64, 1)
	w.Post(func() { n <- d.Slot("c").Cluster().Stats(w).Get(metric) })
	return receive(t, n, "a metric")
}

func TestAUnixSocketIsAHost(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "s"), "@umbra-" + strconv.Itoa(unix.Getpid())} {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		o := serve(t, l)
		d, w := running(t, nil)
		d.Set(Config{
			Name: "c", Static: []Endpoint{{Path: path, Hostname: "h"}}, Keepalive: Keepalive{On: true, Probes: 3},
		})
		for range 3 {
			if got := get(t, d, w, loop.Production); got != "1" {
				t.Errorf("%s: %q", path, got)
			}
		}
		h := d.Slot("c").Cluster().Hosts()[0]
		if h.Name != path || h.Path != path || h.Hostname() != "h" || o.conns.Load() != 1 {
			t.Errorf("%d connections, host %q", o.conns.Load(), h.Name)
		}
	}
}

func TestAUnixSocketThatIsNotThereFails(t *testing.T) {
	d, w := running(t, nil)
	d.Set(Config{Name: "c", Static: []Endpoint{{Path: filepath.Join(t.TempDir(), "none")}}})
	if got := get(t, d, w, loop.Production); !strings.Contains(got, "no such file") {
		t.Errorf("%q", got)
	}
	if n := stat(t, d, w, CxConnectFail); n != 1 {
		t.Errorf("%d failed connections", n)
	}
}

func TestAConnectionCarriesSoManyRequests(t *testing.T) {
	l, addr := tcp(t)
	serve(t, l)
	d, w := running(t, nil)
	d.Set(Config{Name: "c", Static: []Endpoint{{Addr: addr}}, MaxRequestsPerConnection: 2})
	for _, class := range []loop.Class{loop.Production, loop.Copy} {
		first, second, third := get(t, d, w, class), get(t, d, w, class), get(t, d, w, class)
		if first != second || second == third {
			t.Errorf("class %d: on connections %s, %s, %s", class, first, second, third)
		}
	}
	if n := stat(t, d, w, CxMaxRequests); n != 2 {
		t.Errorf("%d connections at their end", n)
	}
}

func TestAnIdleConnectionEndsAtItsTime(t *testing.T) {
	for metric, change := range map[int]func(*Config){
		CxIdleTimeout: func(c *Config) { c.IdleTimeout = 20 * time.Millisecond },
		CxMaxDuration: func(c *Config) { c.IdleTimeout, c.MaxConnectionDuration = -1, 20*time.Millisecond },
	} {
		l, addr := tcp(t)
		o := serve(t, l)
		d, w := running(t, nil)
		cfg := Config{Name: "c", Static: []Endpoint{{Addr: addr}}}
		change(&cfg)
		d.Set(cfg)
		get(t, d, w, loop.Production)
		receive(t, o.closed, "the connection's end")
		if n := stat(t, d, w, metric); n != 1 {
			t.Errorf("%s is %d", clusterStats.Metrics[metric].Name, n)
		}
		if n := stat(t, d, w, CxActive); n != 0 {
			t.Errorf("%d connections are active", n)
		}
		if got := get(t, d, w, loop.Production); got != "2" {
			t.Errorf("then: %q", got)
		}
	}
}

func TestABusyConnectionPastItsTimeFinishes(t *testing.T) {
	l, addr := tcp(t)
	silent := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			silent <- c
		}
	}()
	t.Cleanup(func() { l.Close() })
	d, w := running(t, nil)
	d.Set(Config{Name: "c", Static: []Endpoint{{Addr: addr}}, MaxConnectionDuration: 10 * time.Millisecond})
	f := &fetch{done: make(chan string, 1)}
	w.Post(func() {
		c := d.Slot("c").Cluster()
		f.conn, _ = c.Acquire(w, c.Pick(w, &Choice{}), loop.Production, 5*time.Second, false, f)
	})
	c := receive(t, silent, "the connection")
	defer c.Close()
	for end := time.Now().Add(patience); stat(t, d, w, CxMaxDuration) == 0; {
		if time.Now().After(end) {
			t.Fatal("waited in vain for the connection to be old")
		}
	}
	if _, err := c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, f.done, "the answer"); got != "ok" {
		t.Errorf("%q", got)
	}
	if n := stat(t, d, w, CxActive); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
}

func TestALogicalHostIsDialledWhereItIsNow(t *testing.T) {
	l, addr := tcp(t)
	serve(t, l)
	asked := make(chan struct{}, 1)
	d, w := running(t, func(context.Context, string, string) ([]netip.Addr, error) {
		select {
		case asked <- struct{}{}:
		default:
		}
		return []netip.Addr{addr.Addr(), netip.MustParseAddr("192.0.2.1")}, nil
	})
	d.Set(Config{
		Name: "c", Discovery: LogicalDNS, DNSRefresh: time.Hour,
		Static: []Endpoint{{Name: "a.test", Port: addr.Port()}},
	})
	receive(t, asked, "the look-up")
	for end := time.Now().Add(patience); len(d.Slot("c").Cluster().Hosts()) == 0; {
		if time.Now().After(end) {
			t.Fatal("waited in vain for a host")
		}
	}
	if got := get(t, d, w, loop.Production); got != "1" {
		t.Errorf("%q", got)
	}
}

func TestRetriesOfABudgetGoByTheRequestsInFlight(t *testing.T) {
	for _, c := range []struct {
		budget   RetryBudget
		requests int64
		want     uint32
	}{
		{RetryBudget{20, 3}, 0, 3},
		{RetryBudget{20, 3}, 15, 3},
		{RetryBudget{20, 3}, 24, 4},
		{RetryBudget{20, 3}, 25, 5},
		{RetryBudget{100, 0}, 7, 7},
		{RetryBudget{0, 0}, 1000, 0},
		{RetryBudget{-5, 1}, 1000, 1},
	} {
		if got := c.budget.limit(c.requests); got != c.want {
			t.Errorf("%+v of %d: %d, want %d", c.budget, c.requests, got, c.want)
		}
	}
	d, _ := directory(t)
	d.Set(Config{Name: "c", MaxRequests: Unlimited, RetryBudget: &RetryBudget{Percent: 50, MinConcurrency: 1}})
	c := d.Slot("c").Cluster()
	for range 6 {
		c.AcquireRequest()
	}
	got := 0
	for range 10 {
		if c.AcquireRetry() {
			got++
		}
	}
	if got != 3 {
		t.Errorf("%d retries beside 6 requests", got)
	}
}
