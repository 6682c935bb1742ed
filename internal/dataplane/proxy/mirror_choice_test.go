// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"bufio"
	"io"
	"maps"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/test/faulty"
)

// ids collects the request ids a server saw.
type ids struct {
	mu   sync.Mutex
	seen map[string]int
}

func (s *ids) handler(w http.ResponseWriter, q *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]int{}
	}
	s.seen[q.Header.Get("X-Id")]++
}

// byRequestID is handler for what the proxy itself tells requests apart by.
func (s *ids) byRequestID(w http.ResponseWriter, q *http.Request) {
	q.Header.Set("X-Id", q.Header.Get("X-Request-Id"))
	s.handler(w, q)
}

// all is what was seen, once it is all there.
func (s *ids) all() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.seen)
}

// many sends n GETs over one connection and returns their ids.
func (r *rig) many(n int) []string {
	r.t.Helper()
	c := r.dial()
	defer c.Close()
	read := bufio.NewReader(c)
	var sent []string
	for range n {
		id := newID()
		sent = append(sent, id)
		c.SetDeadline(time.Now().Add(patience))
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nX-Id: "+id+"\r\n\r\n")
		resp, err := http.ReadResponse(read, nil)
		if err != nil || resp.StatusCode != 200 {
			r.t.Fatal(resp, err)
		}
		io.Copy(io.Discard, resp.Body)
	}
	return sent
}

// near holds that k of n is a share p within 5 sigma.
func near(t *testing.T, what string, k, n int, p float64) {
	t.Helper()
	if d := math.Abs(float64(k) - float64(n)*p); d > 5*math.Sqrt(float64(n)*p*(1-p)) {
		t.Errorf("%s: %d of %d, want a share of %v", what, k, n, p)
	}
}

func TestSharesAreNestedAndCountedOnce(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var a, b0, b10, b50, b100 ids
	r.cluster("a", origin(t, a.handler))
	r.cluster("b0", origin(t, b0.handler))
	r.cluster("b10", origin(t, b10.handler))
	r.cluster("b50", origin(t, b50.handler))
	r.cluster("b100", origin(t, b100.handler))
	r.serve(r.to("a", r.policy("b0", 0), r.policy("b10", 10), r.policy("b50", 50), r.policy("b100", 100)))
	const n = 2000
	sent := r.many(n)
	for _, name := range []string{"b0", "b10", "b50", "b100"} {
		got := r.copiesEnded(name)
		if got.Eligible != n || got.Delivered != got.Selected {
			t.Errorf("%s: %+v", name, got)
		}
	}
	gotA, gotB0, gotB10, gotB50, gotB100 := a.all(), b0.all(), b10.all(), b50.all(), b100.all()
	if len(gotA) != n || len(gotB0) != 0 || len(gotB100) != n {
		t.Errorf("production %d, 0 %%: %d, 100 %%: %d", len(gotA), len(gotB0), len(gotB100))
	}
	near(t, "10 %", len(gotB10), n, 0.1)
	near(t, "50 %", len(gotB50), n, 0.5)
	for _, id := range sent {
		if gotB10[id] > gotB50[id] {
			t.Fatalf("request %s went to the 10 %% mirror and not to the 50 %% one", id)
		}
		if gotA[id] != 1 || gotB50[id] > 1 || gotB100[id] != 1 {
			t.Fatalf("request %s: production %d, 50 %%: %d, 100 %%: %d", id, gotA[id], gotB50[id], gotB100[id])
		}
	}
}

func TestShareIsIndependentOfTheWeightedPick(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var a1, a2, b ids
	r.cluster("a1", origin(t, a1.handler))
	r.cluster("a2", origin(t, a2.handler))
	r.cluster("b", origin(t, b.handler))
	action := r.to("a1", r.policy("b", 50))
	action.Clusters = append(action.Clusters, proxy.Weighted{Slot: r.clusters.Slot("a2"), Weight: 50})
	action.Clusters[0].Weight, action.TotalWeight = 50, 100
	r.serve(action)
	const n = 2000
	sent := r.many(n)
	r.copiesEnded("b")
	gotA1, gotA2, gotB := a1.all(), a2.all(), b.all()
	copied := [2]int{}
	for _, id := range sent {
		if gotB[id] == 1 {
			copied[gotA2[id]]++
		}
	}
	near(t, "picked the second", len(gotA2), n, 0.5)
	near(t, "copied of the first's", copied[0], len(gotA1), 0.5)
	near(t, "copied of the second's", copied[1], len(gotA2), 0.5)
}

func TestShareIsIndependentOfTheRoutes(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var some, others, b ids
	r.cluster("some", origin(t, some.handler))
	r.cluster("others", origin(t, others.handler))
	r.cluster("b", origin(t, b.handler))
	all := route.PathMatch{Kind: route.PathPrefix, Value: "/"}
	half := route.Route[*proxy.Action]{Path: all, Action: r.to("some", r.policy("b", 50))}
	half.Fraction.Numerator, half.Fraction.Denominator = 50, 100
	r.table(half, route.Route[*proxy.Action]{Path: all, Action: r.to("others", r.policy("b", 50))})
	const n = 2000
	r.many(n)
	r.copiesEnded("b")
	gotSome, gotB := some.all(), b.all()
	copied := 0
	for id := range gotSome {
		copied += gotB[id]
	}
	near(t, "of the route for half of the requests", len(gotSome), n, 0.5)
	near(t, "copied of these", copied, len(gotSome), 0.5)
}

func TestHostOfTheCopy(t *testing.T) {
	for _, keep := range []bool{false, true} {
		r := newRig(t, mirror.Limits{})
		var served atomic.Int64
		hosts := make(chan string, 1)
		b := newFar(t, func(c *faulty.Conn) {
			for {
				q, _, err := c.Request()
				if err != nil {
					return
				}
				hosts <- q.Host
				io.WriteString(c, okay)
			}
		})
		r.cluster("a", origin(t, echo(&served)))
		r.cluster("b", b.addr)
		p := r.policy("b", 100)
		p.KeepHost = keep
		r.serve(r.to("a", p))
		c := r.dial()
		read := bufio.NewReader(c)
		for host, want := range map[string]string{
			"shop.example": "shop.example-shadow", "shop.example:8080": "shop.example-shadow:8080", "[::1]": "[::1]-shadow",
			"[::1]:80": "[::1]-shadow:80", "192.0.2.7": "192.0.2.7-shadow", "shop-shadow": "shop-shadow",
			"shop-shadow:80": "shop-shadow:80",
		} {
			if keep {
				want = host
			}
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
			if resp, err := http.ReadResponse(read, nil); err != nil {
				t.Fatal(err)
			} else if resp.StatusCode != 200 {
				t.Fatalf("%s: status %d", host, resp.StatusCode)
			}
			if got := <-hosts; got != want {
				t.Errorf("Host %s, keep %v: copy has %s, want %s", host, keep, got, want)
			}
		}
	}
}
