// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/relay"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// This file is requests that ask for another protocol than HTTP (RFC 9110 §7.8). A protocol that the listener relays is
// asked for upstream, and nothing of what the client sends behind its request goes anywhere before the upstream agrees:
// with any other answer than 101 the client's connection ends. Another protocol is not asked for, and the request goes
// on without.

// upgrade settles what the request asks for; false if it is answered here.
func (s *Stream) upgrade() bool {
	h := &s.head
	if h.Protocol = s.d.cfg.relayed(h); h.Protocol == nil {
		h.Upgrade, s.last = false, h.Close || h.Minor == 0
		return true
	}
	if h.Length != 0 { // whose bytes these are would be read in two ways
		s.reply = &filter.UpgradeWithBody
		return false
	}
	return true
}

// relayed is the first of the protocols that h asks for which the listener relays, nil if there is none.
func (c *ListenerConfig) relayed(h *codec.Head) []byte {
	for i := range h.Fields {
		if h.Fields[i].ID != codec.Upgrade { // its name is removed already: it is hop-by-hop
			continue
		}
		for list := h.Fields[i].Value; len(list) > 0; {
			var p []byte
			p, list, _ = bytes.Cut(list, []byte(","))
			p = bytes.Trim(p, " \t")
			for _, known := range c.Upgrades {
				if codec.EqualFold(p, known) {
					return p
				}
			}
		}
	}
	return nil
}

// Upgraded implements upstream.Upgrader: from here on the connections are joined, and the stream waits for their end.
func (s *Stream) Upgraded(conn *upstream.Conn, h *codec.Head, rest chunk.Bytes) {
	w, d := s.wk.w, s.d
	h.Protocol = s.head.Protocol
	s.AnswerHead(conn, h)
	if !s.answering {
		return // retried, of all things
	}
	w.Disarm(&s.timeout)
	w.Disarm(&s.perTryIdle)
	d.stats().Inc(cxUpgrades)
	d.stats().Add(cxUpgradesActive, 1)
	early := d.rest
	d.rest = nil
	s.relay = relay.Join(w, d.io, conn.IO, early, rest, s.idleTimeout(), s)
}

// Relayed implements relay.User: the connections are over.
func (s *Stream) Relayed(r *relay.Relay, end relay.End) {
	d := s.d
	in, out := r.Received()
	s.bytesIn += in
	s.bytesOut += out
	s.relay = nil
	s.conn.Ended()
	s.conn = nil
	d.stats().Add(cxUpgradesActive, -1)
	switch end {
	case relay.Done:
		s.finish()
	case relay.NearGone:
		d.stats().Inc(rqRxReset)
		s.breakOff("DC", "downstream_remote_disconnect")
	case relay.FarGone:
		s.cluster.Stats(s.wk.w).Inc(upstream.RqRxReset)
		s.breakOff("UC", "upstream_reset_after_response_started{connection_termination}")
	case relay.Idle:
		d.stats().Inc(rqIdleTimeout)
		s.breakOff(filter.StreamIdle.Flag, filter.StreamIdle.Details)
	case relay.WasCut:
		s.breakOff("", d.cutBy())
	}
}

// idleTimeout is how long nothing may happen, 0 or less: for ever.
func (s *Stream) idleTimeout() time.Duration {
	if s.action != nil && s.action.IdleTimeout != 0 {
		return s.action.IdleTimeout
	}
	return s.d.cfg.StreamIdle
}
