// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

const (
	copyTimeout = 3 * time.Second
	inFlight    = 256
	memoryBound = 64 << 20 // above what the process took before
	clients     = 8
)

// traffic is what production runs: GET and POST of 1 MiB, with Content-Length and chunked.
type traffic struct {
	t      *testing.T
	addr   string
	client *http.Client
	body   []byte
	sum    string
	sent   atomic.Int64
	faults atomic.Int64
}

func newTraffic(t *testing.T, addr string) *traffic {
	body := make([]byte, 1<<20)
	rand.Read(body)
	f := &traffic{
		t: t, addr: addr, body: body, sum: fmt.Sprintf("%x", sha256.Sum256(body)),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}},
	}
	t.Cleanup(f.client.CloseIdleConnections)
	return f
}

// one sends the i-th request and checks production's answer: right, and in time.
func (f *traffic) one() {
	i := f.sent.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), meshtest.Patience)
	defer cancel()
	method, want, length := "POST", f.sum, len(f.body)
	var body io.Reader = bytes.NewReader(f.body)
	switch i % 4 {
	case 0:
		body = io.MultiReader(body) // hides the length: chunked
	case 1, 2:
		method, body, want, length = "GET", nil, fmt.Sprintf("%x", sha256.Sum256(nil)), 0
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://"+f.addr+"/headers", body)
	if err != nil {
		f.t.Error(err)
		return
	}
	q.Header.Set("X-Id", fmt.Sprint(i))
	q.Header.Set("X-Length", fmt.Sprint(length))
	resp, err := f.client.Do(q)
	var got []byte
	if err == nil {
		got, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil && (resp.StatusCode != 200 || string(got) != want) {
		err = fmt.Errorf("status %d, %q", resp.StatusCode, got)
	}
	if err != nil && f.faults.Add(1) <= 5 {
		f.t.Errorf("production, request %d: %v", i, err)
	}
}

// run keeps all clients busy until done reports true.
func (f *traffic) run(done func() bool) {
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for !done() {
				f.one()
			}
		})
	}
	wg.Wait()
}

// gauge is what the process holds; most keeps the highest of many looks.
type gauge struct{ rss, fds, held int64 }

func look(m *mirror.Engine) (g gauge) {
	var total, resident int64
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		fmt.Sscan(string(b), &total, &resident)
	}
	g.rss = resident * int64(os.Getpagesize())
	if d, err := os.ReadDir("/proc/self/fd"); err == nil {
		g.fds = int64(len(d))
	}
	g.held = m.Held()
	return g
}

func (g *gauge) most(o gauge) {
	g.rss, g.fds, g.held = max(g.rss, o.rss), max(g.fds, o.fds), max(g.held, o.held)
}

// observe looks at the process and at the published accounts until stop is called, which returns the highest readings.
func observe(t *testing.T, r *rig) (stop func() gauge) {
	var g gauge
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			g.most(look(r.mirrors))
			balance(t, r.stats.Counts())
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return func() gauge { close(done); wg.Wait(); return g }
}

func balance(t *testing.T, n mirror.Counts) {
	sum := n.Delivered + n.Live
	for _, k := range n.Dropped {
		sum += k
	}
	if n.Selected != sum || n.Live < 0 || n.Sent < n.Delivered {
		t.Errorf("accounts do not balance: %+v", n)
	}
}

