// SPDX-License-Identifier: Apache-2.0

//go:build limits

package life_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// group is a control group with a limit on memory.
type group struct {
	dir string
	v2  bool
	t   *testing.T
}

// newGroup makes one. Without a memory controller the test fails: nothing would be shown.
func newGroup(t *testing.T, limit int64) *group {
	t.Helper()
	name := fmt.Sprintf("umbra-test-%d", os.Getpid())
	g := &group{t: t, dir: filepath.Join("/sys/fs/cgroup/memory", name)}
	file := "memory.limit_in_bytes"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		g.v2, g.dir, file = true, filepath.Join("/sys/fs/cgroup", name), "memory.max"
		if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+memory"), 0); err != nil {
			t.Fatalf("no memory controller for groups: %v", err)
		}
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		t.Fatalf("no control group can be made: %v", err)
	}
	t.Cleanup(func() {
		until(t, "the control group is empty", func() bool { return os.Remove(g.dir) == nil })
	})
	if err := os.WriteFile(filepath.Join(g.dir, file), []byte(strconv.FormatInt(limit, 10)), 0); err != nil {
		t.Fatal(err)
	}
	return g
}

// killed is how often the kernel killed a process of the group for want of memory.
func (g *group) killed() (n int) {
	g.t.Helper()
	file := "memory.oom_control"
	if g.v2 {
		file = "memory.events"
	}
	b, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		g.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
			if n, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				g.t.Fatal(err)
			}
		}
	}
	return n
}

// frozen accepts and reads nothing.
func frozen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestFrozenMirrorInASmallProcessCostsNoRequest(t *testing.T) {
	const clients, size, span = 32, 1 << 20, 8 * time.Second
	g := newGroup(t, 64<<20)
	o := newOrigin(t)
	port := freePort(t)
	p := launch(t, []string{withGroup + "=" + filepath.Join(g.dir, "cgroup.procs")},
		"run", "-f", config(t, port, o.addr, frozen(t)), "--admin", "127.0.0.1:0").serves()
	end := time.Now().Add(span)
	var wg sync.WaitGroup
	var mu sync.Mutex
	requests, most := 0, 0.0
	for range clients {
		c := dial(t, address(port))
		if err := c.SetDeadline(end.Add(patience)); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for time.Now().Before(end) {
				if err := upload(c, size); err != nil {
					t.Errorf("production: %v", err)
					return
				}
				mu.Lock()
				requests++
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-p.ended:
			t.Fatalf("umbra ended; killed %d times for want of memory", g.killed())
		case <-time.After(100 * time.Millisecond):
			most = max(most, p.metric("umbra_overload_pressure", `"memory"`))
		}
	}
	if n := g.killed(); n != 0 {
		t.Errorf("killed %d times for want of memory", n)
	}
	selected, dropped := p.metric("umbra_mirror_selected_total"), p.metric("umbra_mirror_dropped_total")
	t.Logf("%d requests, %.0f copies selected, %.0f dropped (%.0f for overload), memory %.0f %% at most", requests, selected,
		dropped, p.metric("umbra_mirror_dropped_total", `"overload"`), 100*most)
	if requests < 2*clients || selected < float64(requests)-clients || dropped == 0 {
		t.Error("that was no load")
	}
	until(t, "every copy is accounted for", func() bool {
		return p.metric("umbra_mirror_live") == 0 &&
			p.metric("umbra_mirror_selected_total") == p.metric("umbra_mirror_dropped_total")+p.metric("umbra_mirror_delivered_total")
	})
	until(t, "the level of overload is none", func() bool { return p.metric("umbra_overload_level") == 0 })
}

// upload is a request with a body of n bytes; the answer must come whole.
func upload(c *client, n int) error {
	head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n", n)
	if _, err := io.WriteString(c, head); err != nil {
		return err
	}
	if _, err := io.Copy(c, io.LimitReader(zeros{}, int64(n))); err != nil {
		return err
	}
	line, err := c.r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 200") {
		return fmt.Errorf("answer %q: %w", line, err)
	}
	for n := 0; ; {
		line, err := c.r.ReadString('\n')
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(strings.ToLower(line), "content-length: "):
			if _, err := fmt.Sscanf(line[len("content-length: "):], "%d", &n); err != nil {
				return err
			}
		case line == "\r\n":
			_, err := c.r.Discard(n)
			return err
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
