// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// owners is which host each of many keys goes to.
func owners(c *Cluster, w *loop.Worker, keys int) []*Host {
	rnd := rand.New(rand.NewPCG(3, 4))
	got := make([]*Host, keys)
	for i := range got {
		got[i] = c.Pick(w, &Choice{Hash: rnd.Uint64(), Hashed: true})
	}
	return got
}

func TestKeysKeepTheirHostsWhenOneLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		policy Policy
		moved  float64 // of the keys of hosts that stay, at most: a smaller ring has more points for each
	}{"ring": {RingHash, 0.1}, "maglev": {Maglev, 0.06}} {
		t.Run(name, func(t *testing.T) {
			d, w := directory(t)
			const keys, hosts = 20000, 10
			all := ends(make([]uint32, hosts)...)
			d.Set(Config{Name: "c", Policy: c.policy, Static: all, Ring: Ring{Min: 4096}})
			cluster := d.Slot("c").Cluster()
			before := owners(cluster, w, keys)
			share := map[*Host]int{}
			for _, h := range before {
				share[h]++
			}
			for h, n := range share {
				if n < keys/hosts*7/10 || n > keys/hosts*13/10 {
					t.Errorf("%s has %d of %d keys", h.Name, n, keys)
				}
			}
			gone := before[0]
			var left []Endpoint
			for _, e := range all {
				if e.Addr != gone.Addr {
					left = append(left, e)
				}
			}
			d.Set(Config{Name: "c", Policy: c.policy, Static: left, Ring: Ring{Min: 4096}})
			moved := 0
			for i, h := range owners(cluster, w, keys) {
				if h == gone {
					t.Fatal("a key stays with a host that left")
				}
				if before[i] != gone && before[i] != h {
					moved++
				}
			}
			if got := float64(moved) / keys; got > c.moved {
				t.Errorf("%.1f %% of the keys moved without need", 100*got)
			}
		})
	}
}

func TestHashedKeysFollowTheWeights(t *testing.T) {
	for _, policy := range []Policy{RingHash, Maglev} {
		d, w := directory(t)
		d.Set(Config{Name: "c", Policy: policy, Static: ends(1, 3, 6), Ring: Ring{Min: 10000}})
		c := d.Slot("c").Cluster()
		got := map[*Host]float64{}
		for _, h := range owners(c, w, 50000) {
			got[h] += 1.0 / 50000
		}
		for i, want := range []float64{0.1, 0.3, 0.6} {
			if share := got[c.Hosts()[i]]; math.Abs(share-want) > 0.03 {
				t.Errorf("policy %d: host %d has %.3f of the keys, want %.1f", policy, i, share, want)
			}
		}
	}
}

// The points are Envoy's: a key at a point's place is that host's.
func TestRingHasEnvoysPoints(t *testing.T) {
	d, w := directory(t)
	d.Set(Config{Name: "c", Policy: RingHash, Static: ends(1, 1)})
	c := d.Slot("c").Cluster()
	for _, h := range c.Hosts() {
		for _, point := range []string{"_0", "_1", "_511"} {
			got := c.Pick(w, &Choice{Hash: xxhash.Sum64String(h.Name + point), Hashed: true})
			if got != h {
				t.Errorf("the point %s%s is %s's", h.Name, point, got.Name)
			}
		}
	}
	r := c.sets[0].Load().only.ring
	if n := len(r.points); n != 1024 {
		t.Errorf("%d points", n)
	}
	if got := r.at(math.MaxUint64, 0); got != r.hosts[r.owners[0]] {
		t.Error("past the last point it does not begin again")
	}
}

func TestRingIsNoLargerThanAllowed(t *testing.T) {
	hosts := make([]*Host, 100)
	weights := make([]float64, 100)
	for i := range hosts {
		hosts[i], weights[i] = &Host{Name: string(rune('a' + i))}, 1
	}
	for _, size := range []Ring{{Min: 10, Max: 50}, {Min: 1, Max: 150}, {Min: 1000, Max: 1000}} {
		if n := len(newRing(hosts, weights, size).points); n > int(size.Max) || n == 0 {
			t.Errorf("%+v: %d points", size, n)
		}
	}
}

func TestMaglevTableIsFullWhateverItsSize(t *testing.T) {
	hosts := []*Host{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	for size, want := range map[uint32]int{0: defaultTable, 7: 7, 2: 2, 6: defaultTable, maxTable + 1: defaultTable} {
		m := newMaglev(hosts, []float64{1, 1, 1}, size)
		if len(m.table) != want {
			t.Errorf("size %d: %d places", size, len(m.table))
		}
		for _, h := range m.table {
			if int(h) >= len(hosts) {
				t.Fatalf("size %d: a place without a host", size)
			}
		}
	}
}

func TestWithoutAKeyAHashedClusterDrawsAtRandom(t *testing.T) {
	for _, policy := range []Policy{RingHash, Maglev} {
		d, w := directory(t)
		d.Set(Config{Name: "c", Policy: policy, Static: ends(1, 1)})
		if got := picks(d.Slot("c").Cluster(), w, 1000); len(got) != 2 {
			t.Errorf("policy %d: %v", policy, got)
		}
	}
}

func TestARetryOfAHashedRequestGoesElsewhere(t *testing.T) {
	for _, policy := range []Policy{RingHash, Maglev} {
		d, w := directory(t)
		d.Set(Config{Name: "c", Policy: policy, Static: ends(1, 1, 1)})
		c := d.Slot("c").Cluster()
		for hash := range uint64(500) {
			ch := Choice{Hash: hash * 0x9e3779b97f4a7c15, Hashed: true, HostAttempts: 5}
			for range 3 {
				h := c.Pick(w, &ch)
				for _, tried := range ch.Tried {
					if h == tried {
						t.Fatalf("policy %d: %s a second time", policy, h.Name)
					}
				}
				ch.Tried = append(ch.Tried, h)
			}
		}
	}
}
