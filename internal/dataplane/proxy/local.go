// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"strings"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// This file is the answers that are made here, and how a request ends without one.

// preflight notes what CORS says of the request, and whether that is to be answered here.
func (s *Stream) preflight(c *filter.CORS) bool {
	s.origin = c.Request(&s.head)
	switch {
	case s.origin.Origin != nil:
		s.d.stats().Inc(corsValid)
	case s.origin.HasOrigin:
		s.d.stats().Inc(corsInvalid)
	}
	return s.origin.Preflight
}

// redirectTo answers with another address.
func (s *Stream) redirectTo(r *filter.Redirect) {
	s.d.stats().Inc(rqDirect)
	s.redirect = r
	s.respond(r.Local())
}

// notFound is the answer for a cluster that is not there.
func (s *Stream) notFound() *filter.Local {
	if n := s.action.NotFound; n != 0 && n != filter.NoCluster.Status {
		s.local = filter.NoCluster
		s.local.Status = n
		return &s.local
	}
	return &filter.NoCluster
}

// localFields are the fields of a local answer besides those of all: a location, the operations of its route, and what
// lets a page of another origin read it. Valid until the worker's next local answer.
func (s *Stream) localFields(r *filter.Local) []codec.Field {
	direct := s.action != nil && r == s.action.Direct
	own, routes := s.localOps(r)
	overloaded := r.Flag == filter.Overflow.Flag
	moved := r == &filter.PathIsElsewhere
	if s.redirect == nil && !direct && !moved && own == nil && routes == nil && !overloaded && s.origin.Origin == nil &&
		!s.origin.Preflight {
		return nil
	}
	h := &s.wk.answer
	h.Reset()
	h.Status = r.Status
	switch {
	case s.redirect != nil:
		s.redirect.Answer(h, &s.head)
	case moved:
		h.Fields = append(h.Fields, codec.Field{Name: location, Value: filter.Location(&s.head)})
	case direct && (r.Status == 201 || r.Status >= 300 && r.Status < 400): // Envoy: to where the request went
		(&filter.Redirect{}).Answer(h, &s.head)
	}
	own.Answer(h, s.valuesFor(own))
	routes.Answer(h, s.valuesFor(routes))
	if overloaded {
		h.Set(codec.EnvoyOverloaded, trueText)
	}
	switch {
	case s.origin.Preflight:
		s.cors().Preflight(h, &s.head, s.origin)
	case s.origin.Origin != nil:
		s.cors().Answer(h, s.origin)
	}
	return h.Fields
}

var (
	trueText = []byte("true")
	location = []byte("location")
)

// localOps are the operations on an answer made here: those of the route if it is what answers, those of the cluster
// too if it would have led to one (Envoy: FilterManager's finalizeHeaders). Preflights have none, nor has what ends a
// request before its route is its own.
func (s *Stream) localOps(r *filter.Local) (own, routes *filter.Mutations) {
	a := s.action
	switch {
	case a == nil || s.origin.Preflight:
	case a.Direct != nil || a.Redirect != nil:
		if r == a.Direct || s.redirect == a.Redirect && a.Redirect != nil {
			routes = a.Response
		}
	default:
		routes = a.Response
		if len(a.Clusters) > 0 {
			own = a.pick(s.draw[1]).Response
		}
	}
	return own, routes
}

// respond answers the request here, now or when the bytes at hand are read.
func (s *Stream) respond(r *filter.Local) {
	s.reply = r
	if !s.d.feeding { // while it is, feed sends the reply when it has read what is at hand
		s.answerLocally()
	}
}

// answerLocally sends s.reply: the request never reached an upstream, or none answered it.
func (s *Stream) answerLocally() {
	r := s.reply
	s.status, s.flag, s.details = r.Status, r.Flag, r.Details
	s.last = s.last || !s.requestDone || s.d.draining()
	if !s.headDone {
		s.d.stats().Inc(rqTotal)
	}
	reply := filter.Reply{
		Server: s.d.cfg.server, Date: s.wk.now(), Head: s.head.IsHead, Last: s.last, GRPC: s.grpc, Fields: s.localFields(r),
	}
	s.wk.out = r.Append(s.wk.out[:0], &reply)
	if s.grpc {
		s.status = 200 // and the failure is in grpc-status
	}
	s.bytesOut = int64(len(r.Sent(s.head.IsHead)))
	s.d.io.Write(s.wk.out)
	s.finish()
}

// fail ends the request with an answer of our own, or visibly broken if an answer is under way.
func (s *Stream) fail(r *filter.Local) {
	if s.conn != nil {
		s.cluster.Stats(s.wk.w).Inc(upstream.RqTxReset)
		s.conn.Abort()
		s.conn = nil
	}
	if s.answering {
		s.breakOff(r.Flag, r.Details)
		return
	}
	switch r.Flag {
	case "UF", "UC", "UT", "UO", "UH", "UPE": // the cluster's failure, and counted as its answer (Envoy: chargeUpstreamCode)
		s.cluster.Stats(s.wk.w).Code(r.Status)
	}
	s.endAttempt()
	s.respond(s.retried(r))
}

// retried is a failure's answer as it is after retries: its text says so, as Envoy's does.
func (s *Stream) retried(r *filter.Local) *filter.Local {
	const before, reason = "upstream connect error or disconnect/reset before headers. ", "reset reason: "
	if s.retries == 0 || !strings.HasPrefix(r.Body, before+reason) {
		return r
	}
	s.local = *r
	s.local.Body = before + "retried and the latest " + r.Body[len(before):]
	return &s.local
}

// giveUp ends the request because the client has: nothing can be answered.
func (s *Stream) giveUp(flag, details string) {
	if s.over {
		return
	}
	if s.conn != nil {
		s.cluster.Stats(s.wk.w).Inc(upstream.RqTxReset)
		s.conn.Abort()
		s.conn = nil
	}
	if !s.answering {
		s.status = 0
	}
	s.breakOff(flag, details)
}

// breakOff ends the client's connection so that it cannot take what it has for a whole answer: by a reset if only the
// connection's end would tell. A length or chunks tell as well (RFC 9112 §8), and then what was sent still arrives, whole
// answers to earlier requests among it.
func (s *Stream) breakOff(flag, details string) {
	s.flag, s.details = flag, details
	d := s.d
	s.last = true
	s.tap.Abort()
	if s.answering && s.answerOpen || flag == "DC" && d.io.Full() { // a client that left and takes nothing is not waited for
		d.abort()
	} else {
		d.closeFlushed()
	}
	s.finish()
}
