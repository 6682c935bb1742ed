// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// Whatever the hosts and settings: a pick is a host that may be picked, and there is none only if none may.
func TestAnyHostsAndSettingsGiveAHostThatMayBePicked(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	weights := []uint32{0, 1, 1, 1, 2, 7, 1000, 1<<32 - 1}
	zones := []string{"", "a", "b", "c"}
	d, w := directory(t)
	for range 1500 {
		cfg := Config{
			Name: "c", Policy: policies[rnd.IntN(len(policies))],
			Ring: Ring{Min: rnd.Uint64N(50), Max: 1 + rnd.Uint64N(500)}, TableSize: []uint32{2, 13, 251}[rnd.IntN(3)],
			Choices: rnd.Uint32N(5), PanicPercent: []float64{0, 0, 30, 50, 100, 1000, -1, math.NaN()}[rnd.IntN(8)],
			LocalityWeighted: rnd.IntN(2) == 0, Overprovisioning: []uint32{0, 100, 140, 1<<32 - 1}[rnd.IntN(4)],
			SlowStart: SlowStart{Window: time.Duration(rnd.IntN(2)) * time.Hour, Aggression: rnd.Float64() * 3},
		}
		for i := range rnd.IntN(12) {
			cfg.Static = append(cfg.Static, end(i+1, func(e *Endpoint) {
				e.Weight, e.LocalityWeight = weights[rnd.IntN(len(weights))], weights[rnd.IntN(len(weights))]
				e.Priority = []uint32{0, 0, 0, 1, 2, 1 << 31}[rnd.IntN(6)]
				e.Unhealthy, e.Locality.Zone = rnd.IntN(3) == 0, zones[rnd.IntN(len(zones))]
			}))
		}
		d.Set(cfg)
		c := d.Slot("c").Cluster()
		s := c.sets[loop.Production].Load()
		may := map[*Host]bool{}
		sum := uint32(0)
		for i := range s.levels {
			sum += s.spill.loads[i]
			if s.spill.loads[i] == 0 {
				continue
			}
			for _, h := range s.levels[i].hosts {
				if !s.levels[i].panics && h.Info().Unhealthy {
					t.Fatalf("an ill host may be picked: %+v", cfg)
				}
				may[h] = true
			}
		}
		if len(s.levels) > 0 && sum != 100 {
			t.Fatalf("loads %v: %+v", s.spill.loads, cfg)
		}
		for range 20 {
			ch := Choice{Hash: rnd.Uint64(), Hashed: rnd.IntN(2) == 0, HostAttempts: rnd.IntN(3), PriorityEvery: rnd.IntN(3)}
			for range rnd.IntN(4) {
				if len(s.hosts) > 0 {
					ch.Tried = append(ch.Tried, s.hosts[rnd.IntN(len(s.hosts))])
				}
			}
			h := c.Pick(w, &ch)
			if ch.PriorityEvery == 0 && (h == nil) != (len(may) == 0) || h != nil && ch.PriorityEvery == 0 && !may[h] {
				t.Fatalf("%v of %d that may be: %+v", h, len(may), cfg)
			}
			if h != nil && !may[h] && s.spill.health[s.levelOf(h)] == 0 {
				t.Fatalf("a retry went to a priority without healthy hosts: %+v", cfg)
			}
		}
	}
}
