// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/test/faulty"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// production is the far end that must never notice anything: it answers what it got, and counts requests by X-Id.
type production struct {
	server *httptest.Server
	mu     sync.Mutex
	served map[string]int // guarded by mu
	total  atomic.Int64
}

func newProduction(t *testing.T) *production {
	p := &production{served: map[string]int{}}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return // broken by the client
		}
		p.mu.Lock()
		p.served[q.Header.Get("X-Id")]++
		p.mu.Unlock()
		p.total.Add(1)
		w.Header().Set("X-Served", "production")
		w.Write(body)
	}))
	t.Cleanup(p.server.Close)
	return p
}

func (p *production) addr() string { return p.server.Listener.Addr().String() }

func (p *production) times(id string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.served[id]
}

var lastID atomic.Int64

func newID() string { return fmt.Sprint("r", lastID.Add(1)) }

// faultTimeout is how long copies may take here: more than a loaded machine needs for them.
const faultTimeout = 1500 * time.Millisecond

// starved is how slow production's own answers are where the machine leaves the workers too little time. Then any copy
// may be shed or come too late.
const starved = faultTimeout / 4

// excused are the causes that are nobody's fault, given the slowest of production's answers beside.
func excused(slowest time.Duration) []string {
	if slowest > starved {
		return []string{"overload", "timeout", "connect"}
	}
	return []string{"overload"}
}

// rawPost is a POST as it goes over the wire, and where its body begins.
func rawPost(id string, body []byte, chunked bool) (b []byte, at int) {
	head := "POST /upload HTTP/1.1\r\nHost: shop.example\r\nX-Id: " + id + "\r\n"
	if !chunked {
		b = fmt.Appendf(b, "%sContent-Length: %d\r\n\r\n", head, len(body))
		return append(b, body...), len(b)
	}
	b = fmt.Appendf(b, "%sTransfer-Encoding: chunked\r\n\r\n", head)
	at = len(b)
	for piece := range slices.Chunk(body, max(len(body)/3, 1)) {
		b = fmt.Appendf(b, "%x\r\n%s\r\n", len(piece), piece)
	}
	return append(b, "0\r\nX-Trailer: t\r\n\r\n"...), at
}

// dial is a raw connection to the proxy.
func (m *mesh) dial() net.Conn {
	m.t.Helper()
	c, err := net.Dial("tcp", m.Addr)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(meshtest.Patience))
	return c
}

// exchange sends one request and holds that production's answer is whole and its own.
func (m *mesh) exchange(id string, body []byte, chunked bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), meshtest.Patience)
	defer cancel()
	method, from := "GET", io.Reader(nil)
	if body != nil {
		method, from = "POST", bytes.NewReader(body)
		if chunked {
			from = io.MultiReader(from) // hides the length
		}
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://"+m.Addr+"/path?q=1", from)
	if err != nil {
		return err
	}
	q.Header.Set("X-Id", id)
	began := time.Now()
	resp, err := m.base.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	took := int64(time.Since(began))
	for was := m.slowest.Load(); took > was && !m.slowest.CompareAndSwap(was, took); was = m.slowest.Load() {
	}
	switch {
	case err != nil:
		return err
	case resp.StatusCode != 200 || resp.Header.Get("X-Served") != "production" || resp.Header.Get("Set-Cookie") != "":
		return fmt.Errorf("status %d, header %v", resp.StatusCode, resp.Header)
	case !bytes.Equal(got, body):
		return errors.New("the answer is not what was sent")
	}
	return nil
}

func (m *mesh) must(body []byte, chunked bool) {
	m.t.Helper()
	if err := m.exchange(newID(), body, chunked); err != nil {
		m.t.Fatalf("production: %v", err)
	}
}

// copies are the requests that a mirror has read whole, by X-Id.
type copies struct {
	mu   sync.Mutex
	seen map[string]copied // guarded by mu
}

type copied struct {
	times int
	host  string
	sum   [sha256.Size]byte // of the body, the last time
	bytes int
}

// whole reports whether it came once and with that body.
func (c copied) whole(body []byte) bool { return c.times == 1 && c.sum == sha256.Sum256(body) }

func newFaulty(t *testing.T) (*faulty.Server, *copies) {
	t.Helper()
	c := &copies{seen: map[string]copied{}}
	s, err := faulty.Listen(func(q *http.Request, body []byte) {
		c.mu.Lock()
		defer c.mu.Unlock()
		id := q.Header.Get("X-Id")
		c.seen[id] = copied{c.seen[id].times + 1, q.Host, sha256.Sum256(body), len(body)}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, c
}

func (c *copies) of(id string) copied {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[id]
}

// holdings are what a process holds that must come back.
type holdings struct{ descriptors, goroutines int }

func held() holdings {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil { // not on this system
		list = nil
	}
	return holdings{len(list), runtime.NumGoroutine()}
}

func (h holdings) within(base holdings) bool {
	return h.descriptors <= base.descriptors && h.goroutines <= base.goroutines
}
