// SPDX-License-Identifier: Apache-2.0

package route

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// hosts finds a virtual host by authority as Envoy does: exact, then the longest "*x", then the longest "x*", then "*".
type hosts[A any] struct {
	ignorePort bool
	exact      map[string]*virtualHost[A]
	suffixes   []wildcards[A] // longest first
	prefixes   []wildcards[A] // longest first
	any        *virtualHost[A]
}

// wildcards are the domains with a '*' whose fixed part has the same length.
type wildcards[A any] struct {
	length int
	byPart map[string]*virtualHost[A]
}

func (t *hosts[A]) add(domain string, v *virtualHost[A]) error {
	d := strings.ToLower(domain)
	var former *virtualHost[A]
	switch star := strings.IndexByte(d, '*'); {
	case d == "":
		return fmt.Errorf("virtual host %s: empty domain", v.name)
	case d == "*":
		former, t.any = t.any, v
	case star < 0:
		if t.exact == nil {
			t.exact = make(map[string]*virtualHost[A])
		}
		former, t.exact[d] = t.exact[d], v
	case star == 0 && strings.LastIndexByte(d, '*') == 0:
		t.suffixes, former = addWildcard(t.suffixes, d[1:], v)
	case star == len(d)-1:
		t.prefixes, former = addWildcard(t.prefixes, d[:star], v)
	default:
		return fmt.Errorf("virtual host %s: domain %s: a '*' may stand at the start or the end, once", v.name, domain)
	}
	if former != nil {
		return fmt.Errorf("virtual host %s: duplicate domain %s, which virtual host %s has", v.name, domain, former.name)
	}
	return nil
}

func addWildcard[A any](all []wildcards[A], part string, v *virtualHost[A]) ([]wildcards[A], *virtualHost[A]) {
	i := slices.IndexFunc(all, func(w wildcards[A]) bool { return w.length == len(part) })
	if i < 0 {
		i, all = len(all), append(all, wildcards[A]{length: len(part), byPart: make(map[string]*virtualHost[A])})
	}
	former := all[i].byPart[part]
	all[i].byPart[part] = v
	return all, former
}

func (t *hosts[A]) sort() {
	longest := func(a, b wildcards[A]) int { return b.length - a.length }
	slices.SortFunc(t.suffixes, longest)
	slices.SortFunc(t.prefixes, longest)
}

func (t *hosts[A]) find(h *codec.Head) *virtualHost[A] {
	host := h.Authority
	if t.ignorePort {
		host = withoutPort(host)
	}
	if !hasUpper(host) {
		return t.lookup(host)
	}
	at := len(h.Buf)
	lower := h.Store(host)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c | 0x20
		}
	}
	v := t.lookup(lower)
	h.Buf = h.Buf[:at]
	return v
}

func (t *hosts[A]) lookup(host []byte) *virtualHost[A] {
	if v := t.exact[string(host)]; v != nil {
		return v
	}
	for _, w := range t.suffixes {
		if w.length < len(host) {
			if v := w.byPart[string(host[len(host)-w.length:])]; v != nil {
				return v
			}
		}
	}
	for _, w := range t.prefixes {
		if w.length < len(host) {
			if v := w.byPart[string(host[:w.length])]; v != nil {
				return v
			}
		}
	}
	return t.any
}

// withoutPort cuts what follows the last colon, unless that colon is inside an IPv6 address's brackets.
func withoutPort(host []byte) []byte {
	colon := bytes.LastIndexByte(host, ':')
	if colon < 0 || bytes.IndexByte(host[colon:], ']') >= 0 {
		return host
	}
	return host[:colon]
}

func hasUpper(b []byte) bool {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			return true
		}
	}
	return false
}
