// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is USER_HZ of every Linux that Go runs on.
const tick = 10 * time.Millisecond

// usage is what a process and its descendants have used so far.
type usage struct {
	cpu   time.Duration // user and system, with children that were already reaped
	bytes int64         // resident now
}

// stat is the part of /proc/PID/stat that the bench reads (proc_pid_stat(5)).
type stat struct {
	parent int
	cpu    time.Duration
	bytes  int64
}

// measure adds up the tree below pid.
func measure(pid int) (usage, error) {
	ids, err := tree(pid)
	if err != nil {
		return usage{}, err
	}
	var u usage
	for _, id := range ids {
		s, err := readStat(id)
		if err != nil {
			return usage{}, err
		}
		u.cpu += s.cpu
		u.bytes += s.bytes
	}
	return u, nil
}

// tree returns pid and its descendants.
func tree(pid int) ([]int, error) {
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
		cpu:    time.Duration(number(14)+number(15)+number(16)+number(17)) * tick,
		bytes:  number(24) * int64(os.Getpagesize()),
	}
	return s, err
}
