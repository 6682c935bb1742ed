// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// ringSize is the least that a ring has where nothing is said of it: Envoy's own number, written out as Istio does. A
// cluster that asks for more than maxRing would be refused whole.
const (
	ringSize = 1024
	maxRing  = 8388608
)

// Envoy's slow start where nothing is said of it; the key is one that Envoy asks for beside a number.
const (
	slowStartAggression = 1
	slowStartPercent    = 10
	slowStartKey        = "slow_start.aggression"
)

func applyBalancer(c *clusterv3.Cluster, b *mesh.LoadBalancer) {
	c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
	switch {
	case b == nil:
	case b.Hash != nil:
		applyHash(c, b.Hash)
	case b.Simple == mesh.RoundRobin:
		c.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if b.Warmup != nil {
			c.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{
				RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: slowStart(b.Warmup)},
			}
		}
	case b.Simple == mesh.Random:
		c.LbPolicy = clusterv3.Cluster_RANDOM
	case b.Simple == mesh.Passthrough:
		c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
	case b.Warmup != nil:
		c.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{
			LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: slowStart(b.Warmup)},
		}
	}
}

func slowStart(w *mesh.Warmup) *clusterv3.Cluster_SlowStartConfig {
	out := &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: durationpb.New(w.Duration)}
	if w.Aggression != 0 && w.Aggression != slowStartAggression {
		out.Aggression = &corev3.RuntimeDouble{DefaultValue: w.Aggression, RuntimeKey: slowStartKey}
	}
	if w.MinimumPercent != 0 && w.MinimumPercent != slowStartPercent {
		out.MinWeightPercent = &typev3.Percent{Value: w.MinimumPercent}
	}
	return out
}

func applyHash(c *clusterv3.Cluster, h *mesh.ConsistentHash) {
	if h.Maglev {
		c.LbPolicy = clusterv3.Cluster_MAGLEV
		if h.TableSize != 0 {
			c.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{
				MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(h.TableSize)},
			}
		}
		return
	}
	c.LbPolicy = clusterv3.Cluster_RING_HASH
	c.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{
		MinimumRingSize: wrapperspb.UInt64(min(cmp.Or(h.MinimumRing, ringSize), maxRing)),
	}}
}
