// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

func TestRequestAndAnswerPassThrough(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	a := origin(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("X-Got", q.Host+" "+q.RequestURI)
		fmt.Fprint(w, "hello")
	})
	r.cluster("a", a)
	r.serve(r.to("a"))
	for range 20 {
		if code, body := r.get("/x?y=1"); code != 200 || body != "hello" {
			t.Fatalf("got %d %q", code, body)
		}
	}
}

func TestBodiesOfEverySizeArriveWhole(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	echo := func(w http.ResponseWriter, q *http.Request) {
		b, err := io.ReadAll(q.Body)
		if err != nil {
			w.WriteHeader(500)
		}
		w.Write(b)
	}
	var mu sync.Mutex
	copies := map[string]int{}
	b := origin(t, func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err == nil {
			mu.Lock()
			copies[fmt.Sprintf("%x", sha256.Sum256(body))]++
			mu.Unlock()
		}
	})
	r.cluster("a", origin(t, echo))
	r.cluster("b", b)
	r.serve(r.to("a", r.policy("b", 100)))
	sizes := []int{0, 1, 100, 4095, 4096, 4097, 16383, 16384, 65535, 65536, 65537, 1 << 20, 3<<20 + 7}
	want := 0
	for _, n := range sizes {
		for _, chunked := range []bool{false, true} {
			data := make([]byte, n)
			for i := range data {
				data[i] = byte(rand.Uint32())
			}
			var body io.Reader = bytes.NewReader(data)
			if chunked {
				body = io.MultiReader(body) // hides the length
			}
			resp, err := r.client.Post("http://"+r.addr+"/", "application/octet-stream", body)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != 200 || !bytes.Equal(got, data) {
				t.Fatalf("size %d chunked %v: status %d, %d bytes, %v", n, chunked, resp.StatusCode, len(got), err)
			}
			want++
			sum := fmt.Sprintf("%x", sha256.Sum256(data))
			eventually(t, fmt.Sprintf("copy of size %d chunked %v", n, chunked), func() bool {
				mu.Lock()
				defer mu.Unlock()
				return copies[sum] > 0
			})
		}
	}
	s := r.mirrors.Stats("test", "b")
	eventually(t, "all delivered", func() bool { return s.Counts().Delivered == int64(want) })
	eventually(t, "no memory held", func() bool { return r.mirrors.Held() == 0 })
}

func TestCopyHasTheDocumentedHeadAndNothingElse(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var heads [2]http.Header
	var hosts [2]string
	var seen atomic.Int32
	record := func(i int) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) {
			heads[i], hosts[i] = q.Header.Clone(), q.Host
			seen.Add(1)
		}
	}
	r.cluster("a", origin(t, record(0)))
	r.cluster("b", origin(t, record(1)))
	r.serve(r.to("a", r.policy("b", 100)))
	req, _ := http.NewRequest("GET", "http://"+r.addr+"/x", nil)
	req.Host = "shop.example:8080"
	req.Header.Set("X-Custom", "v")
	req.Header.Set("X-Forwarded-For", "198.51.100.7")
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	eventually(t, "both seen", func() bool { return seen.Load() == 2 })
	if hosts[0] != "shop.example:8080" || hosts[1] != "shop.example-shadow:8080" {
		t.Errorf("hosts %q", hosts)
	}
	if resp.Header.Get("Server") != "istio-envoy" {
		t.Errorf("server %q", resp.Header.Get("Server"))
	}
	p, c := heads[0], heads[1]
	if got := p.Get("X-Forwarded-For"); got != "198.51.100.7,192.0.2.1" {
		t.Errorf("primary xff %q", got)
	}
	if got := c.Get("X-Forwarded-For"); got != "198.51.100.7,192.0.2.1,192.0.2.1" {
		t.Errorf("copy xff %q", got)
	}
	for _, h := range []string{"X-Request-Id", "X-Envoy-External-Address", "X-Envoy-Attempt-Count", "X-Custom", "X-Forwarded-Proto", "User-Agent"} {
		if p.Get(h) == "" || p.Get(h) != c.Get(h) {
			t.Errorf("%s: primary %q copy %q", h, p.Get(h), c.Get(h))
		}
	}
	if c.Get("X-Envoy-Internal") != "true" || c.Get("X-Umbra-Mirror-Hops") != "1" {
		t.Errorf("copy: %v", c)
	}
	if len(c) != len(p)+2 {
		t.Errorf("primary %v\ncopy %v", p, c)
	}
}

func TestUpstreamAnswers503ThenOKGivesOneCopy(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var tries, copies atomic.Int32
	r.cluster("a", origin(t, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		if string(body) != "data" {
			t.Errorf("body %q", body)
		}
		if got, want := q.Header.Get("X-Envoy-Attempt-Count"), fmt.Sprint(tries.Add(1)); got != want {
			t.Errorf("attempt count %q, want %q", got, want)
		}
		if tries.Load() == 1 {
			w.WriteHeader(503)
		}
	}))
	r.cluster("b", origin(t, func(w http.ResponseWriter, q *http.Request) { copies.Add(1) }))
	r.serve(r.to("a", r.policy("b", 100)))
	resp, err := r.client.Post("http://"+r.addr+"/", "text/plain", strings.NewReader("data"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	s := r.mirrors.Stats("test", "b")
	defer func() { t.Logf("%+v", s.Counts()) }()
	eventually(t, "copy delivered", func() bool { return s.Counts().Delivered == 1 })
	if resp.StatusCode != 200 || tries.Load() != 2 || copies.Load() != 1 {
		t.Errorf("status %d, %d tries, %d copies", resp.StatusCode, tries.Load(), copies.Load())
	}
}

func TestNoHostNoClusterNoRoute(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.cluster("empty")
	r.cluster("b", origin(t, func(w http.ResponseWriter, q *http.Request) { t.Error("copy of a request without a host") }))
	if code, _ := r.get("/"); code != 404 {
		t.Errorf("no table: %d", code)
	}
	r.serve(r.to("nowhere", r.policy("b", 100)))
	if code, _ := r.get("/"); code != 503 {
		t.Errorf("no cluster: %d", code)
	}
	r.serve(r.to("empty", r.policy("b", 100)))
	if code, body := r.get("/"); code != 503 || body != "no healthy upstream" {
		t.Errorf("no host: %d %q", code, body)
	}
	s := r.mirrors.Stats("test", "b")
	eventually(t, "refused counted", func() bool { return s.Counts().Dropped["refused"] == 1 })
}
