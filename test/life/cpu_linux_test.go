// SPDX-License-Identifier: Apache-2.0

package life_test

import "golang.org/x/sys/unix"

// oneCPU keeps this thread, and what it executes, on the first of its CPUs.
func oneCPU() error {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	for i := range 1024 {
		if all.IsSet(i) {
			one.Set(i)
			break
		}
	}
	return unix.SchedSetaffinity(0, &one)
}
