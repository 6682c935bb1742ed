// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

func TestAClusterKeepsItsHostsUntilItsNewNamesHaveAnAnswer(t *testing.T) {
	withZone(t, func(t *testing.T, z *zone, d *Directory, _ *loop.Worker) {
		z.set("old.test", "192.0.2.1")
		z.set("new.test", "192.0.2.2")
		byName := func(names ...string) Config {
			cfg := Config{Name: "c", Discovery: StrictDNS, DNSRefresh: time.Minute, DNSFamily: FamilyV4Only}
			for _, name := range names {
				cfg.Static = append(cfg.Static, Endpoint{Name: name, Port: 80})
			}
			return cfg
		}
		d.Set(byName("old.test"))
		synctest.Wait()
		c := d.Slot("c").Cluster()
		for _, step := range []struct {
			what        string
			to          Config
			before, now []string
		}{
			{"another name", byName("new.test"), []string{"192.0.2.1:80"}, []string{"192.0.2.2:80"}},
			{"a second name", byName("new.test", "old.test"), []string{"192.0.2.2:80"}, []string{"192.0.2.2:80", "192.0.2.1:80"}},
			{"one name less", byName("old.test"), []string{"192.0.2.1:80"}, []string{"192.0.2.1:80"}},
			{
				"no names", Config{Name: "c", Static: []Endpoint{{Addr: netip.MustParseAddrPort("192.0.2.3:80")}}},
				[]string{"192.0.2.3:80"}, []string{"192.0.2.3:80"},
			},
			{"names again", byName("new.test"), []string{"192.0.2.3:80"}, []string{"192.0.2.2:80"}},
			{"a name that is not found", byName("none.test"), []string{"192.0.2.2:80"}, nil},
		} {
			z.mu.Lock() // no answer comes yet
			d.Set(step.to)
			if diff := cmp.Diff(step.before, hostNames(c)); diff != "" {
				t.Errorf("%s, before the answer: %s", step.what, diff)
			}
			z.mu.Unlock()
			synctest.Wait()
			if diff := cmp.Diff(step.now, hostNames(c)); diff != "" {
				t.Errorf("%s, after the answer: %s", step.what, diff)
			}
		}
	})
}
