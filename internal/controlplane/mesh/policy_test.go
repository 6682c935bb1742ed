// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAPolicyIsInheritedBlockByBlockAndReplacedByAPorts(t *testing.T) {
	random, ring := &LoadBalancer{Simple: Random}, &LoadBalancer{Hash: &ConsistentHash{SourceIP: true}}
	pool, small := &ConnectionPool{MaxConnections: 10}, &ConnectionPool{MaxConnections: 1}
	outlier, budget, own := &OutlierDetection{}, &RetryBudget{MinConcurrency: 1}, &RetryBudget{MinConcurrency: 2}
	service := &TrafficPolicy{
		LoadBalancer: random, ConnectionPool: pool, RetryBudget: budget,
		Ports: map[uint32]*TrafficPolicy{81: {OutlierDetection: outlier}},
	}
	subset := &TrafficPolicy{
		LoadBalancer: ring, RetryBudget: own, Ports: map[uint32]*TrafficPolicy{82: {ConnectionPool: small}},
	}
	f := func(service, subset *TrafficPolicy, port uint32, want *TrafficPolicy) {
		t.Helper()
		s := &Service{Policy: service}
		if diff := cmp.Diff(want, s.PolicyFor(port, &Subset{Policy: subset})); diff != "" {
			t.Errorf("port %d (-want +got):\n%s", port, diff)
		}
	}
	f(nil, nil, 80, nil)
	f(service, nil, 80, &TrafficPolicy{LoadBalancer: random, ConnectionPool: pool, RetryBudget: budget})
	f(service, nil, 81, &TrafficPolicy{OutlierDetection: outlier})
	f(nil, subset, 80, &TrafficPolicy{LoadBalancer: ring, RetryBudget: own})
	f(nil, subset, 82, &TrafficPolicy{ConnectionPool: small})
	f(service, subset, 80, &TrafficPolicy{LoadBalancer: ring, ConnectionPool: pool, RetryBudget: own})
	f(service, subset, 81, &TrafficPolicy{LoadBalancer: ring, OutlierDetection: outlier, RetryBudget: own})
	f(service, subset, 82, &TrafficPolicy{ConnectionPool: small, RetryBudget: budget})

	if got := (&Service{Policy: service}).PolicyFor(81, nil); got.OutlierDetection != outlier || got.LoadBalancer != nil {
		t.Errorf("without a subset %+v", got)
	}
	if len(service.Ports) != 1 || len(subset.Ports) != 1 {
		t.Error("the policies asked were written to")
	}
}
