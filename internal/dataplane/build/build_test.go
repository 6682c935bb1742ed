// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/xds"
)

func mustApply(t *testing.T, b *Builder, r *xds.Resources, wantNacks ...string) {
	t.Helper()
	var got []string
	for _, n := range b.Apply(r) {
		got = append(got, n.Error())
	}
	if diff := cmp.Diff(wantNacks, got); diff != "" {
		t.Errorf("refusals (-want +got):\n%s", diff)
	}
}

func wantCalls(t *testing.T, f *far, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, f.takeCalls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func ask(b *Builder, routes, host, path string) string {
	s := b.slots[routes]
	if s == nil || s.Load() == nil {
		return "no table"
	}
	a, out := s.Load().Match(&codec.Head{Method: []byte("GET"), Authority: []byte(host), Target: []byte(path)}, 0)
	if out != route.Found {
		return "no route"
	}
	return a.Clusters[0].Slot.Name
}

func TestApplyMakesBeforeItBreaks(t *testing.T) {
	f, b := newFar()
	old := resourcesOf(t, minimal)
	mustApply(t, b, old)
	wantCalls(t, f, "set endpoints a: 1", "set cluster a", "set listener l")

	next := clone(old)
	next.Listeners[0].Name, next.Routes[0].Name = "l2", "r2"
	next.Listeners[0].GetAddress().GetSocketAddress().Address = "127.0.0.2"
	next.Clusters[0].Name, next.Endpoints[0].ClusterName = "a2", "a2"
	mustApply(t, b, next)
	wantCalls(t, f, "set endpoints a2: 1", "set cluster a2", "set listener l2",
		"remove listener l", "settle", "remove cluster a", "set endpoints a: 0")
}

func TestApplyWorksOnWhatChangedOnly(t *testing.T) {
	f, b := newFar()
	r := resourcesOf(t, minimal)
	mustApply(t, b, r)
	f.takeCalls()
	table := b.slots["r"].Load()

	mustApply(t, b, r)        // the same messages
	mustApply(t, b, clone(r)) // equal messages
	wantCalls(t, f)
	if b.slots["r"].Load() != table {
		t.Error("an unchanged table was made anew")
	}

	r = clone(r)
	r.Endpoints[0].Endpoints = nil
	mustApply(t, b, r)
	wantCalls(t, f, "set endpoints a: 0")
	if b.slots["r"].Load() != table {
		t.Error("a change of endpoints made the table anew")
	}

	r = clone(r)
	r.Routes[0].VirtualHosts[0].Domains = []string{"b"}
	mustApply(t, b, r)
	wantCalls(t, f)
	if got := ask(b, "r", "b", "/"); got != "a" {
		t.Errorf("the changed table says %s", got)
	}
}

func TestARefusedResourceKeepsItsLastAcceptedVersion(t *testing.T) {
	f, b := newFar()
	good := resourcesOf(t, minimal)
	mustApply(t, b, good)
	f.takeCalls()

	bad := clone(good)
	bad.Version = "2"
	bad.Clusters[0].RespectDnsTtl = true
	bad.Routes[0].VirtualHosts[0].Domains = []string{"x", "X"}
	bad.Endpoints[0].Endpoints[0].LbEndpoints[0].GetEndpoint().GetAddress().GetSocketAddress().Address = "host"
	bad.Listeners[0].ListenerFilters = append(bad.Listeners[0].ListenerFilters, nil)
	refusals := []string{
		"ClusterLoadAssignment a: endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: " +
			`"host" is not an IP address`,
		"Cluster a: respect_dns_ttl: not implemented",
		"RouteConfiguration r: virtual_hosts: virtual host v: duplicate domain X, which virtual host v has",
		"Listener l: listener_filters: not implemented",
	}
	mustApply(t, b, bad, refusals...)
	wantCalls(t, f)
	if got := ask(b, "r", "a", "/"); got != "a" {
		t.Errorf("the last good table is gone: %s", got)
	}
	acc := b.Accepted()
	if acc.Routes[0].Message != good.Routes[0] || acc.Clusters[0].Message != good.Clusters[0] ||
		acc.Listeners[0].Message != good.Listeners[0] || acc.Endpoints[0].Message != good.Endpoints[0] {
		t.Error("accepted tells of what was refused")
	}
	mustApply(t, b, bad, refusals...) // told again as long as it is so
	mustApply(t, b, good)
	wantCalls(t, f)
}

func TestARefusalDoesNotHoldUpTheOthers(t *testing.T) {
	f, b := newFar()
	r := resourcesOf(t, minimal)
	other := clone(r)
	r.Clusters[0].Name, r.Clusters[0].RespectDnsTtl = "bad", true
	r.Clusters = append(r.Clusters, other.Clusters[0])
	mustApply(t, b, r, "Cluster bad: respect_dns_ttl: not implemented")
	wantCalls(t, f, "set endpoints a: 1", "set cluster a", "set listener l")
}

func TestNamesAreThereAndUnique(t *testing.T) {
	f, b := newFar()
	r := resourcesOf(t, minimal)
	twin, nameless := clone(r).Clusters[0], clone(r).Clusters[0]
	nameless.Name = ""
	r.Clusters = append(r.Clusters, twin, nameless, nil)
	mustApply(t, b, r,
		"Cluster a: name: a second resource of that name", "Cluster : name: missing", "Cluster : name: missing")
	if len(f.clusters) != 1 {
		t.Errorf("%d clusters", len(f.clusters))
	}
}

func TestAListenerThatCannotListenIsRefusedAndTriedAgain(t *testing.T) {
	f, b := newFar()
	r := resourcesOf(t, minimal)
	mustApply(t, b, r)
	moved := clone(r)
	moved.Listeners[0].GetAddress().GetSocketAddress().Address = "127.0.0.9"
	f.taken = netip.MustParseAddrPort("127.0.0.9:80")
	mustApply(t, b, moved, "Listener l: address: bind: address already in use")
	if got := f.listeners["l"].Addr.String(); got != "127.0.0.1:80" {
		t.Errorf("the old listener is at %s", got)
	}
	if got := b.Accepted().Listeners[0].Message; got != r.Listeners[0] {
		t.Error("accepted tells of the new one")
	}
	f.taken = netip.AddrPort{}
	mustApply(t, b, moved)
	if got := f.listeners["l"].Addr.String(); got != "127.0.0.9:80" {
		t.Errorf("the listener is at %s", got)
	}
}

func TestAListenerOnAllAddressesMakesRoomForOneOnASingleOne(t *testing.T) {
	f, b := newFar()
	all := resourcesOf(t, minimal)
	all.Listeners[0].GetAddress().GetSocketAddress().Address = "0.0.0.0"
	mustApply(t, b, all)
	f.takeCalls()
	one := clone(all)
	one.Listeners[0].Name = "one"
	one.Listeners[0].GetAddress().GetSocketAddress().Address = "127.0.0.1"

	f.taken = netip.MustParseAddrPort("127.0.0.1:80")
	mustApply(t, b, one, "Listener one: address: bind: address already in use")
	wantCalls(t, f, "set listener one for l")
	if len(b.Accepted().Listeners) != 1 || f.listeners["l"].Addr.String() != "0.0.0.0:80" {
		t.Errorf("the old listener has not stayed: %v", f.listeners)
	}

	f.taken = netip.AddrPort{}
	mustApply(t, b, one)
	if len(f.listeners) != 1 || f.listeners["one"].Addr.String() != "127.0.0.1:80" {
		t.Errorf("listeners %v", f.listeners)
	}
	mustApply(t, b, all)
	if len(f.listeners) != 1 || f.listeners["l"].Addr.String() != "0.0.0.0:80" {
		t.Errorf("back again: listeners %v", f.listeners)
	}
}

func TestAListenerThatGoesFreesItsAddressForOneThatComes(t *testing.T) {
	f, b := newFar()
	r := resourcesOf(t, minimal)
	mustApply(t, b, r)
	f.takeCalls()
	renamed := clone(r)
	renamed.Listeners[0].Name = "new"
	mustApply(t, b, renamed)
	wantCalls(t, f, "set listener new for l")

	refused := clone(r)
	refused.Listeners[0].Name, refused.Listeners[0].Transparent = "newer", nil
	refused.Listeners[0].FilterChains = nil
	mustApply(t, b, refused, "Listener newer: filter_chains: there are 0, exactly one is implemented")
	// "new" is not in the set, but nothing takes its place: it goes on serving.
	wantCalls(t, f)
	refused.Listeners = nil
	mustApply(t, b, refused)
	wantCalls(t, f, "remove listener new")
}

func TestRoutesComeAndGoUnderTheListener(t *testing.T) {
	f, b := newFar()
	r := resourcesOf(t, minimal)
	without := clone(r)
	without.Routes = nil
	mustApply(t, b, without)
	slot := f.listeners["l"].Routes
	if slot.Name != "r" || slot.Load() != nil {
		t.Fatalf("slot %s has a table before its routes came", slot.Name)
	}
	mustApply(t, b, r)
	if slot.Load() == nil {
		t.Error("the listener's slot has no table after its routes came")
	}
	mustApply(t, b, without)
	if slot.Load() != nil {
		t.Error("the slot has a table after its routes went")
	}
	mustApply(t, b, r)
	if f.listeners["l"].Routes != slot || slot.Load() == nil {
		t.Error("routes that came back are not under the listener")
	}
	mustApply(t, b, &xds.Resources{})
	if len(b.slots) != 0 || len(f.clusters)+len(f.listeners) != 0 {
		t.Errorf("an empty set leaves %d slots, %d clusters, %d listeners", len(b.slots), len(f.clusters), len(f.listeners))
	}
}

func TestAcceptedTellsSinceWhenEachIsAsItIs(t *testing.T) {
	f, b := newFar()
	r := resourcesOf(t, minimal)
	r.Clusters = append(clone(r).Clusters, r.Clusters...)
	r.Clusters[0].Name = "z"
	mustApply(t, b, r)
	first := f.now
	f.now = first.Add(time.Minute)
	r = clone(r)
	r.Version = "2"
	r.Routes[0].IgnorePortInHostMatching = true
	mustApply(t, b, r)

	a := b.Accepted()
	if a.Version != "2" || a.Routes[0].Version != "2" || !a.Routes[0].LastUpdated.Equal(f.now) {
		t.Errorf("set %s, routes %s of %v", a.Version, a.Routes[0].Version, a.Routes[0].LastUpdated)
	}
	if c := a.Clusters; len(c) != 2 || c[0].Message.GetName() != "a" || c[1].Message.GetName() != "z" ||
		c[0].Version != "1" || !c[0].LastUpdated.Equal(first) {
		t.Errorf("clusters %v", c)
	}
}

func TestMirrorsAreToldOnceAndGoWithTheirRoutes(t *testing.T) {
	f, b := newFar()
	r := resourcesOf(t, minimal)
	meta, err := structpb.NewStruct(map[string]any{
		"config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/httpbin",
	})
	if err != nil {
		t.Fatal(err)
	}
	v := r.Routes[0].VirtualHosts[0]
	v.Routes[0].Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"istio": meta}}
	v.Routes = append(v.Routes, v.Routes[0])
	mustApply(t, b, r)
	want := []Mirror{{
		MirrorInfo: MirrorInfo{
			ID: "default/httpbin", From: "VirtualService default/httpbin", To: "b",
			Numerator: 100, Denominator: 100, Suffix: true,
		},
		Stats: f.Stats("default/httpbin", "b"),
	}}
	same := cmp.Comparer(func(x, y *mirror.Stats) bool { return x == y })
	if diff := cmp.Diff(want, b.Mirrors(), same); diff != "" {
		t.Error(diff)
	}
	mustApply(t, b, &xds.Resources{})
	if got := b.Mirrors(); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestVirtualServiceIsReadFromMetadata(t *testing.T) {
	for config, want := range map[string]string{
		"/apis/networking.istio.io/v1alpha3/namespaces/a/virtual-service/b": "a/b",
		"/apis/networking.istio.io/v1/namespaces/a/destination-rule/b":      "",
		"/apis/networking.istio.io/v1/virtual-service/b":                    "",
		"": "",
	} {
		if got := virtualService(config); got != want {
			t.Errorf("%s: %q, want %q", config, got, want)
		}
	}
}

