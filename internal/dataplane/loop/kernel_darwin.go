// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// kernelUnacked is how many bytes of a socket the kernel still holds for its peer.
func kernelUnacked(fd int) int {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NWRITE)
	if err != nil {
		return 0
	}
	return n
}

// kernelOriginalDst is not known here: nothing redirects.
func kernelOriginalDst(int, netip.AddrPort) netip.AddrPort { return netip.AddrPort{} }

// kernelPrepare has nothing to do: the net package has turned Nagle's algorithm off.
func kernelPrepare(int, Class) {}
