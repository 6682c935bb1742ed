// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package listener

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

func socket(family int) (int, error) {
	syscall.ForkLock.RLock() // no child gets it before it is marked
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	return mark(fd, err)
}

func acceptOne(listening int) (int, unix.Sockaddr, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, sa, err := unix.Accept(listening)
	fd, err = mark(fd, err)
	return fd, sa, err
}

// mark makes a new socket non-blocking and closed in children.
func mark(fd int, err error) (int, error) {
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func fade(int) error { return errors.ErrUnsupported }
