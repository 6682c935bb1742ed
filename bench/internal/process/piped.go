// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// Piped is a child and the pipes to its standard input and from its standard output. One goroutine uses it.
type Piped struct {
	*Child
	in    *os.File
	out   *os.File
	lines *bufio.Reader
}

// StartPiped is Start with pipes.
func StartPiped(name string, env []string, path string, args ...string) (*Piped, error) {
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer stdout.Close()
	c, err := start(name, env, stdin, stdout, path, args...)
	if err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	return &Piped{Child: c, in: in, out: out, lines: bufio.NewReader(out)}, nil
}

// Stop ends it if it still runs, and closes the pipes.
func (p *Piped) Stop() error {
	err := p.Child.Stop()
	p.in.Close()
	p.out.Close()
	return err
}

// Say writes one line to the child.
func (p *Piped) Say(line string) error {
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// Line reads one line from the child.
func (p *Piped) Line() (string, error) {
	line, err := p.lines.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s: %w", p.name, err)
	}
	return line, nil
}

// Ask says a line and reads the one line of JSON that the child answers, for which it has so long.
func (p *Piped) Ask(ctx context.Context, limit time.Duration, line string, answer any) error {
	if err := p.out.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	defer context.AfterFunc(ctx, func() { _ = p.out.SetReadDeadline(time.Unix(1, 0)) })() // nobody waits any more
	err := p.Say(line)
	if err == nil {
		var said string
		if said, err = p.Line(); err == nil {
			err = json.Unmarshal([]byte(said), answer)
		}
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE): // it is about to end
		<-p.done
		return p.Ended()
	}
	return fmt.Errorf("asked %q: %w", line, err)
}

// Obey is the child's side of Ask: do answers each line, until the input ends.
func Obey(in io.Reader, out io.Writer, do func(line string) (any, error)) error {
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
