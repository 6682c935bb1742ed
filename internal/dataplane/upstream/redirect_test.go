// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

func TestARedirectingClusterDoesSoUntilItsNamesHaveAnAnswer(t *testing.T) {
	withZone(t, func(t *testing.T, z *zone, d *Directory, w *loop.Worker) {
		z.set("new.test", "192.0.2.2")
		going := netip.MustParseAddrPort("192.0.2.9:80")
		d.Set(Config{Name: "c", Discovery: OriginalDst, Policy: ClusterProvided})
		c := d.Slot("c").Cluster()
		ch := &Choice{Original: going}
		if h := c.Pick(w, ch); h == nil || h.Addr != going {
			t.Fatalf("got %v", h)
		}
		z.mu.Lock() // no answer comes yet
		d.Set(Config{
			Name: "c", Discovery: StrictDNS, DNSRefresh: time.Minute, DNSFamily: FamilyV4Only,
			Static: []Endpoint{{Name: "new.test", Port: 80}},
		})
		if h := c.Pick(w, ch); h == nil || h.Addr != going {
			t.Errorf("before the answer: %v", h)
		}
		z.mu.Unlock()
		synctest.Wait()
		if h := c.Pick(w, ch); h == nil || h.Addr.String() != "192.0.2.2:80" {
			t.Errorf("after the answer: %v", h)
		}
	})
}
