// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package demo

import "syscall"

// apart keeps the terminal's Ctrl-C from the process, which ends when its stdin does.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
