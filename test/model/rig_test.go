// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

var (
	clientAddr = netip.MustParseAddrPort("198.51.100.1:40000")
	listenAddr = netip.MustParseAddrPort("192.0.2.1:80")
)

// newModel makes what a seed decides. bubbled tells that it is called in a bubble.
func newModel(t *testing.T, seed uint64, mirrored, bubbled bool) *model {
	m := &model{
		t: t, seed: seed, r: rnd(seed, text("model")), mirrored: mirrored, bubbled: bubbled, plans: map[string]*plan{},
		routes: &proxy.RouteSlot{Name: "model"}, endpoints: map[string][]upstream.Endpoint{},
		zones: map[string]*zone{},
	}
	m.calm = m.r.IntN(4) == 0
	m.shared = m.r.IntN(4) == 0 && !m.calm
	switch {
	case m.shared:
		m.focus = "/judged"
	case m.r.IntN(2) == 0:
		m.focus = []string{"/judged", "/wave", "/wave", "/line"}[m.r.IntN(4)]
	}
	m.sim = loop.NewSim(time.Now())
	m.sim.Fail = func(what string) { m.fail("%s", what) }
	workers := 1 + m.r.IntN(2)
	m.registry = stats.NewRegistry(workers)
	logger := slog.New(slog.DiscardHandler)
	for i := range workers {
		m.workers = append(m.workers, m.sim.NewWorker(loop.Config{
			Index: i, Logger: logger,
			Publish: func() { m.registry.Publish(i); m.checkAccounts(); m.checkHeads() },
			OnPanic: func(v any) { m.fail("panic: %v", v) },
		}, m.r.Uint64()))
	}
	m.clusters = upstream.NewDirectoryWith(m.workers, m.registry, m.lookup)
	if m.bubbled {
		m.gate = newGate()
		m.clusters.Logger = slog.New(m.gate)
		m.sim.Beside = m.beside
	}
	if !m.calm {
		m.limits = m.someLimits()
	}
	m.engine = mirror.NewEngine(mirror.Config{
		Limits: m.limits, LocalIP: "192.0.2.1", Registry: m.registry, Logger: slog.New(&loud{m: m}),
	})
	m.server = proxy.NewServer(proxy.Config{
		Workers: m.workers, Mirror: m.engine, Registry: m.registry, LocalIP: "192.0.2.1",
	})
	m.listener = m.server.NewListener(m.listenerConfig())
	m.places()
	m.route()
	for i := range 1 + m.r.IntN(6) {
		m.clients = append(m.clients, m.newClient(i))
	}
	m.minds()
	return m
}

func (m *model) someLimits() (l mirror.Limits) {
	if m.r.IntN(3) == 0 {
		l.MaxInFlight = 1 + m.r.IntN(3)
	}
	if m.r.IntN(2) == 0 {
		l.Memory = int64(160<<10) << m.r.IntN(4)
	}
	if m.r.IntN(4) == 0 {
		l.Window = 64 << 10
	}
	return l
}

// place puts a far end at the next address.
func (m *model) place(name string, mirror bool, s style) (upstream.Endpoint, *origin) {
	n := byte(len(m.origins) + 1)
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 80)
	o := &origin{m: m, name: fmt.Sprintf("%s-%d", name, n), mirror: mirror, style: s}
	m.origins = append(m.origins, o)
	m.sim.Listen(addr, o.arrive)
	return upstream.Endpoint{Addr: addr}, o
}

