// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"net/netip"
	"slices"
)

// ownListener is an address this proxy accepts connections at.
type ownListener struct{ addr netip.AddrPort }

// covers reports whether l is on all addresses, and so on a's.
func (l ownListener) covers(a netip.AddrPort) bool {
	own := l.addr.Addr()
	return l.addr.Port() == a.Port() && own.IsUnspecified() && (own.Is6() || a.Addr().Is4())
}

// takes reports whether a connection to a made on this machine ends at the listener. local holds the machine's
// addresses besides loopback.
func (l ownListener) takes(a netip.AddrPort, local []netip.Addr) bool {
	if a.Port() != l.addr.Port() {
		return false
	}
	to, own := a.Addr().Unmap(), l.addr.Addr().Unmap()
	if own.Is4() && to.Is6() {
		return false
	}
	if own.IsUnspecified() {
		return to.IsLoopback() || to.IsUnspecified() || slices.Contains(local, to)
	}
	// Connecting to the unspecified address reaches loopback.
	return to == own || to.IsUnspecified() && own.IsLoopback()
}

// loopKey is a mirror's destination with its port filled in.
type loopKey struct {
	host, subset string
	port         uint32
}

// loop tells of an endpoint of a mirror that is this proxy itself: each copy would be copied again. "": there is none.
func (k *compiler) loop(key loopKey) string {
	back, ok := k.loops[key]
	if !ok {
		back = k.findLoop(key)
		k.loops[key] = back
	}
	return back
}

func (k *compiler) findLoop(key loopKey) string {
	s := k.services[key.host]
	subset := subsetOf(s, key.subset)
	if s == nil || key.subset != "" && subset == nil {
		return ""
	}
	for _, e := range k.endpoints[s.Host] {
		number := e.Ports[key.port]
		if number == 0 || number > 65535 || !inSubset(e, subset) {
			continue
		}
		ip, err := netip.ParseAddr(e.Address)
		if err != nil {
			continue
		}
		to := netip.AddrPortFrom(ip, uint16(number))
		for _, l := range k.own {
			if l.takes(to, k.opts.Local) {
				return fmt.Sprintf("mirror to %s port %d sends copies back to listener %s (endpoint %s)",
					key.host, key.port, listenerName(l.addr), to)
			}
		}
	}
	return ""
}
