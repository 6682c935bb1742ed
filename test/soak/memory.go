// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"time"
)

// A sample is a process's resident memory.
type sample struct {
	at    time.Duration // since the beginning
	bytes int64
}

// resident reads /proc/PID/statm.
func resident(pid int) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	var total, pages int64
	if _, err := fmt.Sscan(string(raw), &total, &pages); err != nil {
		return 0, err
	}
	return pages * int64(os.Getpagesize()), nil
}

// slope is the growth of samples in bytes a second, by least squares. Fewer than two have none.
func slope(samples []sample) float64 {
	var n, sx, sy float64
	for _, s := range samples {
		n, sx, sy = n+1, sx+s.at.Seconds(), sy+float64(s.bytes)
	}
	var over, under float64
	for _, s := range samples {
		dx := s.at.Seconds() - sx/n
		over += dx * (float64(s.bytes) - sy/n)
		under += dx * dx
	}
	if under == 0 {
		return 0
	}
	return over / under
}

// after leaves out what is earlier.
func after(samples []sample, from time.Duration) []sample {
	for i := range samples {
		if samples[i].at >= from {
			return samples[i:]
		}
	}
	return nil
}