func TestFrozenMirror(t *testing.T) {
	// The garbage here is the clients': the proxy makes none. It is collected early, or it would hide what copies hold.
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	b := startChild(t)
	var mu sync.Mutex
	served := map[string]int{}
	a := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		h := sha256.New()
		if _, err := io.Copy(h, q.Body); err != nil {
			return
		}
		mu.Lock()
		served[q.Header.Get("X-Id")]++
		mu.Unlock()
		fmt.Fprintf(w, "%x", h.Sum(nil))
	}))
	t.Cleanup(a.Close)
	r := newRig(t, mirror.Limits{Timeout: copyTimeout, MaxInFlight: inFlight, ConnectTime: meshtest.Patience}, a.Listener.Addr().String(), b.addr)
	f := newTraffic(t, r.addr)

	// As long as the mirror is well: what the process takes for production, copies and this test.
	f.run(func() bool { return f.sent.Load() >= 400 })
	meshtest.Until(t, "a well mirror is done", func() bool { return r.stats.Counts().Live == 0 })
	base := look(r.mirrors)
	if n := r.stats.Counts(); n.Delivered < n.Selected*9/10 {
		t.Errorf("a well mirror got few: %+v", n)
	}

	b.freeze()
	stop := observe(t, r)
	bounds := func(n mirror.Counts) int64 { return n.Dropped["overflow"] + n.Dropped["memory"] + n.Dropped["buffer"] }
	end := time.Now().Add(meshtest.Patience)
	f.run(func() bool {
		n := r.stats.Counts()
		return n.Dropped["timeout"] > 0 && bounds(n) > 0 || time.Now().After(end)
	})
	frozen := r.stats.Counts()
	peak := stop()
	t.Logf("%d requests; resident %d MiB above base, descriptors %d above base, held %d MiB at most; %+v", f.sent.Load(),
		(peak.rss-base.rss)>>20, peak.fds-base.fds, peak.held>>20, frozen)
	if peak.rss-base.rss > memoryBound && !raceDetector {
		t.Errorf("resident memory grew by %d MiB", (peak.rss-base.rss)>>20)
	}
	if limit := r.mirrors.MemoryLimit() + 136<<10; peak.held > limit { // two workers: see MemoryLimit
		t.Errorf("copies held %d bytes, bound %d", peak.held, limit)
	}
	if more := peak.fds - base.fds; more > inFlight+2*clients {
		t.Errorf("%d more descriptors", more)
	}
	// A frozen mirror is found out by time, and what it may hold meanwhile by a bound.
	if frozen.Dropped["timeout"] == 0 {
		t.Errorf("no copy timed out: %+v", frozen)
	}
	if bounds(frozen) == 0 {
		t.Errorf("no bound was reached: %+v", frozen)
	}

	before := r.stats.Counts().Delivered
	b.signal(syscall.SIGCONT)
	back, slowest := time.Now(), time.Duration(0)
	for r.stats.Counts().Delivered <= before {
		if took := time.Since(back); took > meshtest.Patience || took > recovery && slowest < starved {
			t.Fatalf("no delivery within %v of SIGCONT: %+v", took, r.stats.Counts())
		}
		began := time.Now()
		f.one()
		slowest = max(slowest, time.Since(began))
	}
	f.run(func() bool { return f.sent.Load()%400 == 0 })

	meshtest.Until(t, "all copies have ended", func() bool {
		n := r.stats.Counts()
		balance(t, n)
		return n.Live == 0
	})
	if r.target.InFlight() != 0 {
		t.Errorf("%d in flight after the end", r.target.InFlight())
	}
	meshtest.Until(t, "no memory is held", func() bool { return r.mirrors.Held() == 0 })
	meshtest.Until(t, "the mirror has read what it was sent", func() bool { return b.report().Active == 0 })
	settle(t, b, r.stats.Counts())

	mu.Lock()
	for i := range f.sent.Load() {
		if n := served[fmt.Sprint(i+1)]; n != 1 {
			t.Errorf("production saw request %d %d times", i+1, n)
		}
	}
	mu.Unlock()
	r.clusters.Remove("b")
	f.client.CloseIdleConnections()
	meshtest.Until(t, "descriptors are back", func() bool { return look(r.mirrors).fds <= base.fds })
}

// settle compares the accounts with what the far end saw.
func settle(t *testing.T, b *child, n mirror.Counts) {
	t.Helper()
	for cause := range n.Dropped {
		switch cause {
		case "timeout", "overflow", "memory", "buffer", "connect", "reset", "stale":
		default:
			t.Errorf("dropped as %s: %+v", cause, n)
		}
	}
	seen := b.report()
	for id, k := range seen.Whole {
		if k != 1 {
			t.Errorf("request %s was copied %d times", id, k)
		}
	}
	whole := int64(len(seen.Whole))
	if n.Delivered > whole || whole > n.Delivered+n.Dropped["timeout"]+n.Dropped["reset"] || seen.Wrong > 0 {
		t.Errorf("the mirror saw %d whole copies (%d of them wrong), %d broken: %+v", whole, seen.Wrong, seen.Broken, n)
	}
	t.Logf("the mirror saw %d whole copies, %d broken: %+v", whole, seen.Broken, n)
}
