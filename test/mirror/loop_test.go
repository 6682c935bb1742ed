// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// Two meshes that mirror to each other cannot know it. The copies' hop count ends the circle.
func TestMirrorsThatLeadBackEndByTheHopLimit(t *testing.T) {
	productionA, productionB := newProduction(t), newProduction(t)
	portA, portB := meshtest.FreePort(t), meshtest.FreePort(t)
	at := func(port uint16) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	a := newMeshAt(t, portA, meshtest.Gateway+serviceYAML("a", productionA.addr())+serviceYAML("other", at(portB))+
		routeYAML("a", mirrorYAML("other")), mirror.Limits{})
	b := newMeshAt(t, portB, meshtest.Gateway+serviceYAML("b", productionB.addr())+serviceYAML("other", at(portA))+
		routeYAML("b", mirrorYAML("other")), mirror.Limits{})
	const n = 20
	for range n {
		a.must([]byte("data"), true)
	}
	// The request, its copy at B, that one's copy at A, that one's copy at B, which gets none.
	meshtest.Until(t, "the circle has ended", func() bool {
		return b.mirror("other").Dropped["loop"] == n
	})
	inA, inB := a.ended("other"), b.ended("other")
	if inA.Delivered != 2*n || inB.Delivered != n || meshtest.Dropped(inA) != 0 || meshtest.Dropped(inB) != n {
		t.Errorf("A %+v\nB %+v", inA, inB)
	}
	if productionA.total.Load() != 2*n || productionB.total.Load() != 2*n {
		t.Errorf("production saw %d in A and %d in B", productionA.total.Load(), productionB.total.Load())
	}
}

func TestSuffixOfAHostIsNotDoubledByASecondMirror(t *testing.T) {
	production, last := newProduction(t), newProduction(t)
	far, seen := newFaulty(t)
	second := newMesh(t, meshtest.Gateway+serviceYAML("a", last.addr())+serviceYAML("far", far.Addr())+
		routeYAML("a", mirrorYAML("far")), mirror.Limits{})
	first := newMesh(t, meshtest.Gateway+serviceYAML("a", production.addr())+serviceYAML("second", second.Addr)+
		routeYAML("a", mirrorYAML("second")), mirror.Limits{})
	id := newID()
	if err := first.exchange(id, nil, false); err != nil {
		t.Fatal(err)
	}
	first.ended("second")
	second.ended("far")
	if c := seen.of(id); c.times != 1 || c.host != first.addrShadow() {
		t.Errorf("the copy of a copy: %+v", c)
	}
}

func TestMirrorToItselfIsRefusedAtLoad(t *testing.T) {
	production := newProduction(t)
	port := meshtest.FreePort(t)
	self := meshtest.Gateway + serviceYAML("a", production.addr()) + serviceYAML("self", fmt.Sprintf("127.0.0.1:%d", port)) +
		routeYAML("a", mirrorYAML("self"))
	a, err := app.New(meshtest.Options(t, self, port))
	if err == nil {
		a.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "mirror to self.test port 80 sends copies back to listener") {
		t.Fatalf("started, or said %v", err)
	}

	// A reload does not take production away for it, but there is no such mirror.
	m := newMeshAt(t, port, meshtest.Gateway+serviceYAML("a", production.addr())+routeYAML("a", ""), mirror.Limits{})
	m.Reload(t, self)
	ready, err := m.Ask("GET", "/ready")
	if err != nil || !strings.Contains(ready, "sends copies back to listener") {
		t.Errorf("/ready says %q, %v", ready, err)
	}
	was := production.total.Load()
	m.must(nil, false)
	if _, ok := m.mirrors()[cluster("self")]; ok || production.total.Load() != was+1 {
		t.Errorf("mirrors to itself: production saw %d requests for one", production.total.Load()-was)
	}
}
