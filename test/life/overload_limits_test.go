// SPDX-License-Identifier: Apache-2.0

//go:build limits

package life_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// neighbour takes memory in the same control group.
type neighbour struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   *os.File
	told *bufio.Scanner
}

func newNeighbour(t *testing.T, g *group) *neighbour {
	t.Helper()
	n := &neighbour{t: t, cmd: exec.Command(os.Args[0])}
	n.cmd.Env = append(os.Environ(), asUmbra+"=1", asHog+"=1", "GOGC=off", withGroup+"="+filepath.Join(g.dir, "cgroup.procs"))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	n.cmd.Stdin, n.in = read, write
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.told = bufio.NewScanner(out)
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read.Close()
	t.Cleanup(n.end)
	return n
}

// take makes it take so many MiB more.
func (n *neighbour) take(mib int) {
	n.t.Helper()
	if _, err := fmt.Fprintln(n.in, mib); err != nil {
		n.t.Fatal(err)
	}
	if !n.told.Scan() {
		n.t.Fatal("the neighbour is gone")
	}
}

func (n *neighbour) end() {
	n.in.Close()
	_ = n.cmd.Process.Kill() // it may have ended
	_ = n.cmd.Wait()         // killed
}

func TestMemoryPressureShedsInOrderAndRecovers(t *testing.T) {
	g := newGroup(t, 256<<20)
	o, m := newOrigin(t), newOrigin(t)
	port := freePort(t)
	p := launch(t, []string{withGroup + "=" + filepath.Join(g.dir, "cgroup.procs")},
		"run", "-f", config(t, port, o.addr, m.addr), "--admin", "127.0.0.1:0").serves()
	addr := address(port)
	kept, busy := dial(t, addr), dial(t, addr)
	kept.get("/")
	kept.answer()
	busy.get("/hold")
	o.arrived(t)
	n := newNeighbour(t, g)
	n.take(190)
	reach := func(level float64) {
		t.Helper()
		tick := time.NewTicker(600 * time.Millisecond) // two looks
		defer tick.Stop()
		for range 40 {
			if p.metric("umbra_overload_level") >= level {
				return
			}
			n.take(1)
			<-tick.C
		}
		t.Fatalf("level %v was not reached; the level is %v", level, p.metric("umbra_overload_level"))
	}

	reach(1)
	dropped := p.metric("umbra_mirror_dropped_total", `"overload"`)
	kept.get("/")
	if resp, body := kept.answer(); resp.StatusCode != 200 || body != "hello" {
		t.Errorf("level 1: production got %d %q", resp.StatusCode, body)
	}
	until(t, "the copy is shed", func() bool { return p.metric("umbra_mirror_dropped_total", `"overload"`) == dropped+1 })
	if err := once(addr, "/"); err != nil {
		t.Errorf("level 1: a new connection: %v", err)
	}

	reach(2)
	waiting, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if _, err := fmt.Fprint(waiting, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	before := p.metric("umbra_listener_starved_total")
	until(t, "accepting waits", func() bool { return p.metric("umbra_listener_starved_total") > before+1 })
	if p.metric("umbra_overload_level") == 2 {
		kept.get("/")
		if resp, _ := kept.answer(); resp.StatusCode != 200 {
			t.Errorf("level 2: production got %d", resp.StatusCode)
		}
	}

	reach(3)
	until(t, "requests are refused", func() bool {
		kept.get("/")
		resp, body := kept.answer()
		return resp.StatusCode == 503 && body == "envoy overloaded"
	})
	o.release() // what was under way all the time
	if resp, body := busy.answer(); resp.StatusCode != 200 || body != "hello" {
		t.Errorf("the request under way got %d %q", resp.StatusCode, body)
	}

	n.end()
	until(t, "the level is none", func() bool { return p.metric("umbra_overload_level") == 0 })
	if err := waiting.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(waiting).ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
		t.Errorf("the connection that waited got %q, %v", line, err)
	}
	if err := once(addr, "/"); err != nil {
		t.Error(err)
	}
	for _, level := range []string{"shed_copies", "pause_accepting", "refuse_requests"} {
		if got := p.metric("umbra_overload_total", level); got < 1 {
			t.Errorf("level %s counted %v times", level, got)
		}
	}
	if n := g.killed(); n != 0 {
		t.Errorf("killed %d times for want of memory", n)
	}
}
