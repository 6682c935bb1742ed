// SPDX-License-Identifier: Apache-2.0

package listener

import "golang.org/x/sys/unix"

const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC

func socket(family int) (int, error) { return unix.Socket(family, unix.SOCK_STREAM|flags, 0) }

func acceptOne(fd int) (int, unix.Sockaddr, error) { return unix.Accept4(fd, flags) }
