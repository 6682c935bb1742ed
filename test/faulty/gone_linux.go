// SPDX-License-Identifier: Apache-2.0

package faulty

import "golang.org/x/sys/unix"

// ends are the events of a connection that its peer has ended.
const ends = unix.POLLHUP | unix.POLLERR | unix.POLLNVAL | unix.POLLRDHUP
