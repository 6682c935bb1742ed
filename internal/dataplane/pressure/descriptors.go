// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"math"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// descriptorDir has an entry for each open descriptor.
const descriptorDir = "/dev/fd/"

// DescriptorLimit is how many descriptors the process may have, 0 if that is not bounded.
func DescriptorLimit() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || l.Cur > math.MaxInt32 {
		return 0
	}
	return int(l.Cur)
}

// Descriptors is for Resource.Read: the descriptors in use.
func Descriptors() float64 {
	limit := DescriptorLimit()
	if limit == 0 {
		return 0
	}
	used, ok := openDescriptors()
	if !ok {
		return 1 // not one is left to look with
	}
	return float64(used) / float64(limit)
}

// openDescriptors counts; it reports false if not one descriptor is left to count with.
func openDescriptors() (n int, ok bool) {
	if sizeCounts() {
		if fi, err := os.Stat(descriptorDir); err == nil {
			return int(fi.Size()), true
		}
	}
	return listDescriptors()
}

func listDescriptors() (n int, ok bool) {
	d, err := os.Open(descriptorDir)
	if err != nil {
		return 0, os.IsNotExist(err)
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		n += len(names)
		if err != nil {
			return max(n-1, 0), true // without its own
		}
	}
}

// sizeCounts tells whether the directory's size is the number of its entries, as in Linux 6.2 and later: it is if one
// more makes it larger by one. Listing them costs milliseconds where there are many.
var sizeCounts = sync.OnceValue(func() bool {
	size := func() int64 {
		fi, err := os.Stat(descriptorDir)
		if err != nil {
			return 0
		}
		return fi.Size()
	}
	before := size()
	f, err := os.Open(os.DevNull)
	if err != nil {
		return false
	}
	defer f.Close()
	return before > 0 && size() == before+1
})
