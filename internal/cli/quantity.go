// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// quantity is a number of bytes, written as Kubernetes does: 48Mi, 1.5Gi, 64M, or plain.
type quantity int64

var units = []struct {
	suffix string
	bytes  float64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"", 1},
}

// maxQuantity is where a number of bytes is a mistake.
const maxQuantity = 1 << 50

func (q *quantity) Set(s string) error {
	for _, u := range units {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(number, 64)
		if err != nil || strings.ContainsAny(number, "xXpP_eE") {
			break
		}
		if v *= u.bytes; !(v >= 1 && v <= maxQuantity) { // also not a number
			return fmt.Errorf("%s is out of range", s)
		}
		*q = quantity(v)
		return nil
	}
	return fmt.Errorf("%q is no number of bytes such as 48Mi or 50331648", s)
}

func (q *quantity) String() string {
	for _, u := range []string{"Gi", "Mi", "Ki"} {
		shift := map[string]int{"Gi": 30, "Mi": 20, "Ki": 10}[u]
		if *q != 0 && *q%(1<<shift) == 0 {
			return strconv.FormatInt(int64(*q)>>shift, 10) + u
		}
	}
	return strconv.FormatInt(int64(*q), 10)
}

func (*quantity) Type() string { return "BYTES" }

// mirrorMemory is the default bound on memory for copies: 48 MiB, less where the process itself may have little.
func mirrorMemory(root string) quantity {
	limit := quantity(48 << 20)
	if most := memoryLimit(root); most > 0 {
		limit = min(limit, quantity(most/8))
	}
	return limit
}

// memoryLimit is what the process may use, by its cgroup and the machine, in bytes; 0 if nothing tells. root is "/".
func memoryLimit(root string) int64 {
	limit := int64(0)
	lower := func(n int64) {
		if n > 0 && (limit == 0 || n < limit) {
			limit = n
		}
	}
	lower(totalMemory(read(root, "proc/meminfo")))
	for line := range strings.Lines(read(root, "proc/self/cgroup")) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		// Within a container the path may be the host's, and its own group is at the mount's top.
		switch {
		case part[1] == "": // version 2: every group above counts too
			for dir := filepath.Clean("/" + part[2]); ; dir = filepath.Dir(dir) {
				lower(number(read(root, "sys/fs/cgroup"+dir+"/memory.max")))
				if dir == "/" {
					break
				}
			}
		case strings.Contains(","+part[1]+",", ",memory,"):
			lower(number(read(root, "sys/fs/cgroup/memory"+part[2]+"/memory.limit_in_bytes")))
			lower(number(read(root, "sys/fs/cgroup/memory/memory.limit_in_bytes")))
		}
	}
	return limit
}

func totalMemory(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
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
