// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"fmt"
	"math"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// near fails unless the hosts are picked in these shares, within 5 sigma.
func near(t *testing.T, got map[string]int, want map[string]float64) {
	t.Helper()
	n := 0
	for _, k := range got {
		n += k
	}
	for name, p := range want {
		if dev := math.Abs(float64(got[name]) - float64(n)*p); dev > 5*math.Sqrt(float64(n)*p*(1-p)) {
			t.Errorf("%s: %d of %d, want %.3f", name, got[name], n, p)
		}
	}
	for name := range got {
		if want[name] == 0 {
			t.Errorf("%s is picked", name)
		}
	}
}

func name(last int) string { return fmt.Sprintf("192.0.2.%d:80", last) }

// end is an endpoint by the last byte of its address.
func end(last int, change func(*Endpoint)) Endpoint {
	e := Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(last)}), 80)}
	if change != nil {
		change(&e)
	}
	return e
}

func priority(p uint32) func(*Endpoint) { return func(e *Endpoint) { e.Priority = p } }
func ill(p uint32) func(*Endpoint) {
	return func(e *Endpoint) { e.Priority, e.Unhealthy = p, true }
}

var policies = []Policy{LeastRequest, RoundRobin, Random, RingHash, Maglev}

func TestIllHostsAreNotPicked(t *testing.T) {
	for _, policy := range policies {
		d, w := directory(t)
		d.Set(Config{Name: "c", Policy: policy, Static: []Endpoint{end(1, nil), end(2, ill(0)), end(3, nil)}})
		got := picks(d.Slot("c").Cluster(), w, 2000)
		if len(got) != 2 || got[name(2)] > 0 {
			t.Errorf("policy %d: %v", policy, got)
		}
	}
}

func TestWithoutPanicAClusterOfIllHostsHasNone(t *testing.T) {
	for _, policy := range policies {
		d, w := directory(t)
		d.Set(Config{Name: "c", Policy: policy, Static: []Endpoint{end(1, ill(0)), end(2, ill(1))}})
		if h := d.Slot("c").Cluster().Pick(w, &Choice{}); h != nil {
			t.Errorf("policy %d: %s", policy, h.Name)
		}
	}
}

func TestInPanicAllHostsArePickedAndCounted(t *testing.T) {
	for _, policy := range []Policy{LeastRequest, RoundRobin, Random} {
		d, w := directory(t)
		hosts := []Endpoint{end(1, nil), end(2, ill(0)), end(3, ill(0))}
		d.Set(Config{Name: "c", Policy: policy, PanicPercent: 50, Static: hosts})
		c := d.Slot("c").Cluster()
		third := 1. / 3
		near(t, picks(c, w, 9000), map[string]float64{name(1): third, name(2): third, name(3): third})
		metrics(t, c, w, map[int]int64{
			LbHealthyPanic: 9000, MembershipTotal: 3, MembershipHealthy: 1, MembershipChange: 1,
		})
	}
}

// Half of the first priority is well: 70 of 100 go there.
func TestTheNextPriorityTakesWhatTheFirstCannot(t *testing.T) {
	for _, policy := range policies {
		d, w := directory(t)
		d.Set(Config{Name: "c", Policy: policy, Static: []Endpoint{
			end(1, nil), end(2, ill(0)), end(3, priority(7)), end(4, ill(9)),
		}})
		near(t, picks(d.Slot("c").Cluster(), w, 20000), map[string]float64{name(1): 0.7, name(3): 0.3})
	}
}

func TestOfAHashedRequestThePriorityGoesByTheHash(t *testing.T) {
	d, w := directory(t)
	d.Set(Config{Name: "c", Policy: Maglev, Static: []Endpoint{end(1, nil), end(2, ill(0)), end(3, priority(1))}})
	c := d.Slot("c").Cluster()
	for hash, want := range map[uint64]string{0: name(1), 69: name(1), 70: name(3), 199: name(3), 169: name(1)} {
		if got := c.Pick(w, &Choice{Hash: hash, Hashed: true}); got.Name != want {
			t.Errorf("hash %d goes to %s", hash, got.Name)
		}
	}
}

func in(zone string, weight uint32, more func(*Endpoint)) func(*Endpoint) {
	return func(e *Endpoint) {
		e.Locality.Zone, e.LocalityWeight = zone, weight
		if more != nil {
			more(e)
		}
	}
}

