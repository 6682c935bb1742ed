// SPDX-License-Identifier: Apache-2.0

package model_test

import "strings"

// This file is what must hold where requests wait in line for a connection, and where hosts come and go.

// checkHeads notes whose heads were taken by a worker in this turn: the requests are in line then, or past it. What of a
// client that pipelines was taken may have to wait for its answers.
func (m *model) checkHeads() {
	m.turn++
	for _, c := range m.clients {
		if c.p == nil || c.over || c.pipe || c.next >= len(c.plans) {
			continue
		}
		if p := c.plans[c.next]; p.began && p.entered == 0 && p.sent-c.p.Unread() >= p.headLen {
			p.entered = m.turn
		}
	}
}

// checkOrder: with one connection a worker requests are sent on as they came.
func (m *model) checkOrder(p *plan) {
	if p.path != "/line" || !m.single || m.refused || p.entered == 0 {
		return
	}
	for _, c := range m.clients {
		if c.rude || c.pipe || c.over || c.w != p.client.w || c.next >= len(c.plans) {
			continue
		}
		q := c.plans[c.next]
		if q.path == "/line" && q.entered != 0 && q.entered < p.entered && len(q.attempts) == 0 && !q.ended {
			m.fail("%s overtakes %s, which was in line before", p.id, q.id)
		}
	}
}

// checkConnections: there are no more connections to the cluster than its limit says, or one for each worker and host.
func (m *model) checkConnections(o *origin) {
	if !strings.HasPrefix(o.name, "line-") || m.moved {
		return
	}
	open, hosts := 0, 0
	for _, other := range m.origins {
		if !strings.HasPrefix(other.name, "line-") {
			continue
		}
		hosts++
		for _, f := range other.fars {
			flushed := f.tunnel != nil && f.tunnel.fin // both ends may have ended, and the last bytes be on their way
			if !f.p.Left() && !flushed {
				open++
			}
		}
	}
	if most := m.most + hosts*len(m.workers) - 1; open > most {
		m.fail("%s has connection %d, of at most %d to all its cluster", o.name, open, most)
	}
}

// excused reports whether a request may be answered here though its route is well.
func (m *model) excused(p *plan) bool { return m.ending || m.refused && p.status == 503 }

// checkSwitch finds the attempt that agreed to another protocol.
func (m *model) checkSwitch(p *plan, a *message) *attempt {
	at := m.attemptOf(p)
	switch {
	case at == nil || !at.switches:
		m.fail("%s: an answer of 101 that is not its own: %q %q", p.id, p.up, a.fields)
		return nil
	case !strings.EqualFold(a.field("Upgrade"), "websocket") || !strings.EqualFold(a.field("Connection"), "upgrade"):
		m.fail("%s: a 101 to what: %q", p.id, a.fields)
	}
	return at
}

// checkTunnel: what came through a tunnel is what was sent, and its end is an end only if all came.
func (m *model) checkTunnel(p *plan, a *attempt) {
	near, far := p.tunnel, a.tunnel
	if near.wrong || near.got > far.sent {
		m.fail("%s: the tunnel brought %d bytes, of %d, or other ones", p.id, near.got, far.sent)
	}
	if near.heard && (!far.fin || near.got != far.sent) {
		m.fail("%s: the tunnel seems to end after %d bytes, %d were sent, ended %v", p.id, near.got, far.sent, far.fin)
	}
}

// checkTunnels is the same from the other end, when all is over; and what is well went well.
func (m *model) checkTunnels() {
	for _, p := range m.order {
		joined := 0
		for _, a := range p.attempts {
			far, near := a.tunnel, p.tunnel
			if far == nil {
				continue
			}
			if far.got > 0 {
				joined++
			}
			mine := near != nil && m.attemptOf(p) == a
			switch {
			case !mine && far.got > p.early:
				m.fail("%s: %d bytes came through a tunnel that its client knows nothing of", p.id, far.got)
			case far.wrong || mine && far.got > near.sent:
				m.fail("%s: the tunnel took %d bytes, of %d, or other ones", p.id, far.got, near.sent)
			case mine && far.heard && (!near.fin || far.got != near.sent):
				m.fail("%s: the tunnel seems to end at %s after %d bytes, %d were sent, ended %v", p.id, a.origin.name, far.got,
					near.sent, near.fin)
			case mine && p.good && !m.ending && (!p.whole || !far.heard || p.got != far.sent || far.got != near.sent):
				m.fail("%s: the tunnel was not whole: %d of %d bytes down, %d of %d up", p.id, p.got, far.sent, far.got, near.sent)
			}
		}
		if joined > 1 {
			m.fail("%s was joined to %d upstreams", p.id, joined)
		}
	}
}