// places puts the far ends where the clusters have their hosts.
func (m *model) places() {
	for _, c := range []struct {
		name  string
		style style
	}{{"good", good}, {"line", good}, {"wild", wild}, {"dead", dead}, {"late", late}} {
		cfg := unlimited(c.name)
		var hosts []upstream.Endpoint
		n, most := 1+m.r.IntN(3), 1+m.r.IntN(2)
		if c.name == "line" && m.focus == "/line" { // as narrow as can be
			n, most = 1, 1
		}
		for range n {
			e, _ := m.place(c.name, false, c.style)
			hosts = append(hosts, e)
		}
		if c.style != good {
			m.tighten(&cfg)
		}
		if c.name == "line" {
			m.most, m.single = most, most == 1 && n == 1
			cfg.MaxConnections = uint32(most)
		}
		m.put(cfg, hosts)
	}
	for i := range 1 + m.r.IntN(3) {
		name := fmt.Sprintf("mirror%d", i)
		m.mirrors = append(m.mirrors, name)
		s := []style{good, good, wild, wild, wild, wild, dead, late, hangs, silent}[m.r.IntN(10)]
		if m.calm {
			s = good
		}
		cfg := unlimited(name)
		if !m.calm {
			m.tighten(&cfg)
		}
		e, _ := m.place(name, true, s)
		m.put(cfg, []upstream.Endpoint{e})
	}
	m.newCourt()
	m.wave = m.newWave()
	if m.shared {
		m.mirrors = append(m.mirrors, "judged")
	}
	for _, name := range m.mirrors {
		m.targets = append(m.targets, m.engine.Target(m.clusters.Slot(name)))
		m.counters = append(m.counters, m.engine.Stats("model", name))
	}
}

// own is the clusters that copies alone go to.
func (m *model) own() []string {
	if m.shared {
		return m.mirrors[:len(m.mirrors)-1]
	}
	return m.mirrors
}

// put adds a cluster with its hosts, which come by themselves, by a name or with it.
func (m *model) put(cfg upstream.Config, hosts []upstream.Endpoint) {
	m.endpoints[cfg.Name] = hosts
	switch {
	case m.bubbled && len(m.zones) < mostNames && rnd(m.seed, text(cfg.Name)).IntN(3) == 0:
		m.named(&cfg, hosts)
	case m.r.IntN(2) == 0:
		cfg.Discovery, cfg.ServiceName = upstream.EDS, cfg.Name
		m.clusters.SetEndpoints(cfg.Name, hosts)
	default:
		cfg.Static = hosts
	}
	m.clusters.Set(cfg)
	if cfg.Discovery == upstream.StrictDNS && !m.clusters.Await(time.Second) {
		m.fail("%s: its name was never looked up", cfg.Name)
	}
}

// minds settles whose requests may have to wait in line behind those of clients that do not do what they should: for
// longer than is well.
func (m *model) minds() {
	for _, path := range []string{"/line", "/wave"} {
		waits := slices.ContainsFunc(m.order, func(p *plan) bool { return p.path == path && p.client.rude })
		for _, p := range m.order {
			p.good = p.good && (p.path != path || !waits)
		}
	}
}

// tighten gives a cluster limits that are soon reached.
func (m *model) tighten(cfg *upstream.Config) {
	few := func() uint32 { return uint32(m.r.IntN(3)) }
	for _, limit := range []*uint32{&cfg.MaxConnections, &cfg.MaxPending, &cfg.MaxRequests, &cfg.MaxRetries} {
		if m.r.IntN(8) == 0 {
			*limit = few()
		}
	}
	if m.r.IntN(4) == 0 {
		cfg.MaxConnections = few()
	}
	switch m.r.IntN(12) {
	case 0:
		cfg.MaxRequestsPerConnection = 1 + few()
	case 1:
		cfg.MaxConnectionDuration = time.Duration(10+m.r.IntN(100)) * time.Millisecond
	case 2:
		cfg.IdleTimeout = time.Duration(1+m.r.IntN(50)) * time.Millisecond
	case 3:
		cfg.RetryBudget = &upstream.RetryBudget{Percent: 20, MinConcurrency: few()}
	}
}

func unlimited(name string) upstream.Config {
	return upstream.Config{
		Name: name, ConnectTimeout: time.Second, MaxConnections: upstream.Unlimited, MaxPending: upstream.Unlimited,
		MaxRequests: upstream.Unlimited, MaxRetries: upstream.Unlimited,
	}
}

