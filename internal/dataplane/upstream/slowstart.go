// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"math"
	"time"
)

// defaultMinPercent is Envoy's min_weight_percent.
const defaultMinPercent = 10

// warmth is the share of its weight that a host has which came so long ago (slow_start_config), 1 when it is warm.
func (c *Config) warmth(age time.Duration) float64 {
	s := &c.SlowStart
	if !c.warms() || age >= s.Window {
		return 1
	}
	least := s.MinPercent
	if least < 0 {
		least = defaultMinPercent
	}
	aggression := s.Aggression
	if aggression <= 0 || math.IsNaN(aggression) {
		aggression = 1
	}
	share := math.Pow(float64(max(age, time.Millisecond))/float64(s.Window), 1/aggression)
	// A weight of nothing at all would divide by it.
	return min(1, max(share, least/100, 1e-6))
}

// warms reports whether new hosts have less at first: with the policies that Envoy has it for.
func (c *Config) warms() bool {
	return c.SlowStart.Window > 0 && (c.Policy == RoundRobin || c.Policy == LeastRequest)
}

// warmStep is how often weights are worked out anew while hosts warm up.
func (c *Config) warmStep() time.Duration {
	return min(max(c.SlowStart.Window/64, 100*time.Millisecond), 2*time.Second)
}

// warming reports whether a host has not its whole weight yet.
func (c *Cluster) warming(cfg *Config, now time.Time) bool {
	if !cfg.warms() {
		return false
	}
	for i := range c.members {
		if now.Sub(c.members[i].host.since) < cfg.SlowStart.Window {
			return true
		}
	}
	return false
}
