// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC

func socket(family int) (int, error) { return unix.Socket(family, unix.SOCK_STREAM|flags, 0) }

func acceptOne(fd int) (int, unix.Sockaddr, error) { return unix.Accept4(fd, flags) }

// noInterface is an index that no network interface has: the kernel counts up from 1.
const noInterface = math.MaxInt32

func fade(fd int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, noInterface))
}
