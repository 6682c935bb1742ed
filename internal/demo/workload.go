// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/mccutchen/go-httpbin/v2/httpbin"
)

// What the workloads call themselves in X-Served-By.
const (
	nameA = "httpbin-v1.mesh-a"
	nameB = "httpbin.mesh-b"
)

// Seen is one request as a workload saw it.
type Seen struct {
	At     time.Time
	Method string
	Target string // path and query
	Host   string
	Bytes  int    // of the body
	Sum    uint32 // CRC-32 of the body
}

// line is how a workload's log shows it.
func (s Seen) line(workload string) string {
	return fmt.Sprintf("  %-18s %s  %-4s %-16s body %4d B   Host: %s",
		workload, s.At.Format("15:04:05.000"), s.Method, s.Target, s.Bytes, s.Host)
}

// maxBody is the most of a request's body that a workload takes.
const maxBody = 1 << 20

// workload is httpbin with a name: it adds X-Served-By and records what it sees.
func workload(name string, record func(Seen)) http.Handler {
	bin := httpbin.New(httpbin.WithMaxBodySize(maxBody))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		record(Seen{
			At: time.Now(), Method: r.Method, Target: r.RequestURI, Host: r.Host,
			Bytes: len(body), Sum: crc32.ChecksumIEEE(body),
		})
		w.Header().Set("X-Served-By", name)
		bin.ServeHTTP(w, r)
	})
}

// where tells the workloads apart.
type where int

const (
	inA where = iota
	inB
)

var workloadNames = [...]string{inA: "A httpbin v1", inB: "B httpbin"}

// recorder collects what both workloads see: all of it during the traffic, which is bounded; after follow only as
// lines.
type recorder struct {
	mu    sync.Mutex
	all   [2][]Seen
	lines chan string // nil until follow
}

func (r *recorder) add(w where, s Seen) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lines == nil {
		r.all[w] = append(r.all[w], s)
		return
	}
	select {
	case r.lines <- s.line(workloadNames[w]):
	default: // whoever reads is behind: the workload does not wait for it
	}
}

func (r *recorder) count(w where) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all[w])
}

// taken returns what a workload has seen so far.
func (r *recorder) taken(w where) []Seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[w][:len(r.all[w]):len(r.all[w])]
}

// follow turns to lines; more than its capacity at once are lost.
func (r *recorder) follow() <-chan string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = make(chan string, 64)
	return r.lines
}
