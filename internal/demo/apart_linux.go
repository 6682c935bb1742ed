// SPDX-License-Identifier: Apache-2.0

package demo

import "syscall"

// apart keeps the terminal's Ctrl-C from the process, which ends when its stdin does; and should this process be killed
// while that one is stopped, it goes too.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
