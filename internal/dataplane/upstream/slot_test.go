// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// shrinksTo waits until the directory knows no more than so many slots, and no service.
func (d *Directory) shrinksTo(t *testing.T, slots int) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		runtime.GC()
		d.mu.Lock()
		s, e := len(d.slots), len(d.services)
		d.mu.Unlock()
		if s <= slots && e == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d slots and %d services after 10 s, want %d and none", s, e, slots)
		}
	}
}

func TestNamesThatNobodyNeedsAreForgotten(t *testing.T) {
	d, _ := directory(t)
	d.Set(Config{Name: "stays"})
	for i := range 1000 {
		name := fmt.Sprint("c", i)
		d.SetEndpoints(name, ends(1))
		d.Set(Config{Name: name, Discovery: EDS, ServiceName: name})
		d.Slot(name)
		d.Slot("never configured " + name)
		if i%2 == 0 { // in either order
			d.SetEndpoints(name, nil)
		}
		d.Remove(name)
		if i%2 == 1 {
			d.SetEndpoints(name, nil)
		}
	}
	d.shrinksTo(t, 1)
	if c := d.Slot("stays").Cluster(); c == nil || c.Name != "stays" {
		t.Errorf("the cluster in force is %v", c)
	}
}

func TestASlotStaysWithWhoeverHasIt(t *testing.T) {
	d, _ := directory(t)
	d.Set(Config{Name: "a"})
	d.Set(Config{Name: "b"})
	held := d.Slot("a") // by a request that was matched
	d.Remove("a")
	d.Remove("b")
	d.shrinksTo(t, 1)
	if held.Cluster() != nil {
		t.Error("there is a cluster still")
	}
	d.Set(Config{Name: "a"})
	if held.Cluster() == nil || d.Slot("a") != held {
		t.Error("the name that came back is another's")
	}
	d.Set(Config{Name: "b"})
	if c := d.Slot("b").Cluster(); c == nil {
		t.Error("the forgotten name that came back has no cluster")
	}
	runtime.KeepAlive(held)
}

func TestEndpointsThatComeBeforeTheirClusterStay(t *testing.T) {
	d, _ := directory(t)
	d.SetEndpoints("s", ends(1, 1))
	d.Set(Config{Name: "a", Discovery: EDS, ServiceName: "s"})
	d.Remove("a")
	d.Set(Config{Name: "b", Discovery: EDS, ServiceName: "s"})
	if n := len(d.Slot("b").Cluster().Hosts()); n != 2 {
		t.Errorf("%d hosts, want 2", n)
	}
}