func TestLocalityWeightsShareOutLoad(t *testing.T) {
	hosts := []Endpoint{
		end(1, in("a", 30, nil)), end(2, in("a", 30, nil)), end(3, in("b", 70, nil)), end(4, in("c", 0, nil)),
	}
	for _, policy := range policies {
		d, w := directory(t)
		cfg := Config{Name: "c", Policy: policy, Static: hosts, LocalityWeighted: true, Ring: Ring{Min: 20000}}
		d.Set(cfg)
		c := d.Slot("c").Cluster()
		got := picks(c, w, 20000)
		if policy == RingHash { // its points are not that even
			for i, want := range []int{3000, 3000, 14000} {
				if n := got[name(i+1)]; n < want*9/10 || n > want*11/10 {
					t.Errorf("ring: %v", got)
				}
			}
		} else {
			near(t, got, map[string]float64{name(1): 0.15, name(2): 0.15, name(3): 0.7})
		}
		cfg.LocalityWeighted = false
		d.Set(cfg)
		if got := picks(c, w, 2000); len(got) != 4 {
			t.Errorf("policy %d, not weighted: %v", policy, got)
		}
	}
}

// Two of four hosts of zone a are ill: 1.4 times a half of its weight is left, 0.7 to 1.
func TestALocalityWithIllHostsHasLess(t *testing.T) {
	a, b := in("a", 1, nil), in("b", 1, nil)
	sick := in("a", 1, func(e *Endpoint) { e.Unhealthy = true })
	hosts := []Endpoint{end(1, a), end(2, a), end(3, sick), end(4, sick), end(5, b), end(6, b)}
	for _, policy := range []Policy{LeastRequest, RoundRobin, Random} {
		d, w := directory(t)
		d.Set(Config{Name: "c", Policy: policy, Static: hosts, LocalityWeighted: true})
		p, q := 0.7/1.7/2, 1/1.7/2
		near(t, picks(d.Slot("c").Cluster(), w, 20000),
			map[string]float64{name(1): p, name(2): p, name(5): q, name(6): q})
	}
}

func TestLeastRequestKeepsToTheLocalityItDrew(t *testing.T) {
	d, w := directory(t)
	hosts := []Endpoint{end(1, in("a", 1, nil)), end(2, in("b", 1, nil))}
	d.Set(Config{Name: "c", LocalityWeighted: true, Static: hosts})
	c := d.Slot("c").Cluster()
	for range 100 {
		c.Hosts()[0].Begin() // however busy it is
	}
	near(t, picks(c, w, 10000), map[string]float64{name(1): 0.5, name(2): 0.5})
}

func TestMoreChoicesFindTheIdleHostMoreOften(t *testing.T) {
	d, w := directory(t)
	d.Set(Config{Name: "c", Choices: 4, Static: ends(1, 1, 1, 1)})
	c := d.Slot("c").Cluster()
	for _, h := range c.Hosts()[1:] {
		h.Begin()
	}
	got := picks(c, w, 10000)
	p := 1 - math.Pow(0.75, 4)
	rest := (1 - p) / 3
	near(t, got, map[string]float64{name(1): p, name(2): rest, name(3): rest, name(4): rest})
}

// The heavy host may have three times as many requests in flight.
func TestLeastRequestMeasuresLoadByWeight(t *testing.T) {
	d, w := directory(t)
	d.Set(Config{Name: "c", Static: ends(1, 3)})
	c := d.Slot("c").Cluster()
	light, heavy := c.Hosts()[0], c.Hosts()[1]
	light.Begin()
	heavy.Begin()
	heavy.Begin() // 1 to 2/3: the heavy one wins wherever it is drawn
	near(t, picks(c, w, 20000), map[string]float64{name(1): 1. / 16, name(2): 15. / 16})
	heavy.Begin()
	heavy.Begin() // 1 to 4/3: the light one does
	near(t, picks(c, w, 20000), map[string]float64{name(1): 7. / 16, name(2): 9. / 16})
}

func TestRoundRobinOfOnePriorityIsNotMovedByAnother(t *testing.T) {
	d, w := directory(t)
	d.Set(Config{Name: "c", Policy: RoundRobin, Static: []Endpoint{
		end(1, nil), end(2, nil), end(3, ill(0)), end(4, ill(0)), end(5, priority(1)), end(6, priority(1)),
	}})
	got := picks(d.Slot("c").Cluster(), w, 10001)
	for _, pair := range [][2]int{{1, 2}, {5, 6}} {
		if diff := got[name(pair[0])] - got[name(pair[1])]; diff < -1 || diff > 1 {
			t.Errorf("%v", got)
		}
	}
}

