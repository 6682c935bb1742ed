// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"fmt"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

func BenchmarkPick(b *testing.B) {
	w, err := loop.New(loop.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		w.Stop()
		_ = w.Run(b.Context()) // gives the descriptors back
	}()
	names := map[Policy]string{
		LeastRequest: "least", RoundRobin: "robin", Random: "random", RingHash: "ring", Maglev: "maglev",
	}
	for policy := LeastRequest; policy <= Maglev; policy++ {
		for _, hosts := range []int{1, 3, 100} {
			for _, weights := range []string{"even", "weighted", "spilling"} {
				if hosts == 1 && weights != "even" {
					continue
				}
				b.Run(fmt.Sprintf("%s/%d/%s", names[policy], hosts, weights), func(b *testing.B) {
					d := NewDirectory([]*loop.Worker{w}, stats.NewRegistry(1))
					list := ends(make([]uint32, hosts)...)
					for i := range list {
						switch weights {
						case "weighted":
							list[i].Weight = uint32(1 + i%5)
						case "spilling":
							list[i].Unhealthy, list[i].Priority = i%3 == 0, uint32(i%2)
						}
					}
					d.Set(Config{Name: "c", Policy: policy, Static: list})
					c := d.Slot("c").Cluster()
					ch := &Choice{}
					b.ReportAllocs()
					for b.Loop() {
						ch.Hash, ch.Hashed = ch.Hash+0x9e3779b97f4a7c15, true
						c.Pick(w, ch)
					}
				})
			}
		}
	}
}

func BenchmarkReportOfASuccess(b *testing.B) {
	c := &Cluster{}
	c.cfg.Store(&Config{Outlier: &Outlier{Consecutive5xx: 5, ConsecutiveGateway: 5}})
	h := &Host{}
	b.ReportAllocs()
	for b.Loop() {
		c.Report(nil, h, Result{Status: 200})
	}
}
