// SPDX-License-Identifier: Apache-2.0

// Package process starts the programs that a bench consists of, talks to them, tells what they use, and ends them by
// their ids, whatever happens.
package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// grace is how long a child may take to end before it is killed.
const grace = 5 * time.Second

// Quiet is the environment of the bench's own programs: their threads sit in raw waits, where the scheduler's signals
// would only cost.
var Quiet = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")

// Child is a process that the bench started.
type Child struct {
	name string
	cmd  *exec.Cmd
	errs *tail
	done chan struct{} // closed when the process was reaped
	err  error         // of the process; set before done is closed
}

// Start runs a program in a process group of its own, so that a Ctrl-C reaches the bench alone, which then ends its
// children in order. Should the bench be killed, the kernel ends them. env is the bench's own if it is nil.
func Start(name string, env []string, path string, args ...string) (*Child, error) {
	return start(name, env, nil, nil, path, args...)
}

func start(name string, env []string, stdin, stdout *os.File, path string, args ...string) (*Child, error) {
	c := &Child{name: name, cmd: exec.Command(path, args...), errs: new(tail), done: make(chan struct{})}
	c.cmd.Env, c.cmd.Stderr = env, c.errs
	if stdin != nil {
		c.cmd.Stdin = stdin
	}
	if stdout != nil {
		c.cmd.Stdout = stdout
	}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	c.cmd.WaitDelay = time.Second // for a grandchild that holds on to standard error
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// PID is its process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Ended returns why the child is no more, nil while it runs.
func (c *Child) Ended() error {
	select {
	case <-c.done:
		return fmt.Errorf("%s ended (%v): %s", c.name, c.cmd.ProcessState, c.errs)
	default:
		return nil
	}
}

// Wait returns when the child has ended by itself; a failure comes with the end of its standard error.
func (c *Child) Wait() error {
	<-c.done
	if c.err != nil {
		return fmt.Errorf("%s: %w: %s", c.name, c.err, c.errs)
	}
	return nil
}

// Stop ends the child, and after five seconds kills it and the processes it started: all of its group, no id of which
// can be another's by then.
func (c *Child) Stop() error {
	if c.Ended() != nil {
		return nil
	}
	if err := syscall.Kill(c.PID(), syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end %s: %w", c.name, err)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
	}
	if err := syscall.Kill(-c.PID(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s: %w", c.name, err)
	}
	<-c.done
	return fmt.Errorf("%s did not end within %s of SIGTERM and was killed", c.name, grace)
}

// Family is a set of children that end together, the last one first.
type Family struct{ all []interface{ Stop() error } }

// Add takes a child in.
func (f *Family) Add(c interface{ Stop() error }) { f.all = append(f.all, c) }

// Stop ends them all.
func (f *Family) Stop() error {
	var errs []error
	for i := len(f.all) - 1; i >= 0; i-- {
		errs = append(errs, f.all[i].Stop())
	}
	f.all = nil
	return errors.Join(errs...)
}

// tail keeps the last part of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - tailSize; over > 0 {
		t.b = t.b[:copy(t.b, t.b[over:])]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := strings.TrimSpace(string(t.b)); s != "" {
		return s
	}
	return "it said nothing"
}
