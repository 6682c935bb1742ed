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

// takes reports whether a connection to a made on this machine ends at the listener. local holds the machine's
// addresses besides loopback.
func (l ownListener) takes(a netip.AddrPort, local []netip.Addr) bool {
	if a.Port() != l.addr.Port() {
		return false
	}
	to, own := a.Addr().Unmap(), l.addr.Addr().Unmap()
	if own.IsUnspecified() {
		return to.IsLoopback() || to.IsUnspecified() || slices.Contains(local, to)
	}
	// Connecting to the unspecified address reaches loopback.
	return to == own || to.IsUnspecified() && own.IsLoopback()
}

// loop finds an endpoint of a mirror that is this proxy itself: each copy would be copied again.
func (k *compiler) loop(m mesh.Mirror, listenPort uint32) (mesh.Problem, bool) {
	d := m.Destination
	port := k.port(d, listenPort)
	s := k.services[d.Host]
	if s == nil {
		return mesh.Problem{}, false
	}
	var subset *mesh.Subset
	if d.Subset != "" {
		i := slices.IndexFunc(s.Subsets, func(o mesh.Subset) bool { return o.Name == d.Subset })
		if i < 0 {
			return mesh.Problem{}, false
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
				return mesh.Problem{
					Severity: mesh.Error,
					Message: fmt.Sprintf("mirror to %s port %d sends copies back to listener %s (endpoint %s)",
						d.Host, port, listenerName(l.addr), to),
					Fix: "mirror to an address that this proxy does not listen on",
				}, true
			}
		}
	}
	return mesh.Problem{}, false
}