func TestReadersMayAskWhileASetIsApplied(t *testing.T) {
	_, b := newFar()
	r := resourcesOf(t, minimal)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 50 {
			c := clone(r)
			c.Version = fmt.Sprint(i)
			c.Routes[0].VirtualHosts[0].Domains = []string{c.Version}
			b.Apply(c)
		}
	})
	for range 50 {
		for _, rc := range b.Accepted().Routes {
			if d := rc.Message.GetVirtualHosts()[0].GetDomains()[0]; d != rc.Version {
				t.Errorf("routes of version %s are those of %s", rc.Version, d)
			}
		}
		b.Mirrors()
	}
	wg.Wait()
}

func TestNackPathsOfValidationAreTheDefinitionsNames(t *testing.T) {
	r := resourcesOf(t, minimal)
	r.Routes[0].VirtualHosts[0].Routes[0].GetRoute().RequestMirrorPolicies[0].RuntimeFraction = nil
	r.Routes[0].VirtualHosts[0].Domains = nil
	nacks := applied(r)
	if len(nacks) != 1 || nacks[0].Path != "virtual_hosts[0].domains" || !strings.Contains(nacks[0].Reason, "at least 1") {
		t.Errorf("got %v", nacks)
	}
}

func TestWhatIsLeftOfAListenerThatIsGoneKeepsItsRoutes(t *testing.T) {
	f, b := newFar()
	r := resourcesOf(t, minimal)
	mustApply(t, b, r)
	left := f.listeners["l"].Routes
	mustApply(t, b, &xds.Resources{})
	if left.Load() == nil {
		t.Error("its last requests find no routes")
	}

	mustApply(t, b, r)
	stays := clone(r)
	stays.Routes = nil
	mustApply(t, b, stays)
	if f.listeners["l"].Routes.Load() != nil {
		t.Error("a listener in force goes by routes that are gone")
	}
}