func TestARetryGoesToAHostNotTriedWhileThereIsOne(t *testing.T) {
	for _, policy := range policies {
		d, w := directory(t)
		d.Set(Config{Name: "c", Policy: policy, Static: ends(1, 1000)})
		c := d.Slot("c").Cluster()
		light, heavy := c.Hosts()[0], c.Hosts()[1]
		for range 200 {
			// Drawn at random, the light one would come up once in a thousand times.
			if h := c.Pick(w, &Choice{Tried: []*Host{heavy}, HostAttempts: 1}); h != light {
				t.Fatalf("policy %d: the same host again", policy)
			}
		}
		if h := c.Pick(w, &Choice{Tried: []*Host{heavy, light}, HostAttempts: 3}); h == nil {
			t.Errorf("policy %d: no host, all tried", policy)
		}
		if h := c.Pick(w, &Choice{Tried: []*Host{heavy, light}, HostAttempts: math.MaxInt}); h == nil {
			t.Errorf("policy %d: no host with draws without end", policy)
		}
	}
}

func TestARetryLeavesThePriorityItTried(t *testing.T) {
	for _, policy := range policies {
		d, w := directory(t)
		d.Set(Config{Name: "c", Policy: policy, Static: []Endpoint{end(1, nil), end(2, nil), end(3, priority(1))}})
		c := d.Slot("c").Cluster()
		for range 100 {
			ch := &Choice{PriorityEvery: 1}
			first := c.Pick(w, ch)
			ch.Tried = append(ch.Tried, first)
			second := c.Pick(w, ch)
			ch.Tried = append(ch.Tried, second)
			third := c.Pick(w, ch)
			if first == c.Hosts()[2] || second != c.Hosts()[2] || third == second {
				t.Fatalf("policy %d: %s, %s, %s", policy, first.Name, second.Name, third.Name)
			}
		}
	}
}

func TestWhatIsShownOfAHostIsAsConfiguredLast(t *testing.T) {
	d, _ := directory(t)
	d.Set(Config{Name: "c", Static: []Endpoint{end(1, nil)}})
	h := d.Slot("c").Cluster().Hosts()[0]
	d.Set(Config{Name: "c", Static: []Endpoint{end(1, func(e *Endpoint) {
		e.Weight, e.Hostname, e.Priority, e.Unhealthy, e.Locality = 7, "h", 2, true, Locality{"r", "z", "s"}
	})}})
	want := Info{Weight: 7, Priority: 2, Hostname: "h", Unhealthy: true, Locality: Locality{"r", "z", "s"}}
	if diff := cmp.Diff(want, h.Info()); diff != "" || h.Hostname() != "h" {
		t.Error(diff)
	}
}

func TestARedirectedRequestGoesWhereItWasGoing(t *testing.T) {
	d, w := directory(t)
	d.Set(Config{Name: "c", Discovery: OriginalDst, Policy: ClusterProvided})
	c := d.Slot("c").Cluster()
	a, b := netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("[2001:db8::1]:80")
	h := c.Pick(w, &Choice{Original: a})
	if h == nil || h.Addr != a || c.Pick(w, &Choice{Original: a}) != h || c.Pick(w, &Choice{Original: b}).Addr != b {
		t.Error("not the original destination")
	}
	if h := c.Pick(w, &Choice{}); h != nil {
		t.Errorf("without one: %s", h.Name)
	}
	for i := range maxDestinations {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
		if got := c.Pick(w, &Choice{Original: addr}); got == nil != (i >= maxDestinations-2) {
			t.Fatalf("destination %d: %v", i+3, got)
		}
	}
	c.sweepDestinations(w)
	busy := c.Pick(w, &Choice{Original: b})
	busy.Begin()
	c.sweepDestinations(w)
	c.sweepDestinations(w)
	if n := len(c.cells[0].dsts.hosts); n != 1 || c.Pick(w, &Choice{Original: b}) != busy || !h.gone.Load() {
		t.Errorf("%d destinations after the sweep", n)
	}
}

// What Pick costs a request: no memory.
func TestPickAllocatesNothing(t *testing.T) {
	for _, policy := range policies {
		d, w := directory(t)
		d.Set(Config{Name: "c", Policy: policy, PanicPercent: 60, LocalityWeighted: true, Static: []Endpoint{
			end(1, in("a", 1, nil)), end(2, in("b", 3, nil)), end(3, in("b", 3, ill(0))),
			end(4, in("a", 1, priority(1))),
		}})
		c := d.Slot("c").Cluster()
		tried := []*Host{c.Hosts()[0]}
		if n := testing.AllocsPerRun(1000, func() {
			c.Pick(w, &Choice{Class: loop.Copy})
			c.Pick(w, &Choice{Hash: 5, Hashed: true, Tried: tried, HostAttempts: 3, PriorityEvery: 1})
		}); n != 0 {
			t.Errorf("policy %d: %v allocations", policy, n)
		}
	}
}
