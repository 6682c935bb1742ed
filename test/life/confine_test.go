// SPDX-License-Identifier: Apache-2.0

package life_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// How a child is to be confined, in its environment.
const (
	withDescriptors = "UMBRA_TEST_LIFE_DESCRIPTORS" // how many it may have
	withGroup       = "UMBRA_TEST_LIFE_GROUP"       // file to write its number to: a control group's cgroup.procs
	withOneCPU      = "UMBRA_TEST_LIFE_ONE_CPU"
)

// confine does it, and begins the program anew where that must be there from its start.
func confine() {
	if s := os.Getenv(withDescriptors); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		check(err)
		check(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n}))
	}
	again := false
	if file := os.Getenv(withGroup); file != "" {
		check(os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())), 0))
		check(os.Unsetenv(withGroup))
		again = true
	}
	if os.Getenv(withOneCPU) != "" {
		runtime.LockOSThread()
		check(oneCPU())
		check(os.Unsetenv(withOneCPU))
		again = true
	}
	if again {
		check(syscall.Exec(os.Args[0], os.Args, os.Environ()))
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}
