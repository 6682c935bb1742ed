// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// This file is the memory that the process may have. All of it reads files of Linux: elsewhere nothing is bounded.

// group is a control group with a limit on memory.
type group struct {
	limit  int64
	use    string // file with the bytes in use
	stat   string // file that tells of which sort
	prefix string // of the lines in it that count the groups below too
}

// MemoryLimit is what the process may use, by its control groups and the machine, in bytes; 0 if nothing tells. root is
// "/".
func MemoryLimit(root string) int64 {
	limit := machineMemory(root)
	for _, g := range groups(root) {
		if limit == 0 || g.limit < limit {
			limit = g.limit
		}
	}
	return limit
}

// GroupLimit is the least limit of a control group, 0 if none is lower than the machine's memory. root is "/".
func GroupLimit(root string) (least int64) {
	for _, g := range groups(root) {
		if least == 0 || g.limit < least {
			least = g.limit
		}
	}
	return least
}

// Memory returns a function for Resource.Read: the use of the control group that has the least left. What the kernel
// drops when it needs room, files that were read, does not count. root is "/".
func Memory(root string) func() float64 {
	all := groups(root) // a process seldom moves
	return func() (most float64) {
		for _, g := range all {
			most = max(most, float64(g.used(root))/float64(g.limit))
		}
		return most
	}
}

func (g *group) used(root string) int64 {
	used := number(read(root, g.use))
	for line := range strings.Lines(read(root, g.stat)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == g.prefix+"inactive_file" || name == g.prefix+"active_file" {
			used -= number(value)
		}
	}
	return max(used, 0)
}

// groups are those with a limit below the machine's memory.
func groups(root string) (list []group) {
	machine := machineMemory(root)
	add := func(dir, limit, use, prefix string) {
		n := number(read(root, filepath.Join(dir, limit)))
		if n > 0 && (machine == 0 || n < machine) {
			list = append(list, group{
				limit: n, use: filepath.Join(dir, use), stat: filepath.Join(dir, "memory.stat"), prefix: prefix,
			})
		}
	}
	for line := range strings.Lines(read(root, "proc/self/cgroup")) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		// Within a container the path may be the host's, and its own group is at the mount's top.
		switch {
		case part[1] == "": // version 2
			above(part[2], func(dir string) { add("sys/fs/cgroup"+dir, "memory.max", "memory.current", "") })
		case strings.Contains(","+part[1]+",", ",memory,"):
			above(part[2], func(dir string) {
				add("sys/fs/cgroup/memory"+dir, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
			})
		}
	}
	return list
}

// above calls f for a group and those around it, whose limits count too.
func above(path string, f func(dir string)) {
	for dir := filepath.Clean("/" + path); ; dir = filepath.Dir(dir) {
		f(dir)
		if dir == "/" {
			return
		}
	}
}

func machineMemory(root string) int64 {
	for line := range strings.Lines(read(root, "proc/meminfo")) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			return number(f[1]) << 10
		}
	}
	return 0
}

// number is 0 for what is none ("max").
func number(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// read is empty for a file that cannot be read: other systems do not have them.
func read(root, name string) string {
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return ""
	}
	return string(b)
}
