// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package faulty

import "golang.org/x/sys/unix"

// ends are the events of a connection that its peer has reset. That it has merely ended shows to readers alone.
const ends = unix.POLLHUP | unix.POLLERR | unix.POLLNVAL
