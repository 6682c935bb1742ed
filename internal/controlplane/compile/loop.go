// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
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

// loop tells of an endpoint of a mirror that is this proxy itself: each copy would be copied again. "": there is none.
func (k *compiler) loop(m mesh.Mirror, listenPort uint32) string {
	d := m.Destination
	port := k.port(d, listenPort)
	s := k.services[d.Host]
	if s == nil {
		return ""
	}
	var subset *mesh.Subset
	if d.Subset != "" {
		i := slices.IndexFunc(s.Subsets, func(o mesh.Subset) bool { return o.Name == d.Subset })
		if i < 0 {
			return ""
		}
		subset = &s.Subsets[i]
	}
	for _, e := range k.endpoints[d.Host] {
		number := e.Ports[port]
		ip, err := netip.ParseAddr(e.Address)
		if err != nil || number == 0 || number > 65535 || !inSubset(e, subset) {
			continue
		}
		to := netip.AddrPortFrom(ip, uint16(number))
		for _, l := range k.own {
			if l.takes(to, k.opts.Local) {
				return fmt.Sprintf("mirror to %s port %d sends copies back to listener %s (endpoint %s)",
					d.Host, port, listenerName(l.addr), to)
			}
		}
	}
	return ""
}
