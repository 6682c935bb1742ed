// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/test/meshtest"
)

// process is umbra in a process of its own, and what it has printed.
type process struct {
	proxy
	cmd  *exec.Cmd
	out  *lines
	log  *lines
	exit chan error // its end, once
}

// lines are what a process has printed so far.
type lines struct {
	name string

	mu      sync.Mutex
	text    []string
	ended   bool
	arrived chan struct{} // capacity 1
}

func (l *lines) read(r io.Reader) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		l.add(s.Text(), false)
	}
	l.add("", true)
}

func (l *lines) add(line string, end bool) {
	l.mu.Lock()
	if end {
		l.ended = true
	} else {
		l.text = append(l.text, line)
	}
	l.mu.Unlock()
	select {
	case l.arrived <- struct{}{}:
	default:
	}
}

func (l *lines) all() (text []string, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text[:len(l.text):len(l.text)], l.ended
}

func (l *lines) count() int {
	text, _ := l.all()
	return len(text)
}

// wait returns the submatches of the first line after the first n that fits.
func (l *lines) wait(t *testing.T, n int, expr string) []string {
	t.Helper()
	re := regexp.MustCompile(expr)
	deadline := time.NewTimer(meshtest.Patience)
	defer deadline.Stop()
	for {
		text, ended := l.all()
		for _, line := range text[n:] {
			if m := re.FindStringSubmatch(line); m != nil {
				return m
			}
		}
		if ended {
			t.Fatalf("%s ended without %q:\n%s", l.name, expr, strings.Join(text, "\n"))
		}
		select {
		case <-l.arrived:
		case <-deadline.C:
			t.Fatalf("%s: no %q after %s:\n%s", l.name, expr, meshtest.Patience, strings.Join(text, "\n"))
		}
	}
}

// start runs umbra run with the arguments and admin pages on a free port, and waits until it serves.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := launch(t, append([]string{"run", "--admin", "127.0.0.1:0"}, args...)...)
	p.Admin = p.out.wait(t, 0, `^admin pages on http://(.*)$`)[1]
	p.Addr = p.out.wait(t, 0, `^listening on (.*)$`)[1]
	return p
}

// launch runs umbra; it is killed at the end of the test at the latest.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{
		proxy: proxy{&meshtest.Umbra{}},
		cmd:   exec.Command("umbra", args...),
		out:   &lines{name: "standard output", arrived: make(chan struct{}, 1)},
		log:   &lines{name: "standard error", arrived: make(chan struct{}, 1)},
		exit:  make(chan error, 1),
	}
	p.cmd.Env = os.Environ()
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { p.out.read(stdout) })
	reading.Go(func() { p.log.read(stderr) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		reading.Wait()
		p.exit <- p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-done
		if t.Failed() {
			text, _ := p.log.all()
			t.Logf("umbra %s:\n%s", strings.Join(args, " "), strings.Join(text, "\n"))
		}
	})
	return p
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ended returns the exit code once the process is gone.
func (p *process) ended(t *testing.T) int {
	t.Helper()
	deadline := time.NewTimer(meshtest.Patience)
	defer deadline.Stop()
	select {
	case <-p.exit:
		return p.cmd.ProcessState.ExitCode()
	case <-deadline.C:
		t.Fatalf("umbra is still there after %s", meshtest.Patience)
		return 0
	}
}
