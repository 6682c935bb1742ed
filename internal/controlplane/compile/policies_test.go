// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// policies makes policies with all of what a cluster can have of them, each value within what a resource may give.
type policies struct{ *rand.Rand }

func (p policies) maybe() bool { return p.IntN(2) == 0 }

func (p policies) duration() time.Duration { return time.Duration(p.IntN(3)) * time.Second }

func (p policies) count() *uint32 {
	if p.maybe() {
		return nil
	}
	n := uint32(p.IntN(3))
	return &n
}

func (p policies) traffic(ports bool) *mesh.TrafficPolicy {
	if p.IntN(3) == 0 {
		return nil
	}
	t := &mesh.TrafficPolicy{}
	if p.maybe() {
		t.LoadBalancer = p.balancer()
	}
	if p.maybe() {
		t.ConnectionPool = &mesh.ConnectionPool{
			MaxConnections: p.Uint32(), ConnectTimeout: p.duration(), MaxConnectionDuration: p.duration(),
			TCPIdleTimeout: p.duration(), MaxPending: p.Uint32N(3), MaxRequests: p.Uint32N(3), MaxRetries: p.Uint32N(3),
			MaxRequestsPerConnection: p.Uint32N(3), IdleTimeout: p.duration(),
		}
		if p.maybe() {
			t.ConnectionPool.Keepalive = &mesh.Keepalive{
				Probes: p.Uint32N(3), Time: p.duration(), Interval: p.duration(),
			}
		}
	}
	if p.maybe() {
		t.OutlierDetection = &mesh.OutlierDetection{
			SplitLocal: p.maybe(), ConsecutiveLocal: p.count(),
			Consecutive5xx: p.count(), ConsecutiveGatewayErrors: p.count(),
			Interval: p.duration(), BaseEjectionTime: p.duration(),
			MaxEjectionPercent: p.Int32N(101), MinHealthPercent: p.Int32N(101),
		}
	}
	if p.maybe() {
		t.RetryBudget = &mesh.RetryBudget{MinConcurrency: p.Uint32N(3)}
		if p.maybe() {
			percent := 100 * p.Float64()
			t.RetryBudget.Percent = &percent
		}
	}
	if ports && p.maybe() {
		t.Ports = map[uint32]*mesh.TrafficPolicy{80: p.traffic(false)}
		maps.DeleteFunc(t.Ports, func(_ uint32, t *mesh.TrafficPolicy) bool { return t == nil })
	}
	return t
}

func (p policies) balancer() *mesh.LoadBalancer {
	b := &mesh.LoadBalancer{Simple: mesh.SimpleLB(p.IntN(4))}
	switch p.IntN(4) {
	case 0:
		b.Hash = &mesh.ConsistentHash{SourceIP: true, MinimumRing: uint64(p.IntN(2) * 64)}
	case 1:
		b.Hash = &mesh.ConsistentHash{SourceIP: true, Maglev: true, TableSize: uint64(p.IntN(2) * 1009)}
	}
	if p.maybe() {
		b.Warmup = &mesh.Warmup{Duration: time.Second, MinimumPercent: 100 * p.Float64(), Aggression: 2 * p.Float64()}
	}
	if p.maybe() {
		on := p.IntN(4) > 0
		b.Locality = &mesh.LocalityLB{Enabled: &on}
		switch p.IntN(4) {
		case 0:
			to := map[string]uint32{p.place(): 30, "r1/*": 70}
			b.Locality.Distribute = []mesh.Distribute{{From: p.place(), To: to}}
		case 1:
			b.Locality.Failover = []mesh.Failover{{From: "r1", To: "r2"}}
		case 2:
			b.Locality.FailoverPriority = []string{"topology.kubernetes.io/zone", "version=v1", "app"}
			if p.maybe() {
				b.Locality.Failover = []mesh.Failover{{From: "r2", To: "r3"}}
			}
		}
	}
	return b
}

func (p policies) place() string {
	return []string{"", "*", "r1", "r1/z1", "r1/z1/s1", "r1/z2", "r2/z1", "r3"}[p.IntN(8)]
}

func (p policies) service(host string) *mesh.Service {
	s := service(host, host, 80, 81)
	s.Resolution, s.Policy = mesh.Resolution(p.IntN(3)), p.traffic(true)
	for _, v := range []string{"v1", "v2"}[p.IntN(3):] {
		labels := map[string]string{"version": v}
		s.Subsets = append(s.Subsets, mesh.Subset{Name: v, Labels: labels, Policy: p.traffic(true)})
	}
	return s
}

