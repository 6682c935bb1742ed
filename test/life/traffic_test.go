// SPDX-License-Identifier: Apache-2.0

package life_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// origin answers "hello"; requests for /hold when release is called.
type origin struct {
	addr    string
	held    chan struct{} // one for each request for /hold that came
	release func()
}

func newOrigin(t *testing.T) *origin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := make(chan struct{})
	o := &origin{addr: l.Addr().String(), held: make(chan struct{}, 64), release: sync.OnceFunc(func() { close(open) })}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			o.held <- struct{}{}
			<-open
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "hello")
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() {
		o.release()
		_ = server.Close()
		<-done
	})
	return o
}

// arrived waits for a request for /hold.
func (o *origin) arrived(t *testing.T) {
	t.Helper()
	select {
	case <-o.held:
	case <-time.After(patience):
		t.Fatal("no request came to the origin")
	}
}

// once makes a connection with one request and wants the whole answer on it.
func once(addr, path string) error {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n", path); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return fmt.Errorf("after %q: %w", answer, err)
	}
	if s := string(answer); !strings.HasPrefix(s, "HTTP/1.1 200 ") || !strings.HasSuffix(s, "\r\n\r\nhello") {
		return fmt.Errorf("answer %q", s)
	}
	return nil
}

// traffic is new connections at a rate, each with one request.
type traffic struct {
	t      *testing.T
	made   atomic.Int64
	failed atomic.Int64
	stop   func()
}

// newTraffic begins; clients bounds how many of them wait for an answer at once.
func newTraffic(t *testing.T, addr string, rate, clients int) *traffic {
	t.Helper()
	r := &traffic{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	due := make(chan struct{}, rate)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(due)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		begin, sent := time.Now(), 0
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for ; sent < int(time.Since(begin).Seconds()*float64(rate)); sent++ {
				select {
				case due <- struct{}{}:
				default: // the machine is too slow for the rate
				}
			}
		}
	})
	for range clients {
		wg.Go(func() {
			for range due {
				if err := once(addr, "/"); err != nil {
					r.failed.Add(1)
					t.Errorf("connection %d: %v", r.made.Load(), err)
				}
				r.made.Add(1)
			}
		})
	}
	r.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(r.stop)
	return r
}

// pass waits until so many more connections were served.
func (r *traffic) pass(n int64) {
	r.t.Helper()
	goal := r.made.Load() + n
	until(r.t, fmt.Sprintf("%d more connections were served", n), func() bool { return r.made.Load() >= goal })
}

// client is one connection with requests one after another.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, Conn: c, r: bufio.NewReader(c)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) get(path string) {
	c.t.Helper()
	c.send("GET " + path + " HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

// answer reads one.
func (c *client) answer() (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, string(body)
}

// over reads to the end of the connection and returns what was left.
func (c *client) over() (string, error) {
	b, err := io.ReadAll(c.r)
	return string(b), err
}
