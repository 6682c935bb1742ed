// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

// zone is a name server.
type zone struct {
	mu    sync.Mutex
	names map[string][]string // guarded by mu; no entry is a failure
	asked map[string]int      // guarded by mu, by name and network
}

func (z *zone) set(name string, addrs ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if addrs == nil {
		delete(z.names, name)
		return
	}
	z.names[name] = addrs
}

func (z *zone) lookup(_ context.Context, network, name string) ([]netip.Addr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked[name+" "+network]++
	var addrs []netip.Addr
	for _, a := range z.names[name] {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	if addrs == nil {
		return nil, errors.New("no such host")
	}
	return addrs, nil
}

// count is how often a name was asked for.
func (z *zone) count(key string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[key]
}

func withZone(t *testing.T, do func(t *testing.T, z *zone, d *Directory, w *loop.Worker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		z := &zone{names: map[string][]string{}, asked: map[string]int{}}
		w := worker(t)
		d := NewDirectoryWith([]*loop.Worker{w}, stats.NewRegistry(1), z.lookup)
		defer d.Close()
		do(t, z, d, w)
	})
}

func hostNames(c *Cluster) []string {
	var names []string
	for _, h := range c.Hosts() {
		names = append(names, h.Name)
	}
	return names
}

func TestEveryAddressOfEveryNameIsAHost(t *testing.T) {
	withZone(t, func(t *testing.T, z *zone, d *Directory, w *loop.Worker) {
		z.set("a.test", "192.0.2.3", "192.0.2.1", "2001:db8::1")
		z.set("b.test", "192.0.2.1", "192.0.2.9")
		z.mu.Lock() // no answer comes yet
		d.Set(Config{Name: "c", Discovery: StrictDNS, DNSRefresh: time.Minute, DNSFamily: FamilyAll, Static: []Endpoint{
			{Name: "a.test", Port: 80, Weight: 3}, {Name: "b.test", Port: 80, Hostname: "other"},
			{Addr: netip.MustParseAddrPort("198.51.100.1:8080")},
		}})
		c := d.Slot("c").Cluster()
		if n := len(c.Hosts()); n != 1 {
			t.Errorf("%d hosts before the first answer", n)
		}
		z.mu.Unlock()
		synctest.Wait()
		want := []string{"192.0.2.1:80", "192.0.2.3:80", "[2001:db8::1]:80", "192.0.2.9:80", "198.51.100.1:8080"}
		if diff := cmp.Diff(want, hostNames(c)); diff != "" {
			t.Error(diff)
		}
		if h := c.Hosts()[1]; h.Hostname() != "a.test" || h.Info().Weight != 3 || c.Hosts()[3].Hostname() != "other" {
			t.Errorf("%+v", h.Info())
		}
		kept := c.Hosts()[1]
		z.set("a.test", "2001:db8::1", "192.0.2.3") // one less, and in another order
		pass(time.Minute + 7*time.Second)
		want = []string{"192.0.2.3:80", "[2001:db8::1]:80", "192.0.2.1:80", "192.0.2.9:80", "198.51.100.1:8080"}
		if diff := cmp.Diff(want, hostNames(c)); diff != "" || c.Hosts()[0] != kept {
			t.Error(diff)
		}
		metrics(t, c, w, map[int]int64{UpdateAttempt: 4, UpdateSuccess: 4, UpdateFailure: 0, MembershipTotal: 5})
	})
}

func TestAFailedLookupKeepsTheLastAnswer(t *testing.T) {
	withZone(t, func(t *testing.T, z *zone, d *Directory, w *loop.Worker) {
		z.set("a.test", "192.0.2.1")
		d.Set(Config{
			Name: "c", Discovery: StrictDNS, DNSRefresh: 10 * time.Second, Static: []Endpoint{{Name: "a.test", Port: 80}},
		})
		c := d.Slot("c").Cluster()
		synctest.Wait()
		z.set("a.test")
		pass(time.Minute)
		if diff := cmp.Diff([]string{"192.0.2.1:80"}, hostNames(c)); diff != "" {
			t.Error(diff)
		}
		z.set("a.test", "192.0.2.2")
		pass(12 * time.Second)
		if diff := cmp.Diff([]string{"192.0.2.2:80"}, hostNames(c)); diff != "" {
			t.Error(diff)
		}
		w.Stop()
		if err := w.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		s := c.Stats(w)
		if s.Get(UpdateFailure) == 0 || s.Get(UpdateAttempt) != s.Get(UpdateSuccess)+s.Get(UpdateFailure) {
			t.Errorf("%d look-ups, %d good, %d failed", s.Get(UpdateAttempt), s.Get(UpdateSuccess), s.Get(UpdateFailure))
		}
	})
}

