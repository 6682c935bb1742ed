// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/umbra-mesh/umbra/test/meshtest"
)

const childEnv = "UMBRA_TEST_MIRROR_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		serveAsMirror()
		return
	}
	goleak.VerifyTestMain(m)
}

// report is what the mirror's process tells of itself.
type report struct {
	Whole  map[string]int // complete requests, by X-Id
	Broken int            // requests whose body ended early
	Wrong  int            // complete requests whose body was not what their X-Length says
	Active int            // requests being read or answered
}

// serveAsMirror is the child: an HTTP server on one port, its report on another, until its standard input ends.
func serveAsMirror() {
	var mu sync.Mutex
	r := report{Whole: map[string]int{}}
	mirror := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		r.Active++
		mu.Unlock()
		n, err := io.Copy(io.Discard, q.Body)
		mu.Lock()
		defer mu.Unlock()
		r.Active--
		switch {
		case err != nil:
			r.Broken++
			return
		case fmt.Sprint(n) != q.Header.Get("X-Length"):
			r.Wrong++
		}
		r.Whole[q.Header.Get("X-Id")]++
	})
	reports := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		json.NewEncoder(w).Encode(r)
	})
	for _, h := range []http.Handler{mirror, reports} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Fprintln(os.Stdout, l.Addr())
		go http.Serve(l, h)
	}
	io.Copy(io.Discard, os.Stdin)
}

// child is a mirror in a process of its own.
type child struct {
	t       *testing.T
	cmd     *exec.Cmd
	addr    string
	reports string
}

func startChild(t *testing.T) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), childEnv+"=1")
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.cmd.Process.Kill() // also when it is stopped
		in.Close()
		c.cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for _, addr := range []*string{&c.addr, &c.reports} {
		if !lines.Scan() {
			t.Fatal("the mirror's process did not tell its address")
		}
		*addr = lines.Text()
	}
	return c
}

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// freeze stops the process and waits until it has stopped.
func (c *child) freeze() {
	c.t.Helper()
	c.signal(syscall.SIGSTOP)
	meshtest.Until(c.t, "the mirror's process has stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
		if err != nil {
			return false
		}
		var pid int
		var name, state string
		fmt.Sscan(string(stat), &pid, &name, &state)
		return state == "T"
	})
}

func (c *child) report() (r report) {
	c.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: meshtest.Patience}
	resp, err := client.Get("http://" + c.reports)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		c.t.Fatal(err)
	}
	return r
}
