// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

func TestKillSwitchActsAtOnceWhileTrafficRuns(t *testing.T) {
	a, b := newWorkload(t, "a-v1"), newWorkload(t, "b")
	// One worker: once an answer has come, all that was counted before it is published.
	p := serve(t, exampleA(t, a.addr, b.addr, "100"), func(o *app.Options) { o.Workers = 1 })
	stop := make(chan struct{})
	var traffic sync.WaitGroup
	defer func() { close(stop); traffic.Wait() }()
	for range 4 {
		traffic.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: meshtest.Patience}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := once(client, "http://"+p.Addr+"/headers", by("a-v1")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	gauge := func(want string) {
		t.Helper()
		if metrics := p.page(t, "/stats/prometheus"); !strings.Contains(metrics, "\numbra_mirrors_enabled "+want+"\n") {
			t.Errorf("the gauge umbra_mirrors_enabled is not %s", want)
		}
	}
	b.wait(t, 50)
	gauge("1")
	for range 3 {
		p.ask(t, http.MethodPost, "/mirrors?enabled=false")
		gauge("0")
		a.wait(t, a.count()+50) // what was under way at the switch has ended
		off := p.settled(t)
		a.wait(t, a.count()+200)
		p.get(t, "x", "/headers")
		m := p.settled(t)
		// A copy that a slow machine had dropped may have come all the same.
		seen := int64(b.count())
		if m.Enabled || m.Selected != off.Selected || seen < m.Delivered || seen > m.Delivered+meshtest.Dropped(m) {
			t.Errorf("copies with mirrors off: %+v, before %+v, B saw %d", m, off, seen)
		}
		p.ask(t, http.MethodPost, "/mirrors?enabled=true")
		gauge("1")
		b.wait(t, b.count()+50)
		if m := p.mirrors(t); !m[0].Enabled {
			t.Errorf("mirrors are not told to be on: %+v", m)
		}
	}
}
