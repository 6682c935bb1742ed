// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"bytes"
	"math"
	"strconv"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec/http1"
)

var (
	suffix   = []byte("-shadow")
	trueText = []byte("true")
)

// scratch is where a copy's head is put together; reused.
type scratch struct {
	head   codec.Head
	out    []byte
	values []byte
}

// render gives the copy's head: production's as first sent, with the documented changes (Envoy: shadow_writer_impl.cc,
// async_client_impl.cc): Host with the suffix, x-envoy-internal, this node appended to x-forwarded-for, and our hop
// count. Expect is left out: production alone decides whether the body comes. The result is valid until the next call.
func (s *scratch) render(h *codec.Head, keepHost bool, localIP string, hops int) []byte {
	s.values = s.values[:0]
	fields := append(s.head.Fields[:0], h.Fields...)
	s.head = *h
	s.head.Fields = fields
	c := &s.head
	if !keepHost {
		c.Authority = s.value(shadowHost(h.Authority))
	}
	c.Del(codec.Expect)
	c.Set(codec.EnvoyInternal, trueText)
	c.Set(codec.ForwardedFor, s.forwarded(h, localIP))
	c.Set(codec.MirrorHops, s.number(hops))
	s.out = http1.AppendRequestHead(s.out[:0], c, 0)
	return s.out
}

// forwarded is all of the request's x-forwarded-for as one list, with this node added (Envoy: no space).
func (s *scratch) forwarded(h *codec.Head, localIP string) []byte {
	at := len(s.values)
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == codec.ForwardedFor && f.Name != nil && len(f.Value) > 0 {
			s.values = append(append(s.values, f.Value...), ',')
		}
	}
	s.values = append(s.values, localIP...)
	return s.values[at:len(s.values):len(s.values)]
}

func (s *scratch) number(n int) []byte {
	at := len(s.values)
	s.values = strconv.AppendInt(s.values, int64(n), 10)
	return s.values[at:len(s.values):len(s.values)]
}

// value joins parts in memory that lasts until the next render.
func (s *scratch) value(parts ...[]byte) []byte {
	at := len(s.values)
	for _, p := range parts {
		s.values = append(s.values, p...)
	}
	return s.values[at:len(s.values):len(s.values)]
}

// shadowHost splits authority where the suffix belongs: before a port, after the bracket of an IPv6 literal. A host that
// has the suffix keeps one.
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
