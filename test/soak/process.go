// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A role is what a child process does: it takes commands, a line each, and gives one line of JSON for each, until its
// input ends.
type role func(in io.Reader, out io.Writer) error

var roles = map[string]role{"load": runLoad, "production": runProduction, "mirror": runMirror}

// obey reads commands and answers each with what do says.
func obey(in io.Reader, out io.Writer, do func(command string) (any, error)) error {
	lines, enc := bufio.NewScanner(in), json.NewEncoder(out)
	for lines.Scan() {
		answer, err := do(lines.Text())
		if err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		if err := enc.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

// process is a child and its two pipes.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Scanner
	ended chan struct{} // closed when it is gone, before which err is set
	err   error
}

const (
	answerWait = time.Minute
	endWait    = 40 * time.Second // more than umbra takes to drain
)

func start(name, program string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(program, args...), ended: make(chan struct{})}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe() // not StdoutPipe, whose reader must not be behind Wait
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout = w
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p.out = bufio.NewScanner(r)
	p.out.Buffer(nil, 1<<20)
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// startRole is this program again, in a role.
func startRole(name string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(name, self, name)
}

// line is the next one that the process prints.
func (p *process) line() (string, error) {
	late := time.AfterFunc(answerWait, func() { _ = p.cmd.Process.Kill() }) // it may be gone
	defer late.Stop()
	if !p.out.Scan() {
		return "", fmt.Errorf("%s ended, or said nothing for %s", p.name, answerWait)
	}
	return p.out.Text(), nil
}

// tell gives a command and reads its answer.
func (p *process) tell(command string, answer any) error {
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	text, err := p.line()
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), answer)
}

// end lets the process end: by how, or by the end of its input; then by force.
func (p *process) end(how func() error) error {
	p.in.Close()
	err := how()
	timeout := time.NewTimer(endWait)
	defer timeout.Stop()
	select {
	case <-p.ended:
		return errors.Join(err, p.err)
	case <-timeout.C:
		_ = p.cmd.Process.Kill() // or it ended just now
		<-p.ended
		return errors.Join(err, fmt.Errorf("%s did not end within %s", p.name, endWait))
	}
}

// family is all children; they end in the reverse order.
type family struct {
	mu  sync.Mutex
	all []*process // guarded by mu
}

func (f *family) add(p *process, err error) (*process, error) {
	if err == nil {
		f.mu.Lock()
		f.all = append(f.all, p)
		f.mu.Unlock()
	}
	return p, err
}

func (f *family) kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.all) - 1; i >= 0; i-- {
		_ = f.all[i].cmd.Process.Kill() // most are gone
		<-f.all[i].ended
	}
}