func (p policies) endpoints() (list []mesh.Endpoint) {
	for range p.IntN(6) {
		list = append(list, mesh.Endpoint{
			Address:  []string{"10.0.0.1", "::1", "name.example", "unix:///run/a"}[p.IntN(4)],
			Ports:    map[uint32]uint32{uint32(80 + p.IntN(2)): 8080},
			Labels:   map[string]string{"version": []string{"v1", "v2"}[p.IntN(2)]},
			Weight:   p.Uint32N(3),
			Locality: p.place(),
			Unready:  p.IntN(5) == 0,
		})
	}
	return list
}

func TestAnyPolicyGivesValidClusters(t *testing.T) {
	for seed := range uint64(200) {
		p := policies{rand.New(rand.NewPCG(seed, 5))}
		opts := compile.Options{Locality: p.place(), Labels: map[string]string{"version": "v1"}}
		b := compile.New(opts)
		c, e := mesh.Config{}, mesh.Endpoints{}
		for i := range 3 {
			host := fmt.Sprintf("h%d.example", i)
			c.Services, e[host] = append(c.Services, p.service(host)), p.endpoints()
		}
		for range 3 {
			r, problems := b.Compile(c, e)
			fresh, _ := compile.Compile(c, e, opts)
			if fresh.Version != r.Version { // a digest of all bytes
				t.Fatalf("seed %d: a compiler that was used before gives something else (-fresh +used):\n%s%s", seed,
					cmp.Diff(fresh.Clusters, r.Clusters, protocmp.Transform()),
					cmp.Diff(fresh.Endpoints, r.Endpoints, protocmp.Transform()))
			}
			if err := r.Validate(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for _, fault := range append(faults(r), clusterFaults(r)...) {
				t.Errorf("seed %d: %s", seed, fault)
			}
			if len(problems) > 0 {
				t.Errorf("seed %d: problems %v", seed, texts(problems))
			}
			// What was given to the compiler is not written to: a changed service is another one.
			c.Services, e = slices.Clone(c.Services), maps.Clone(e)
			i := p.IntN(3)
			host := c.Services[i].Host
			if p.maybe() {
				c.Services[i] = p.service(host)
			} else {
				e[host] = p.endpoints()
			}
		}
	}
}

// clusterFaults says what Envoy would refuse of clusters, or never use, although each message is valid by itself.
func clusterFaults(r xds.Resources) (out []string) {
	fault := func(name, format string, args ...any) {
		out = append(out, name+": "+fmt.Sprintf(format, args...))
	}
	eds := assignments(r)
	for name, c := range clustersByName(r) {
		assignment := c.GetLoadAssignment()
		switch c.GetType() {
		case clusterv3.Cluster_EDS:
			assignment = eds[name]
			if assignment == nil {
				fault(name, "no endpoints come for it")
			}
			delete(eds, name)
		case clusterv3.Cluster_ORIGINAL_DST:
			if c.GetLbPolicy() != clusterv3.Cluster_CLUSTER_PROVIDED || assignment != nil {
				fault(name, "original destinations with %s", c.GetLbPolicy())
			}
		case clusterv3.Cluster_LOGICAL_DNS:
			if l := assignment.GetEndpoints(); len(l) != 1 || len(l[0].GetLbEndpoints()) != 1 {
				fault(name, "%v is not one name", l)
			}
		case clusterv3.Cluster_STRICT_DNS:
			if len(assignment.GetEndpoints()) == 0 {
				fault(name, "no names")
			}
		}
		weighted := c.GetCommonLbConfig().GetLocalityWeightedLbConfig() != nil
		var priorities []uint32
		for _, l := range assignment.GetEndpoints() {
			if len(l.GetLbEndpoints()) == 0 {
				fault(name, "locality %v without endpoints", l.GetLocality())
			}
			if (l.GetLoadBalancingWeight() != nil) != weighted {
				fault(name, "locality %v weighs %v", l.GetLocality(), l.GetLoadBalancingWeight())
			}
			priorities = append(priorities, l.GetPriority())
		}
		slices.Sort(priorities)
		for i, n := range slices.Compact(priorities) {
			if uint32(i) != n {
				fault(name, "priorities %v have gaps", priorities)
			}
		}
	}
	for name := range eds {
		fault(name, "endpoints of no cluster")
	}
	return out
}
