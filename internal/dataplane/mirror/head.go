// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"bytes"
	"math"
	"strconv"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec/http1"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
)

var (
	suffix   = []byte("-shadow")
	trueText = []byte("true")
)

// scratch is where a copy's head is put together; reused.
type scratch struct {
	head codec.Head
	out  []byte
}

// maxScratch is the memory that a scratch keeps from head to head.
const maxScratch = 64 << 10

// render gives the copy's head: production's as first sent, with the documented changes, in Envoy's order
// (shadow_writer_impl.cc, async_client_impl.cc): the policy's field mutations, Host as it says or with the suffix, then
// x-envoy-internal, this node appended to x-forwarded-for, the time limit of the whole request, our hop count, and the
// context of the copy's own span. Expect is left out: production alone decides whether the body comes. The result is
// valid until the next call.
func (s *scratch) render(c *Copy, h *codec.Head, v *format.Values, hops int) []byte {
	e, p := c.local.engine, &c.policy
	buf, fields := s.head.Buf[:0], append(s.head.Fields[:0], h.Fields...)
	if cap(buf) > maxScratch {
		buf = nil
	}
	s.head = *h
	s.head.Buf, s.head.Fields = buf, fields
	d := &s.head
	p.Headers.Request(d, v)
	switch {
	case p.Host != "":
		at := len(d.Buf)
		d.Buf = append(d.Buf, p.Host...)
		d.Authority = d.Buf[at:len(d.Buf):len(d.Buf)]
	case !p.KeepHost:
		d.Authority = d.Store(shadowHost(h.Authority))
	}
	d.Del(codec.Expect)
	d.Set(codec.EnvoyInternal, trueText)
	d.Set(codec.ForwardedFor, forwarded(d, e.cfg.LocalIP))
	if t := c.tap.timeout; t > 0 {
		d.Set(codec.EnvoyExpectedTimeout, number(d, max(t.Milliseconds(), 1)))
	}
	d.Set(codec.MirrorHops, number(d, int64(hops)))
	if t := e.cfg.Tracer; t != nil {
		trace.Write(d, t.Formats(), &c.span, true)
	}
	s.out = http1.AppendRequestHead(s.out[:0], d, 0)
	return s.out
}

// forwarded is all of the request's x-forwarded-for as one list, with this node added (Envoy: no space).
func forwarded(h *codec.Head, localIP string) []byte {
	at := len(h.Buf)
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == codec.ForwardedFor && f.Name != nil && len(f.Value) > 0 {
			h.Buf = append(append(h.Buf, f.Value...), ',')
		}
	}
	h.Buf = append(h.Buf, localIP...)
	return h.Buf[at:len(h.Buf):len(h.Buf)]
}

func number(h *codec.Head, n int64) []byte {
	at := len(h.Buf)
	h.Buf = strconv.AppendInt(h.Buf, n, 10)
	return h.Buf[at:len(h.Buf):len(h.Buf)]
}

// shadowHost splits authority where the suffix belongs: before a port, after the bracket of an IPv6 literal. A host
// that has the suffix keeps one.
func shadowHost(authority []byte) (host, add, port []byte) {
	end := len(authority)
	if colon := bytes.LastIndexByte(authority, ':'); colon > bytes.LastIndexByte(authority, ']') {
		end = colon
	}
	host, port = authority[:end], authority[end:]
	if bytes.HasSuffix(host, suffix) {
		return host, nil, port
	}
	return host, suffix, port
}

// hopsOf is how many mirrors the request has passed; a count that cannot be read is taken for more than any limit.
func hopsOf(h *codec.Head) int {
	v := h.Get(codec.MirrorHops)
	if v == nil {
		return 0
	}
	n, err := strconv.ParseUint(string(v), 10, 16)
	if err != nil {
		return math.MaxInt
	}
	return int(n)
}
