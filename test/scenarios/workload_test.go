// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mccutchen/go-httpbin/v2/httpbin"

	"github.com/umbra-mesh/umbra/test/meshtest"
)

// request is what a workload saw.
type request struct {
	Method, Target, Host string
	Header               http.Header
	Body                 string
}

// workload is httpbin with a name, that keeps what it sees before it answers.
type workload struct {
	name, addr string
	port       uint16

	mu      sync.Mutex
	seen    []request
	arrived chan struct{} // capacity 1: something was seen
}

func newWorkload(t *testing.T, name string) *workload {
	t.Helper()
	return newWorkloadServing(t, name, httpbin.New())
}

func newWorkloadServing(t *testing.T, name string, h http.Handler) *workload {
	t.Helper()
	w := &workload{name: name, arrived: make(chan struct{}, 1)}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // broken off
		}
		w.add(request{r.Method, r.RequestURI, r.Host, r.Header.Clone(), string(body)})
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		rw.Header().Set("X-Served-By", name)
		h.ServeHTTP(rw, r)
	}))
	t.Cleanup(s.Close)
	w.addr = s.Listener.Addr().String()
	w.port = netip.MustParseAddrPort(w.addr).Port()
	return w
}

func (w *workload) add(r request) {
	w.mu.Lock()
	w.seen = append(w.seen, r)
	w.mu.Unlock()
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

func (w *workload) all() []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[:len(w.seen):len(w.seen)]
}

func (w *workload) count() int { return len(w.all()) }

// wait returns what was seen once that is n requests.
func (w *workload) wait(t *testing.T, n int) []request {
	t.Helper()
	deadline := time.NewTimer(meshtest.Patience)
	defer deadline.Stop()
	for {
		if seen := w.all(); len(seen) >= n {
			return seen
		}
		select {
		case <-w.arrived:
		case <-deadline.C:
			t.Fatalf("%s has seen %d requests, not %d", w.name, w.count(), n)
		}
	}
}
