// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"bytes"
	"encoding/hex"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
)

// HashPolicy says what of a request its hash is made of (envoy.config.route.v3.RouteAction.HashPolicy). Exactly one of
// Header, Cookie, SourceIP and Query is given.
type HashPolicy struct {
	Header   string // in lower case
	Cookie   *HashCookie
	SourceIP bool
	Query    string
	Terminal bool // if there is a hash by then, later ones do not count
}

// HashCookie is envoy.config.route.v3.RouteAction.HashPolicy.Cookie.
type HashCookie struct {
	Name, Path string
	TTL        time.Duration // 0 with Make: a session cookie
	Make       bool          // ttl is set: a client without the cookie is given one
}

// Hash is the request's key for consistent hashing, the same number that Envoy comes to, for the head as it is sent; ok
// if any policy gave one. client is who asks, as far as that is trusted, peer the far end of the connection and local
// ours. A client without the cookie that a policy wants is given one, which is the same for all requests of its
// connection: cookies are the values of Set-Cookie to add to the answer, nil for none. Only they allocate.
func Hash(policies []HashPolicy, h *codec.Head, client, peer, local netip.AddrPort) (
	hash uint64, ok bool, cookies [][]byte,
) {
	for i := range policies {
		p := &policies[i]
		var one uint64
		var has bool
		switch {
		case p.Header != "":
			one, has = hashHeader(h, p.Header)
		case p.Cookie != nil:
			value := cookieValue(h, p.Cookie.Name)
			if len(value) == 0 && p.Cookie.Make {
				value = newCookieValue(peer, local)
				if !madeBefore(policies[:i], p.Cookie) {
					cookies = append(cookies, p.Cookie.set(value))
				}
			}
			one, has = xxhash.Sum64(value), len(value) > 0
		case p.SourceIP:
			if has = client.IsValid(); has {
				var text [64]byte
				one = xxhash.Sum64(client.Addr().Unmap().AppendTo(text[:0]))
			}
		case p.Query != "":
			var value []byte
			if value, has = route.QueryParameter(h.Target, p.Query); has {
				one = xxhash.Sum64(value)
			}
		}
		if has {
			hash, ok = bits.RotateLeft64(hash, 1)^one, true
		}
		if p.Terminal && ok {
			break
		}
	}
	return hash, ok, cookies
}

// hashHeader hashes a field's values in their sorted order, so that theirs does not count.
func hashHeader(h *codec.Head, name string) (hash uint64, ok bool) {
	if name[0] == ':' || name == "host" {
		v, ok := (*view)(h).Lookup(name)
		return xxhash.Sum64(v), ok
	}
	var room [8][]byte
	values := room[:0]
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Name != nil && codec.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	if len(values) == 0 {
		return 0, false
	}
	if len(values) > 1 {
		slices.SortFunc(values, bytes.Compare)
	}
	for i, v := range values {
		if i == 0 {
			hash = xxhash.Sum64(v)
			continue
		}
		var d xxhash.Digest
		d.ResetWithSeed(hash)
		_, _ = d.Write(v)
		hash = d.Sum64()
	}
	return hash, true
}

// cookieValue is the value of the first cookie of that name, without quotes around it.
func cookieValue(h *codec.Head, name string) []byte {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Name == nil || !codec.EqualFold(f.Name, "cookie") {
			continue
		}
		for rest := f.Value; len(rest) > 0; {
			var one []byte
			one, rest, _ = bytes.Cut(rest, []byte{';'})
			k, v, ok := bytes.Cut(bytes.TrimLeft(one, " "), []byte{'='})
			if !ok || string(k) != name {
				continue
			}
			if n := len(v); n >= 2 && v[0] == '"' && v[n-1] == '"' {
				v = v[1 : n-1]
			}
			return v
		}
	}
	return nil
}

// madeBefore tells whether one of the policies gives the client the same cookie already, as where the destinations of a
// route each ask for it: a client keeps one of a name and a path (RFC 6265 §5.3), and an answer sets each once (§4.1.1).
func madeBefore(policies []HashPolicy, c *HashCookie) bool {
	return slices.ContainsFunc(policies, func(p HashPolicy) bool {
		return p.Cookie != nil && p.Cookie.Make && p.Cookie.Name == c.Name && p.Cookie.Path == c.Path
	})
}

// newCookieValue tells one client's connection from another.
func newCookieValue(peer, local netip.AddrPort) []byte {
	var text [128]byte
	var sum [8]byte
	n := xxhash.Sum64(local.AppendTo(peer.AppendTo(text[:0])))
	for i := range sum {
		sum[i] = byte(n >> (56 - 8*i))
	}
	return hex.AppendEncode(nil, sum[:])
}

// set is the value of Set-Cookie.
func (c *HashCookie) set(value []byte) []byte {
	b := append(append([]byte(c.Name), `="`...), value...)
	b = append(b, '"')
	if s := int64(c.TTL / time.Second); s != 0 {
		b = strconv.AppendInt(append(b, "; Max-Age="...), s, 10)
	}
	if c.Path != "" {
		b = append(append(b, "; Path="...), c.Path...)
	}
	return append(b, "; HttpOnly"...)
}
