// SPDX-License-Identifier: Apache-2.0

package loop

import "net/netip"

// kernelUnacked is how many bytes of a socket the kernel still holds for its peer.
func kernelUnacked(fd int) int { return (*sockets)(nil).unacked(fd) }

// kernelOriginalDst is where a socket's connection was going before it was redirected.
func kernelOriginalDst(fd int, local netip.AddrPort) netip.AddrPort {
	return (*sockets)(nil).originalDst(fd, local)
}

// kernelPrepare sets a socket's options.
func kernelPrepare(fd int, class Class) { (*sockets)(nil).prepare(fd, class) }
