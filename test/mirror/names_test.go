// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// replicas are servers on loopback addresses of one port, as many as a name may have.
type replicas struct {
	port   uint16
	addrs  []netip.Addr
	open   [3]atomic.Int64 // connections
	served sync.Map        // X-Id to *atomic.Int64
	total  atomic.Int64
}

func newReplicas(t *testing.T) *replicas {
	t.Helper()
	r := &replicas{port: meshtest.FreePort(t)}
	for i := range r.open {
		addr := netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)})
		l, err := net.Listen("tcp", netip.AddrPortFrom(addr, r.port).String())
		if err != nil {
			t.Fatal(err)
		}
		r.addrs = append(r.addrs, addr)
		s := &http.Server{
			Handler: http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
				n, _ := r.served.LoadOrStore(q.Header.Get("X-Id"), new(atomic.Int64))
				n.(*atomic.Int64).Add(1)
				r.total.Add(1)
			}),
			ConnState: func(_ net.Conn, s http.ConnState) {
				switch s {
				case http.StateNew:
					r.open[i].Add(1)
				case http.StateClosed:
					r.open[i].Add(-1)
				}
			},
		}
		var serving sync.WaitGroup
		serving.Go(func() { s.Serve(l) })
		t.Cleanup(func() { s.Close(); serving.Wait() })
	}
	return r
}

// Names whose addresses change all the time, come in any number, or are not there for a while: no request is lost, none
// is sent twice, and hosts that left keep no connection.
func TestAddressesThatChangeUnderLoadLoseNothing(t *testing.T) {
	production, copies := newReplicas(t), newReplicas(t)
	var churn, asked atomic.Int64
	churn.Store(1)
	lookup := func(_ context.Context, _, name string) ([]netip.Addr, error) {
		of := map[string]*replicas{"a.test": production, "b.test": copies}[name]
		n := asked.Add(1)
		if churn.Load() == 0 || n <= 2 {
			return of.addrs[:1], nil
		}
		switch n % 5 {
		case 0:
			return nil, errors.New("no such host")
		case 1:
			return of.addrs, nil
		}
		return of.addrs[n%3:][:1], nil
	}
	by := func(name string, r *replicas) upstream.Config {
		return upstream.Config{
			Discovery: upstream.StrictDNS, DNSRefresh: 2 * time.Millisecond,
			Static: []upstream.Endpoint{{Name: name, Port: r.port}},
		}
	}
	r := newRigOf(t, mirror.Limits{Timeout: never, ConnectTime: never}, lookup, by("a.test", production), by("b.test", copies))
	meshtest.Until(t, "the names are known", func() bool {
		return len(r.clusters.Slot("a").Cluster().Hosts()) > 0 && len(r.clusters.Slot("b").Cluster().Hosts()) > 0
	})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: meshtest.Patience}
	t.Cleanup(client.CloseIdleConnections)
	const n = 3000
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := next.Add(1); i <= n; i = next.Add(1) {
				q, err := http.NewRequest("POST", "http://"+r.addr+"/", http.NoBody) // not sent again by anybody
				if err != nil {
					t.Error(err)
					return
				}
				q.Header.Set("X-Id", fmt.Sprint(i))
				resp, err := client.Do(q)
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("got %d", resp.StatusCode)
				}
			}
		})
	}
	wg.Wait()
	meshtest.Until(t, "all copies have ended", func() bool {
		counts := r.stats.Counts()
		balance(t, counts)
		return counts.Selected == n && counts.Live == 0
	})
	if counts := r.stats.Counts(); counts.Delivered != n {
		t.Errorf("%+v", counts)
	}
	for name, far := range map[string]*replicas{"production": production, "the mirror": copies} {
		far.served.Range(func(id, times any) bool {
			if k := times.(*atomic.Int64).Load(); k != 1 {
				t.Errorf("%s saw request %v %d times", name, id, k)
			}
			return true
		})
		if k := far.total.Load(); k != n {
			t.Errorf("%s saw %d requests for %d", name, k, n)
		}
	}
	churn.Store(0)
	meshtest.Until(t, "hosts that left keep no connection", func() bool {
		return production.open[1].Load()+production.open[2].Load()+copies.open[1].Load()+copies.open[2].Load() == 0
	})
}