// route puts a table in force, each time with other policies.
func (m *model) route() {
	var policies []mirror.Policy
	for i := range m.mirrors {
		percent := uint32(100)
		if !m.calm && m.r.IntN(3) == 0 {
			percent = 50
		}
		policies = append(policies, mirror.Policy{
			Target: m.targets[i], Stats: m.counters[i], Numerator: percent, Denominator: 100,
		})
	}
	if !m.calm && m.r.IntN(3) == 0 {
		policies = policies[:m.r.IntN(len(policies))]
	}
	if !m.mirrored {
		policies = nil
	}
	most := m.r.IntN(5)
	m.retries = max(m.retries, most)
	on := proxy.ConnectFailure | proxy.RetriableStatusCodes
	if m.r.IntN(4) > 0 {
		on |= proxy.ResetOn | proxy.GatewayError
	}
	slow, try := time.Duration(0), time.Duration(0)
	if m.r.IntN(2) == 0 {
		slow = time.Duration(1+m.r.IntN(4000)) * time.Millisecond
	}
	if m.r.IntN(3) == 0 {
		try = time.Duration(100+m.r.IntN(1000)) * time.Millisecond
	}
	var routes []route.Route[*proxy.Action]
	add := func(path string, a *proxy.Action) {
		a.AttemptCount = true
		routes = append(routes, route.Route[*proxy.Action]{
			Path: route.PathMatch{Kind: route.PathPrefix, Value: path}, Action: a,
		})
	}
	for _, name := range []string{"good", "line", "wild", "dead", "late", "none", "judged", "wave"} {
		cluster := name
		if name == "wave" {
			cluster = m.wave.name
		}
		a := &proxy.Action{
			Name: name, Mirrors: policies,
			Clusters: []proxy.Weighted{{Slot: m.clusters.Slot(cluster), Weight: 1}}, TotalWeight: 1,
			Retry: &proxy.Retry{On: on, Max: most, Codes: []int{503}, PreviousHosts: true, HostAttempts: 5},
		}
		if name != "good" && name != "line" && name != "wave" && name != "judged" {
			a.Timeout, a.Retry.PerTryTimeout = slow, try
			if m.r.IntN(6) == 0 {
				a.Retry.PerTryIdle = time.Duration(20+m.r.IntN(500)) * time.Millisecond
			}
		}
		if name == "wave" && m.r.IntN(2) == 0 { // held back between the route and the cluster
			a.Fault = m.fault()
			a.Fault.AbortShare = filter.Share{}
		}
		add("/"+name, a)
	}
	add("/split", &proxy.Action{
		Name: "split", Mirrors: policies, TotalWeight: 3, Timeout: slow, Retry: &proxy.Retry{On: on, Max: most},
		Clusters: []proxy.Weighted{
			{Slot: m.clusters.Slot("good"), Weight: 2}, {Slot: m.clusters.Slot("wild"), Weight: 1},
		},
	})
	add("/fault", &proxy.Action{
		Name: "fault", Mirrors: policies, TotalWeight: 1, Timeout: slow, Retry: &proxy.Retry{On: on, Max: most},
		Clusters: []proxy.Weighted{{Slot: m.clusters.Slot("good"), Weight: 1}}, Fault: m.fault(),
	})
	add("/direct", &proxy.Action{
		Name: "direct", Direct: &proxy.Direct{Status: 200, Body: "direct", Details: "direct_response"}, Mirrors: policies,
	})
	host, err := route.NewHost(&route.VirtualHost[*proxy.Action]{Name: "all", Domains: []string{"*"}, Routes: routes})
	if err != nil {
		m.t.Fatal(err)
	}
	table, err := route.New(route.Config[*proxy.Action]{Hosts: []*route.Host[*proxy.Action]{host}})
	if err != nil {
		m.t.Fatal(err)
	}
	m.routes.Store(table)
}

// fault holds some requests back and ends others.
func (m *model) fault() *filter.Fault {
	return &filter.Fault{
		Delay: time.Duration(1+m.r.IntN(300)) * time.Millisecond, DelayShare: filter.Share{Numerator: 1, Denominator: 2},
		AbortStatus: 418, AbortGRPC: -1, AbortShare: filter.Share{Numerator: 1, Denominator: 3},
	}
}
