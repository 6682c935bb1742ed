// SPDX-License-Identifier: Apache-2.0

package app

import (
	"log/slog"
	"net"
	"net/netip"
)

var discardLogger = slog.New(slog.DiscardHandler)

// localAddrs are this machine's addresses besides loopback.
func localAddrs() []netip.Addr {
	var list []netip.Addr
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && !ip.Unmap().IsLoopback() && !ip.IsLinkLocalUnicast() {
				list = append(list, ip.Unmap())
			}
		}
	}
	return list
}

// nodeIP stands for this node in x-forwarded-for: the first address that is not loopback, IPv4 before IPv6.
func nodeIP() string {
	first := "127.0.0.1"
	for i, ip := range localAddrs() {
		if ip.Is4() {
			return ip.String()
		}
		if i == 0 {
			first = ip.String()
		}
	}
	return first
}
