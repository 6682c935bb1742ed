// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Tick is USER_HZ of every Linux that Go runs on.
const Tick = 10 * time.Millisecond

// Usage is what a process and its descendants have used so far.
type Usage struct {
	CPU   time.Duration // user and system, with children that were already reaped
	Bytes int64         // resident now
}

// stat is the part of /proc/PID/stat that the bench reads (proc_pid_stat(5)).
type stat struct {
	parent int
	cpu    time.Duration
	bytes  int64
}

// Measure adds up the tree below pid.
func Measure(pid int) (Usage, error) {
	ids, err := Tree(pid)
	if err != nil {
		return Usage{}, err
	}
	var u Usage
	for _, id := range ids {
		s, err := readStat(id)
		if err != nil {
			return Usage{}, err
		}
		u.CPU += s.cpu
		u.Bytes += s.bytes
	}
	return u, nil
}

// Tree returns pid and its descendants.
func Tree(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	children := map[int][]int{}
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(id); err == nil { // it may have ended meanwhile
			children[s.parent] = append(children[s.parent], id)
		}
	}
	ids := []int{pid}
	for i := 0; i < len(ids); i++ {
		ids = append(ids, children[ids[i]]...)
	}
	return ids, nil
}

// Holdings are what some processes hold now.
type Holdings struct {
	Bytes       int64 // resident
	Descriptors int
}

// Hold adds up what processes hold. A Tree that does not change is looked up once.
func Hold(ids []int) (Holdings, error) {
	var h Holdings
	for _, id := range ids {
		s, err := readStat(id)
		if err != nil {
			return h, err
		}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", id))
		if err != nil {
			return h, fmt.Errorf("list the descriptors of process %d: %w", id, err)
		}
		h.Bytes += s.bytes
		h.Descriptors += len(fds)
	}
	return h, nil
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, fmt.Errorf("read the usage of process %d: %w", pid, err)
	}
	s, err := parseStat(b)
	if err != nil {
		return stat{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return s, nil
}

// parseStat reads a line whose second field is the command in brackets, which may hold spaces and brackets itself.
func parseStat(b []byte) (stat, error) {
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return stat{}, fmt.Errorf("stat line %q has no command", b)
	}
	fields := bytes.Fields(b[end+1:]) // from field 3 on
	if len(fields) < 22 {
		return stat{}, fmt.Errorf("stat line %q is too short", b)
	}
	var err error
	number := func(field int) int64 {
		n, e := strconv.ParseInt(string(fields[field-3]), 10, 64)
		if e != nil && err == nil {
			err = fmt.Errorf("stat field %d: %w", field, e)
		}
		return n
	}
	s := stat{
		parent: int(number(4)),
		cpu:    time.Duration(number(14)+number(15)+number(16)+number(17)) * Tick,
		bytes:  number(24) * int64(os.Getpagesize()),
	}
	return s, err
}
