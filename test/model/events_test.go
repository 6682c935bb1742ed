// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"slices"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// This file is what happens to the proxy while requests are under way.

// event changes the configuration, or what the machine can bear.
func (m *model) event() {
	switch m.r.IntN(11) {
	case 0:
		m.note("other routes")
		m.route()
	case 1:
		m.clusterGoes()
	case 2:
		m.note("kill switch")
		m.engine.SetEnabled(false)
		m.sim.After(m.within(100*time.Millisecond), func() { m.engine.SetEnabled(true) })
	case 3:
		m.note("pressure: copies are shed")
		m.engine.SetShedding(true)
		m.server.ShedCopies()
		m.sim.After(m.within(50*time.Millisecond), func() { m.engine.SetShedding(false) })
	case 4:
		m.note("pressure: requests are refused")
		m.refused = true
		m.server.Refuse(true)
		m.server.Trim()
		m.sim.After(m.within(20*time.Millisecond), func() { m.server.Refuse(false) })
	case 5:
		m.note("another listener")
		m.listener.Update(m.listenerConfig())
	case 6:
		m.court.outlierGoes()
	default:
		m.hostsMove()
	}
}

func (m *model) within(d time.Duration) time.Duration { return time.Duration(m.r.Int64N(int64(d))) }

// clusterGoes takes a cluster away for a while.
func (m *model) clusterGoes() {
	name := append([]string{"wild", "late"}, m.own()...)[m.r.IntN(2+len(m.own()))]
	back := m.within(200 * time.Millisecond)
	c := m.clusters.Slot(name).Cluster()
	if c == nil {
		return
	}
	m.note("cluster %s goes", name)
	cfg := *c.Config()
	m.clusters.Remove(name)
	m.sim.After(back, func() {
		m.note("cluster %s comes back", name)
		m.zones[name+".test"].again()
		m.clusters.Set(cfg)
	})
}

// hostsMove gives a cluster some of its hosts. What a request has begun on one that leaves goes well, if the host is.
func (m *model) hostsMove() {
	names := append([]string{"good", "good", "line", "line", "wild", "wild", "late"}, m.own()...)
	name := names[m.r.IntN(len(names))]
	all := m.endpoints[name]
	some := slices.Clone(all)
	m.r.Shuffle(len(some), func(i, k int) { some[i], some[k] = some[k], some[i] })
	if name == "good" || name == "line" {
		some = some[:1+m.r.IntN(len(some))]
	} else {
		some = some[:m.r.IntN(len(some)+1)]
	}
	c := m.clusters.Slot(name).Cluster()
	if c == nil {
		return
	}
	m.note("%s has %d hosts of %d", name, len(some), len(all))
	if name == "line" {
		m.single, m.moved = false, true
	}
	cfg := *c.Config()
	switch cfg.Discovery {
	case upstream.EDS:
		m.clusters.SetEndpoints(name, some)
		return
	case upstream.StrictDNS:
		m.zones[cfg.Static[0].Name].set(addrs(some))
		return
	}
	cfg.Static = some
	m.clusters.Set(cfg)
}

// finale is the end of the listener, or of the process: in good order, and with a term in some cases.
func (m *model) finale() {
	m.ending = true
	kind, term := m.r.IntN(5), m.within(3*time.Second)
	if kind < 2 {
		m.note("the listener goes")
		m.shut, m.retired = true, true
		m.listener.Retire(m.server)
		if kind == 1 {
			m.sim.After(term, func() {
				m.note("the listener's term is over")
				m.listener.Cut(m.server)
			})
		}
		return
	}
	m.note("drain")
	m.drained, m.left = true, len(m.workers)
	m.server.Drain(5*time.Second, time.Hour, func() {
		m.left--
		m.note("a worker has drained")
		m.checkDrained()
	})
	if kind == 2 {
		m.sim.After(term, func() {
			m.note("the term is over")
			m.shut = true
			m.server.Cut(func() {})
		})
	}
}

func (m *model) listenerConfig() proxy.ListenerConfig {
	idle := []time.Duration{time.Minute, 500 * time.Millisecond}[m.r.IntN(2)]
	return proxy.ListenerConfig{
		Name: "model", StatPrefix: "model", Routes: m.routes, ServerName: "istio-envoy", UseRemoteAddress: true,
		IdleTimeout: idle, HeadTimeout: 10 * time.Second, StreamIdle: 5 * time.Minute, HTTP10Accepted: true,
		Upgrades: []string{"websocket"},
	}
}
