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
	exact      map[string]*Host[A]
	suffixes   []wildcards[A] // longest first
	prefixes   []wildcards[A] // longest first
	any        *Host[A]
}

// wildcards are the domains with a '*' whose fixed part has the same length.
type wildcards[A any] struct {
	length int
	byPart map[string]*Host[A]
}

// domain is one of a virtual host's, taken apart.
type domain struct {
	text string // as configured
	kind domainKind
	part string // what is fixed of it, in lower case
}

type domainKind uint8

const (
	exactDomain domainKind = iota
	suffixDomain
	prefixDomain
	anyDomain
)

func newDomain(text string) (domain, error) {
	d := strings.ToLower(text)
	switch star := strings.IndexByte(d, '*'); {
	case d == "":
		return domain{}, fmt.Errorf("empty domain")
	case d == "*":
		return domain{text, anyDomain, ""}, nil
	case star < 0:
		return domain{text, exactDomain, d}, nil
	case star == 0 && strings.LastIndexByte(d, '*') == 0:
		return domain{text, suffixDomain, d[1:]}, nil
	case star == len(d)-1:
		return domain{text, prefixDomain, d[:star]}, nil
	}
	return domain{}, fmt.Errorf("domain %s: a '*' may stand at the start or the end, once", text)
}

func (t *hosts[A]) add(d domain, v *Host[A]) error {
	var former *Host[A]
	switch d.kind {
	case anyDomain:
		former, t.any = t.any, v
	case exactDomain:
		if former = t.exact[d.part]; former == nil {
			t.exact[d.part] = v
		}
	case suffixDomain:
		t.suffixes, former = addWildcard(t.suffixes, d.part, v)
	case prefixDomain:
		t.prefixes, former = addWildcard(t.prefixes, d.part, v)
	}
	if former != nil {
		return fmt.Errorf("virtual host %s: duplicate domain %s, which virtual host %s has", v.name, d.text, former.name)
	}
	return nil
}

func addWildcard[A any](all []wildcards[A], part string, v *Host[A]) ([]wildcards[A], *Host[A]) {
	i := slices.IndexFunc(all, func(w wildcards[A]) bool { return w.length == len(part) })
	if i < 0 {
		i, all = len(all), append(all, wildcards[A]{length: len(part), byPart: make(map[string]*Host[A])})
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

func (t *hosts[A]) find(h *codec.Head) *Host[A] {
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

func (t *hosts[A]) lookup(host []byte) *Host[A] {
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
