// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

// far is a mirror of our own making: what it does with a connection is the test's choice and may change.
type far struct {
	addr   string
	handle atomic.Pointer[func(c *farConn)]
	wg     sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener
	conns    map[*farConn]bool
	accepted int
	whole    map[string]int // complete requests read, by X-Id
}

type farConn struct {
	*net.TCPConn
	far  *far
	read *bufio.Reader
}

func newFar(t testing.TB, handle func(c *farConn)) *far {
	t.Helper()
	f := &far{conns: map[*farConn]bool{}, whole: map[string]int{}}
	f.do(handle)
	f.listen(t, "127.0.0.1:0")
	t.Cleanup(f.close)
	return f
}

// do sets what is done with connections accepted from now on.
func (f *far) do(handle func(c *farConn)) { f.handle.Store(&handle) }

func (f *far) listen(t testing.TB, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	if f.listener != nil {
		f.listener.Close()
	}
	f.listener, f.addr = l, l.Addr().String()
	f.mu.Unlock()
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fc := &farConn{c.(*net.TCPConn), f, bufio.NewReader(c)}
			f.mu.Lock()
			f.conns[fc] = true
			f.accepted++
			f.mu.Unlock()
			f.wg.Go(func() {
				(*f.handle.Load())(fc)
				fc.Close()
				f.mu.Lock()
				delete(f.conns, fc)
				f.mu.Unlock()
			})
		}
	})
}

// close ends the listener and every connection.
func (f *far) close() {
	f.mu.Lock()
	f.listener.Close()
	for c := range f.conns {
		c.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

func (f *far) seen(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.whole[id]
}

func (f *far) seenAll() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.whole {
		n += k
	}
	return n
}

func (f *far) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.accepted
}

// request reads one request and notes it if it is complete.
func (c *farConn) request() (*http.Request, []byte, error) {
	q, err := http.ReadRequest(c.read)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, nil, err
	}
	c.far.mu.Lock()
	c.far.whole[q.Header.Get("X-Id")]++
	c.far.mu.Unlock()
	return q, body, nil
}

// head reads up to the body.
func (c *farConn) head() { _, _ = http.ReadRequest(c.read) }

// wait blocks until the other side, or the end of the test, ends the connection; it reads nothing.
func (c *farConn) wait() {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for gone := false; !gone; <-tick.C {
		if err := raw.Control(func(fd uintptr) { gone = peerReset(fd) }); err != nil {
			return
		}
	}
}

func (c *farConn) reset() {
	c.SetLinger(0)
	c.Close()
}

const okay = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// healthy answers every request.
func healthy(c *farConn) { answers(okay)(c) }

// answers reads whole requests and answers each with the same bytes.
func answers(answer string) func(c *farConn) {
	return func(c *farConn) {
		for {
			if _, _, err := c.request(); err != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

// echo is the production side: what it got, it answers.
func echo(served *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		b, err := io.ReadAll(q.Body)
		if err != nil {
			return
		}
		served.Add(1)
		w.Header().Set("X-Served", "production")
		w.Write(b)
	}
}

// patience is how long production may take for one answer in these tests, whatever the mirror does.
const patience = time.Second

var lastID atomic.Int64

func newID() string { return fmt.Sprint("r", lastID.Add(1)) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// exchange sends one request through the proxy and holds that production's answer is right and in time.
func (r *rig) exchange(body []byte, chunked bool, header ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	method, from := "GET", io.Reader(nil)
	if body != nil {
		method, from = "POST", bytes.NewReader(body)
		if chunked {
			from = io.MultiReader(from)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.addr+"/path?q=1", from)
	if err != nil {
		return err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if req.Header.Get("X-Id") == "" {
		req.Header.Set("X-Id", newID())
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != 200 || resp.Header.Get("X-Served") != "production":
		return fmt.Errorf("status %d, header %v", resp.StatusCode, resp.Header)
	case !bytes.Equal(got, body):
		return errors.New("production's answer is not what was sent")
	}
	return nil
}

// must is exchange that ends the test if production fails.
func (r *rig) must(body []byte, chunked bool, header ...string) {
	r.t.Helper()
	if err := r.exchange(body, chunked, header...); err != nil {
		r.t.Fatalf("production: %v", err)
	}
}

// balance checks the identity on one published snapshot.
func balance(t testing.TB, n mirror.Counts) {
	t.Helper()
	sum := n.Delivered + n.Live
	for _, k := range n.Dropped {
		sum += k
	}
	if n.Selected != sum || n.Live < 0 || n.Eligible < n.Selected+n.Skipped || n.Sent < n.Delivered {
		t.Errorf("accounts do not balance: %+v", n)
	}
}

// copiesEnded waits until all copies have ended and checks that nothing is left of them.
func (r *rig) copiesEnded(cluster string) mirror.Counts {
	r.t.Helper()
	s := r.mirrors.Stats("test", cluster)
	target := r.mirrors.Target(r.clusters.Slot(cluster))
	eventually(r.t, "all copies ended", func() bool {
		n := s.Counts()
		balance(r.t, n)
		return n.Live == 0
	})
	eventually(r.t, "nothing held", func() bool { return r.mirrors.Held() == 0 && target.InFlight() == 0 })
	return s.Counts()
}

// only holds that no cause but these has occurred.
func only(t testing.TB, n mirror.Counts, causes ...string) {
	t.Helper()
	allowed := map[string]bool{}
	for _, c := range causes {
		allowed[c] = true
	}
	for c, k := range n.Dropped {
		if !allowed[c] {
			t.Errorf("%d copies dropped as %s, expected only %v: %+v", k, c, causes, n)
		}
	}
}
