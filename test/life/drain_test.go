// SPDX-License-Identifier: Apache-2.0

package life_test

import (
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDrainAnswersWhatIsUnderWayAndEndsTheRest(t *testing.T) {
	m := newMesh(t)
	// Every worker has an idle connection: the one with the fewest gets the next.
	idle := make([]*client, runtime.NumCPU())
	for i := range idle {
		idle[i] = dial(t, m.addr)
		idle[i].get("/")
		if resp, _ := idle[i].answer(); resp.Close {
			t.Error("told to close before the drain")
		}
	}
	busy, upload := dial(t, m.addr), dial(t, m.addr)
	busy.get("/hold")
	m.origin.arrived(t)
	upload.send("POST /hold HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nhalf ")
	m.origin.arrived(t)
	m.running.signal(syscall.SIGTERM)
	m.running.said("draining")
	for _, c := range idle {
		if rest, err := c.over(); rest != "" || err != nil {
			t.Errorf("idle connection: %q, %v", rest, err)
		}
	}
	until(t, "new connections are refused", func() bool {
		c, err := net.Dial("tcp", m.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if code, state := m.running.page("/ready"); code != http.StatusServiceUnavailable || !strings.HasPrefix(state, "DRAINING") {
		t.Errorf("/ready says %d %q", code, state)
	}
	upload.send("whole")
	m.origin.release()
	for name, c := range map[string]*client{"busy": busy, "upload": upload} {
		resp, body := c.answer()
		if resp.StatusCode != 200 || body != "hello" || !resp.Close {
			t.Errorf("%s: %d %q, close %v", name, resp.StatusCode, body, resp.Close)
		}
		c.Close()
	}
	if code := m.running.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestDrainTimeoutBoundsTheDrain(t *testing.T) {
	o := newOrigin(t)
	port := freePort(t)
	p := launch(t, nil, "run", "-f", config(t, port, o.addr, ""), "--admin", "127.0.0.1:0", "--drain-timeout", "300ms").serves()
	c := dial(t, address(port))
	c.get("/hold")
	o.arrived(t)
	begin := time.Now()
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begin); took < 300*time.Millisecond || took > patience/2 {
		t.Errorf("ended after %s", took)
	}
	p.said("drain timeout: what is left is cut")
	if rest, _ := c.over(); rest != "" {
		t.Errorf("the request that was cut got %q", rest)
	}
}

// A reload may hang: the folder may be a network's. The process ends all the same, however often it was told to reload.
func TestASignalToEndIsHeardBehindReloadsThatHang(t *testing.T) {
	o := newOrigin(t)
	file := config(t, freePort(t), o.addr, "")
	p := launch(t, nil, "run", "-f", file, "--admin", "127.0.0.1:0", "--drain-timeout", "300ms").serves()
	pipe := file + ".pipe"
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(pipe, file); err != nil { // who reads it waits for a writer
		t.Fatal(err)
	}
	for range 50 {
		p.signal(syscall.SIGHUP)
	}
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.said("a reload does not end")
}

// A mirror that never answers must not keep a process longer than its drain may take, nor go uncounted.
func TestCopiesEndWithTheDrain(t *testing.T) {
	o, silent := newOrigin(t), newOrigin(t)
	port := freePort(t)
	p := launch(t, nil, "run", "-f", config(t, port, o.addr, silent.addr), "--admin", "127.0.0.1:0",
		"--drain-timeout", "5s", "--access-log", "-", "--access-log-copies").serves()
	busy, quick := dial(t, address(port)), dial(t, address(port))
	busy.get("/hold") // keeps production up, so that the copies get the rest
	o.arrived(t)
	silent.arrived(t)
	quick.get("/")
	quick.answer()
	p.signal(syscall.SIGTERM)
	p.said("draining")
	o.release()
	busy.answer()
	busy.Close()
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.said(`shutdown`)
	p.said("msg=drained")
}