func TestALogicalNameIsOneHostThatMoves(t *testing.T) {
	withZone(t, func(t *testing.T, z *zone, d *Directory, _ *loop.Worker) {
		z.set("a.test", "192.0.2.9", "192.0.2.1")
		z.mu.Lock() // no answer comes yet
		d.Set(Config{Name: "c", Discovery: LogicalDNS, Static: []Endpoint{{Name: "a.test", Port: 80}}})
		c := d.Slot("c").Cluster()
		if n := len(c.Hosts()); n != 0 {
			t.Errorf("%d hosts before the first answer", n)
		}
		z.mu.Unlock()
		synctest.Wait()
		if diff := cmp.Diff([]string{"a.test:80"}, hostNames(c)); diff != "" {
			t.Fatal(diff)
		}
		h := c.Hosts()[0]
		if got := h.now.Load().String(); got != "192.0.2.9:80" || h.Hostname() != "a.test" || h.Addr.IsValid() {
			t.Errorf("it is at %s", got)
		}
		z.set("a.test", "192.0.2.1", "192.0.2.9")
		pass(6 * time.Second)
		if got := h.now.Load().String(); got != "192.0.2.1:80" || c.Hosts()[0] != h {
			t.Errorf("after a move it is at %s", got)
		}
	})
}

func TestOnlyNamesInForceAreLookedUp(t *testing.T) {
	withZone(t, func(t *testing.T, z *zone, d *Directory, _ *loop.Worker) {
		z.set("a.test", "192.0.2.1")
		z.set("b.test", "192.0.2.2")
		cfg := Config{
			Name: "c", Discovery: StrictDNS, DNSFamily: FamilyV4Only, Static: []Endpoint{{Name: "a.test", Port: 80}},
		}
		d.Set(cfg)
		other := cfg
		other.Name = "other"
		d.Set(other)
		synctest.Wait()
		c := d.Slot("c").Cluster()
		if n := z.count("a.test ip4"); n > 2 {
			t.Errorf("%d look-ups of one name for two clusters", n)
		}
		cfg.DNSRefresh = time.Minute // nothing is lost by another rate
		d.Set(cfg)
		if diff := cmp.Diff([]string{"192.0.2.1:80"}, hostNames(c)); diff != "" {
			t.Error(diff)
		}
		cfg.Static = []Endpoint{{Name: "b.test", Port: 80}}
		d.Set(cfg)
		d.Remove("other")
		synctest.Wait()
		if diff := cmp.Diff([]string{"192.0.2.2:80"}, hostNames(c)); diff != "" {
			t.Error(diff)
		}
		before := z.count("a.test ip4")
		pass(time.Hour)
		if n := z.count("a.test ip4"); n != before {
			t.Errorf("a name that is gone was looked up %d times", n-before)
		}
		if n := z.count("b.test ip4"); n < 50 || n > 62 {
			t.Errorf("b.test was looked up %d times in an hour", n)
		}
	})
}

func TestFamiliesChooseAddresses(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	mapped := netip.MustParseAddr("::ffff:192.0.2.1")
	for _, c := range []struct {
		family DNSFamily
		in     []netip.Addr
		want   []netip.Addr
	}{
		{FamilyAuto, []netip.Addr{v4, v6}, []netip.Addr{v6}},
		{FamilyAuto, []netip.Addr{mapped}, []netip.Addr{v4}},
		{FamilyV4Only, []netip.Addr{v4, v6}, []netip.Addr{v4}},
		{FamilyV4Only, []netip.Addr{v6}, nil},
		{FamilyV6Only, []netip.Addr{v4, v6}, []netip.Addr{v6}},
		{FamilyV4Preferred, []netip.Addr{v6, v4}, []netip.Addr{v4}},
		{FamilyV4Preferred, []netip.Addr{v6}, []netip.Addr{v6}},
		{FamilyAll, []netip.Addr{v6, v4}, []netip.Addr{v4, v6}},
		{FamilyAll, []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}, nil},
	} {
		got := c.family.choose(c.in)
		if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("family %d of %v: %s", c.family, c.in, diff)
		}
	}
}
