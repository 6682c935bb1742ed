// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"
	"math"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// This file is a route that a reload moves to a new cluster, while the old one goes.

// wave is one of the clusters that the route leads to, one after the other.
type wave struct {
	name  string
	until time.Duration // the route led there; that is for good for the last one
}

// newWave makes the next cluster. A route leads there from the next m.route on.
func (m *model) newWave() *wave {
	w := &wave{name: fmt.Sprintf("wave%d", m.waves), until: math.MaxInt64}
	m.waves++
	var hosts []upstream.Endpoint
	n, narrow := 1+m.r.IntN(2), m.r.IntN(2) == 0
	if m.focus == "/wave" {
		n, narrow = 1, true
	}
	for range n {
		e, o := m.place(w.name, false, good)
		o.wave = w
		hosts = append(hosts, e)
	}
	cfg := unlimited(w.name)
	if narrow {
		cfg.MaxConnections = 1
	}
	m.put(cfg, hosts)
	return w
}

// reload is what a new configuration does, each of its steps at a time of its own: the new cluster comes, the route
// turns to it, and when each worker has ended the turn in which it may have followed the old route, the old cluster goes.
func (m *model) reload() {
	if m.reloading {
		return
	}
	m.reloading = true
	next, soon := m.newWave(), func() time.Duration { return m.within(10 * time.Millisecond) }
	m.note("reload: %s comes", next.name)
	m.sim.After(soon(), func() {
		old := m.wave
		m.note("reload: the route leads to %s", next.name)
		old.until, m.wave = m.sim.Now(), next
		m.route()
		m.sim.After(soon(), func() {
			left := len(m.workers)
			for _, w := range m.workers {
				w.Post(func() {
					if left--; left == 0 {
						m.sim.After(soon(), func() {
							m.note("reload: %s goes", old.name)
							m.clusters.Remove(old.name)
							m.reloading = false
						})
					}
				})
			}
		})
	})
}

// checkWave: a request goes to the cluster that its route led to at some time since all of its head was sent.
func (m *model) checkWave(p *plan, o *origin) {
	if w := o.wave; w != nil && w.until < p.headAt {
		m.fail("%s came at %v and was sent to %s, where its route led until %v", p.id, p.headAt, o.name, w.until)
	}
}
