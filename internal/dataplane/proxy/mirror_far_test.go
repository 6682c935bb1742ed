// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/test/faulty"
)

// far is a far end that counts what it has read: what it does with a connection is the test's choice and may change.
type far struct {
	*faulty.Server
	addr string

	mu    sync.Mutex
	whole map[string]int // complete requests read, by X-Id
}

func newFar(t testing.TB, serve func(*faulty.Conn)) *far {
	t.Helper()
	f := &far{whole: map[string]int{}}
	var err error
	if f.Server, err = faulty.Listen(func(q *http.Request, _ []byte) { f.count(q.Header.Get("X-Id")) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	f.addr = f.Addr()
	f.Serve(serve)
	return f
}

// suffer lets a fault begin.
func (f *far) suffer(t testing.TB, fault *faulty.Fault) {
	t.Helper()
	if err := f.Suffer(fault); err != nil {
		t.Fatal(err)
	}
}

// blackhole is an address that answers no SYN.
func blackhole(t testing.TB) (addr string) {
	t.Helper()
	f := newFar(t, healthy)
	f.suffer(t, &faulty.Fault{Port: faulty.Deaf})
	return f.addr
}

func (f *far) count(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.whole[id]++
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

// connections are those accepted so far.
func (f *far) connections() int {
	_, accepted := f.Connections()
	return accepted
}

// open are the connections that are open now.
func (f *far) open() int {
	open, _ := f.Connections()
	return open
}

const okay = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// healthy answers every request.
func healthy(c *faulty.Conn) { answers(okay)(c) }

// answers reads whole requests and answers each with the same bytes.
func answers(answer string) func(*faulty.Conn) {
	return func(c *faulty.Conn) {
		for {
			if _, _, err := c.Request(); err != nil || c.Send(answer) != nil {
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

// patience is how long production may take for one answer in these tests: what a slow machine needs, and less than a copy
// may take that hangs.
const patience = 30 * time.Second

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
	eventually(r.t, "nothing held", func() bool { return r.mirrors.Held() == 0 && target.InFlight() == 0 })
	r.posted() // what is counted in a turn is published at its end
	eventually(r.t, "all copies ended", func() bool {
		n := s.Counts()
		balance(r.t, n)
		return n.Live == 0
	})
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
