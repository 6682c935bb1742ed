// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// message is a line from the process of mesh B: one with ready, then one for each request that its workload sees.
type message struct {
	Ready *ready `json:",omitempty"`
	Seen  *Seen  `json:",omitempty"`
}

type ready struct{ Gateway, Admin string }

const (
	readyWait = 10 * time.Second // for the process to say that it is ready
	endWait   = 2 * time.Second  // for it to end by itself
)

// RunPeer is the life of mesh B's process: its configuration comes in one line on stdin, and when stdin ends, because
// whoever started it has ended, so does the mesh.
func RunPeer(stdin io.Reader, stdout, stderr io.Writer) error {
	var cfg meshConfig
	in := json.NewDecoder(stdin)
	if err := in.Decode(&cfg); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var mu sync.Mutex
	out := json.NewEncoder(stdout)
	send := func(m message) error {
		mu.Lock()
		defer mu.Unlock()
		return out.Encode(m)
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelError})).With("mesh", "B")
	m, err := startMesh(cfg, logger, func(s Seen) {
		_ = send(message{Seen: &s}) // if nobody reads any more, stdin ends too
	})
	if err != nil {
		return err
	}
	defer m.close()
	if err := send(message{Ready: &ready{Gateway: m.gateway, Admin: m.admin}}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.MultiReader(in.Buffered(), stdin))
	return err
}

// peer is the process of mesh B, seen from this one.
type peer struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ready ready
	ended chan struct{} // closed when the process is gone
}

// startPeer starts program and waits until its mesh is ready; record gets what the workload there sees.
func startPeer(
	ctx context.Context, program []string, stderr io.Writer, cfg meshConfig, record func(Seen),
) (*peer, error) {
	if len(program) == 0 {
		return nil, errors.New("no program for it")
	}
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Stderr = stderr
	cmd.SysProcAttr = apart()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &peer{cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	up := make(chan ready, 1)
	go func() {
		defer close(p.ended)
		in := json.NewDecoder(stdout)
		for {
			var m message
			if in.Decode(&m) != nil {
				break
			}
			if m.Ready != nil {
				up <- *m.Ready
			}
			if m.Seen != nil {
				record(*m.Seen)
			}
		}
		_ = cmd.Wait() // its trouble is on stderr
	}()
	if err := json.NewEncoder(stdin).Encode(cfg); err != nil {
		p.close()
		return nil, fmt.Errorf("its process ended: %w", err)
	}
	timeout := time.NewTimer(readyWait)
	defer timeout.Stop()
	select {
	case p.ready = <-up:
		return p, nil
	case <-p.ended:
		err = errors.New("its process ended")
	case <-timeout.C:
		err = fmt.Errorf("not ready after %s", readyWait)
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.close()
	return nil, err
}

func (p *peer) pid() int { return p.cmd.Process.Pid }

// close ends the process: by the end of its stdin, or if it is stuck by force.
func (p *peer) close() {
	p.stdin.Close()
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may be frozen, or gone
	timeout := time.NewTimer(endWait)
	defer timeout.Stop()
	select {
	case <-p.ended:
	case <-timeout.C:
		_ = p.cmd.Process.Kill() // or it ended just now
		<-p.ended
	}
}
