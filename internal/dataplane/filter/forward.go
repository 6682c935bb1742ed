// SPDX-License-Identifier: Apache-2.0

// Package filter changes heads on their way: what an edge adds and strips, a route's header operations and rewrites,
// what an answer is given. It says what faults, CORS and hash policies make of a request, and renders the answers the
// proxy makes itself. It does no I/O, keeps nothing between requests, and decides neither where a request goes nor in
// what order its functions are called.
package filter

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// Edge is what a connection manager with use_remote_address does to requests; a zero Edge with Use false is a sidecar's
// outbound side. Immutable.
type Edge struct {
	Use     bool
	LocalIP string // stands for a loopback peer in x-forwarded-for, and for this node on copies
}

var (
	plain = []byte("http")
	one   = []byte("1")
)

// Request makes the client's head production's head (Envoy: ConnectionManagerUtility::mutateRequestHeaders, in its
// order). Hop-by-hop fields are left to the encoder, which never writes them. id is 128 random bits for a new request
// id.
func (e *Edge) Request(h *codec.Head, peer netip.Addr, id [2]uint64) {
	referers := 0
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Name == nil {
			continue
		}
		switch f.ID {
		case codec.EnvoyInternal, codec.ForwardedClientCert, // no mTLS: what the client says of itself is no proof
			codec.EnvoyExpectedTimeout, codec.EnvoyEdge: // no client is internal: none may steer timeouts and retries
			f.Name = nil
		case codec.EnvoyDecorator, codec.EnvoyDownstreamCluster, codec.EnvoyDownstreamNode, codec.EnvoyOriginalPath,
			codec.EnvoyOriginalHost, codec.EnvoyAttemptCount:
			if e.Use {
				f.Name = nil
			}
		case codec.Referer:
			if referers++; referers > 1 || !absolute(f.Value) {
				h.Del(codec.Referer)
			}
		}
	}
	if !e.Use {
		if len(h.Get(codec.ForwardedProto)) == 0 {
			h.Set(codec.ForwardedProto, plain)
		}
		if len(h.Get(codec.RequestID)) == 0 {
			h.Set(codec.RequestID, requestID(h, id))
		}
		return
	}
	var text [64]byte
	external := h.Store(peer.AppendTo(text[:0]))
	forwarded := external
	if peer.IsLoopback() {
		forwarded = append(text[:0], e.LocalIP...)
	}
	h.Set(codec.ForwardedFor, appended(h, forwarded))
	h.Set(codec.ForwardedProto, plain)
	h.Set(codec.EnvoyExternalAddress, external)
	h.Set(codec.RequestID, requestID(h, id))
}

// absolute reports whether a Referer is a URL with a scheme and a host, as Envoy wants it.
func absolute(v []byte) bool {
	scheme, rest, ok := bytes.Cut(v, []byte("://"))
	if !ok || len(scheme) == 0 || len(rest) == 0 {
		return false
	}
	for _, c := range scheme {
		if c |= 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return bytes.IndexByte([]byte("/?#:@"), rest[0]) < 0 && bytes.IndexByte(v, ' ') < 0
}

// appended is the value of all x-forwarded-for fields as one list (RFC 9110 §5.2) with one more entry.
func appended(h *codec.Head, last []byte) []byte {
	at := len(h.Buf)
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == codec.ForwardedFor && f.Name != nil && len(f.Value) > 0 {
			h.Buf = append(append(h.Buf, f.Value...), ',')
		}
	}
	h.Buf = append(h.Buf, last...)
	return h.Buf[at:len(h.Buf):len(h.Buf)]
}

// Attempt writes what changes with each attempt: x-envoy-attempt-count, if count is set, and
// x-envoy-expected-rq-timeout-ms, if the attempt has a time limit.
func Attempt(h *codec.Head, count bool, n int, limit time.Duration) {
	if count {
		if n == 1 {
			h.Set(codec.EnvoyAttemptCount, one)
		} else {
			h.Set(codec.EnvoyAttemptCount, number(h, int64(n)))
		}
	}
	if limit > 0 {
		h.Set(codec.EnvoyExpectedTimeout, number(h, max(limit.Milliseconds(), 1)))
	}
}

func number(h *codec.Head, n int64) []byte {
	var b [20]byte
	return h.Store(strconv.AppendInt(b[:0], n, 10))
}

// requestID is a new random UUID (RFC 9562 §5.4) in memory of the head.
func requestID(h *codec.Head, random [2]uint64) []byte {
	var raw [16]byte
	a, b := random[0], random[1]
	for i := range 8 {
		raw[i], raw[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	raw[6] = raw[6]&0x0f | 0x40
	raw[8] = raw[8]&0x3f | 0x80
	var id [36]byte
	hex.Encode(id[0:8], raw[0:4])
	hex.Encode(id[9:13], raw[4:6])
	hex.Encode(id[14:18], raw[6:8])
	hex.Encode(id[19:23], raw[8:10])
	hex.Encode(id[24:36], raw[10:16])
	id[8], id[13], id[18], id[23] = '-', '-', '-', '-'
	return h.Store(id[:])
}

// Answer makes the upstream's final head the client's: server overwritten (unless empty), the time it took, a date if
// there is none (RFC 9110 §6.6.1).
func Answer(h *codec.Head, server []byte, took time.Duration, date []byte) {
	if len(server) > 0 {
		h.Set(codec.Server, server)
	}
	h.Set(codec.EnvoyServiceTime, number(h, took.Milliseconds()))
	if h.Get(codec.Date) == nil {
		h.Set(codec.Date, date)
	}
}
