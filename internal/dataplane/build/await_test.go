// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// byName is a set with a cluster for each name, whose hosts are to be looked up.
func byName(version string, names ...string) *xds.Resources {
	r := &xds.Resources{Version: version}
	for _, name := range names {
		r.Clusters = append(r.Clusters, &clusterv3.Cluster{
			Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS},
			LoadAssignment: &endpointv3.ClusterLoadAssignment{
				ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
					LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
						Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
							SocketAddress: &corev3.SocketAddress{
								Address: name, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 80},
							},
						}}},
					}}},
				}},
			},
		})
	}
	return r
}

// slowly is a Builder whose resolver answers after so long.
func slowly(t *testing.T, answer time.Duration) *Builder {
	t.Helper()
	d := upstream.NewDirectoryWith(nil, stats.NewRegistry(0),
		func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			select {
			case <-time.After(answer):
				return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
	t.Cleanup(d.Close)
	f, _ := newFar()
	return New(Deps{Clusters: d, Mirrors: f, Listeners: farListeners{f}})
}

const hangs = time.Hour

// took puts a set in force and returns how long that took.
func (b *Builder) took(t *testing.T, r *xds.Resources, late time.Duration) time.Duration {
	t.Helper()
	begin := time.Now()
	if nacks := b.ApplyLate(r, late); len(nacks) > 0 {
		t.Error(nacks)
	}
	return time.Since(begin)
}

func TestReadersSeeWhatIsInForceWhileASetWaitsForItsNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := slowly(t, hangs)
		b.Apply(&xds.Resources{Version: "1"})
		applied := make(chan time.Duration)
		go func() { applied <- b.took(t, byName("2", "slow.test"), 0) }()
		synctest.Wait()
		if !b.mu.TryLock() {
			t.Fatal("readers wait for a look-up")
		}
		b.mu.Unlock()
		if v := b.Accepted().Version; v != "1" {
			t.Errorf("version %s while 2 waits", v)
		}
		if took := <-applied; took != firstAnswer {
			t.Errorf("a name that hangs held a set up for %v", took)
		}
		if v := b.Accepted().Version; v != "2" {
			t.Errorf("version %s is in force", v)
		}
	})
}

func TestASetWaitsForItsNamesAndThoseOfTheSetBeforeItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := slowly(t, hangs)
		b.took(t, byName("1", "a.test"), 0)
		if took := b.took(t, byName("2", "a.test", "b.test"), 2*time.Second); took != firstAnswer-2*time.Second {
			t.Errorf("a set that had waited 2 s waited %v more", took)
		}
		if took := b.took(t, byName("3", "a.test", "b.test", "c.test"), time.Minute); took != leastPatience {
			t.Errorf("a set that had waited for a minute waited %v more", took)
		}
		if took := b.took(t, byName("4", "a.test"), 0); took != 0 {
			t.Errorf("a set without new names waited %v for old ones", took)
		}
	})
}

func TestNamesThatAreFoundHoldASetUpNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := slowly(t, time.Second)
		if took := b.took(t, byName("1", "a.test", "b.test"), 0); took != time.Second {
			t.Errorf("answers came after 1 s, the set was in force after %v", took)
		}
	})
}

func TestHurryEndsTheWaitForNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := slowly(t, hangs)
		applied := make(chan time.Duration)
		go func() { applied <- b.took(t, byName("1", "a.test"), 0) }()
		synctest.Wait()
		b.Hurry()
		b.Hurry()
		if took := <-applied; took != 0 {
			t.Errorf("the set under way waited %v", took)
		}
		if took := b.took(t, byName("2", "b.test"), 0); took != 0 {
			t.Errorf("the next set waited %v", took)
		}
	})
}
