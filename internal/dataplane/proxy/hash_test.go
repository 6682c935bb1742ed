// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// named are n origins that tell their number in the answer, and in which what they got can be read.
func (r *rig) named(cluster string, policy upstream.Policy, n int) []*recorded {
	cfg := unlimited
	cfg.Name, cfg.Policy = cluster, policy
	var all []*recorded
	for i := range n {
		o := recording(r.t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Host: %d\r\n\r\n", i))
		all = append(all, o)
		cfg.Static = append(cfg.Static, upstream.Endpoint{Addr: netip.MustParseAddrPort(o.addr)})
	}
	r.clusters.Set(cfg)
	return all
}

// served is which of the origins got the request with that X-Id; it waits for it.
func served(t testing.TB, all []*recorded, id string) int {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		for i, o := range all {
			select {
			case head := <-o.got:
				if has(head, "X-Id: "+id) {
					return i
				}
				t.Fatalf("somebody else's request: %q", head)
			default:
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nobody got it")
		}
	}
}

func TestSameKeySameHostForRequestsAndForCopies(t *testing.T) {
	for name, c := range map[string]struct {
		policy upstream.Policy
		hash   filter.HashPolicy
		field  string
	}{
		"ring, header":   {upstream.RingHash, filter.HashPolicy{Header: "x-user"}, "X-User: user-%d"},
		"maglev, cookie": {upstream.Maglev, filter.HashPolicy{Cookie: &filter.HashCookie{Name: "user"}}, "Cookie: a=b; user=u%d"},
		"ring, query":    {upstream.RingHash, filter.HashPolicy{Query: "user"}, "X-None: %d"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, mirror.Limits{})
			primaries, copies := r.named("a", c.policy, 4), r.named("b", c.policy, 4)
			a := r.to("a", r.policy("b", 100))
			a.Hash = []filter.HashPolicy{c.hash}
			r.serve(a)
			hosts, used := map[int][2]int{}, map[[2]int]bool{}
			for i := range 120 {
				user := i % 20
				id := fmt.Sprint("id-", i)
				if code, _ := r.get2(fmt.Sprintf("/?user=%d", user), fmt.Sprintf(c.field, user), "X-Id: "+id); code != "200" {
					t.Fatal(code)
				}
				got := [2]int{served(t, primaries, id), served(t, copies, id)}
				if want, ok := hosts[user]; ok && got != want {
					t.Fatalf("user %d: hosts %v of production and the mirror, %v before", user, got, want)
				}
				hosts[user] = got
				used[[2]int{0, got[0]}], used[[2]int{1, got[1]}] = true, true
			}
			if len(used) < 5 {
				t.Errorf("20 keys use %v of 4 and 4 hosts", used)
			}
		})
	}
}

func TestCookieIsGivenOnceAndLeadsBack(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	r.named("a", upstream.RingHash, 4)
	a := r.to("a")
	a.Hash = []filter.HashPolicy{{Cookie: &filter.HashCookie{Name: "stick", Path: "/p", TTL: time.Hour, Make: true}}}
	r.serve(a)
	for range 20 {
		code, head := r.get2("/")
		_, cookie, ok := strings.Cut(head, "\r\nset-cookie: ")
		cookie, _, _ = strings.Cut(cookie, "\r\n")
		if code != "200" || !ok || !strings.HasPrefix(cookie, "stick=") || !strings.Contains(cookie, "Max-Age=3600") ||
			!strings.Contains(cookie, "Path=/p") || !strings.Contains(cookie, "HttpOnly") {
			t.Fatalf("%q", head)
		}
		pair, _, _ := strings.Cut(cookie, ";")
		_, host, _ := strings.Cut(head, "\r\nX-Host: ")
		_, again := r.get2("/", "Cookie: "+strings.ReplaceAll(pair, `"`, ""))
		if strings.Contains(again, "set-cookie") || !has(again, "X-Host: "+host[:1]) {
			t.Fatalf("with %s:\n%s\nbefore:\n%s", pair, again, head)
		}
	}
}

func TestHashOfTheClientsAddress(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	all := r.named("a", upstream.Maglev, 4)
	a := r.to("a")
	a.Hash = []filter.HashPolicy{{SourceIP: true}}
	r.serve(a)
	first := -1
	for i := range 20 {
		id := fmt.Sprint(i)
		r.get2("/", "X-Id: "+id)
		if got := served(t, all, id); first >= 0 && got != first {
			t.Fatalf("host %d, before %d", got, first)
		} else {
			first = got
		}
	}
}
