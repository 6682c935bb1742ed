// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"net"
	"net/netip"
)

// FreeAddrs picks n free ports of 127.0.0.1. All are held until the last is chosen, so that they differ.
func FreeAddrs(n int) ([]netip.AddrPort, error) {
	addrs := make([]netip.AddrPort, n)
	for i := range addrs {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("pick a free port: %w", err)
		}
		defer l.Close()
		addrs[i] = l.Addr().(*net.TCPAddr).AddrPort()
	}
	return addrs, nil
}
