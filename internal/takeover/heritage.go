// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Heritage is what a predecessor offers. Until Ready it serves on.
type Heritage struct {
	path    string
	w       *wire
	names   []string
	offered map[string]*os.File
	used    []int
	state   string
}

// State is what the predecessor says besides.
func (h *Heritage) State() string { return h.state }

// Ask gets the sockets of the process that waits at a path; nil if none does.
func Ask(path string) (*Heritage, error) {
	c, err := net.DialTimeout("unix", path, stepTime)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) && abandoned(path) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("take over at %s: %w", path, err)
	}
	h := &Heritage{path: path, w: &wire{conn: c.(*net.UnixConn)}, offered: map[string]*os.File{}}
	if err := h.ask(); err != nil {
		h.Close()
		return nil, fmt.Errorf("take over at %s: %w", path, err)
	}
	return h, nil
}

func (h *Heritage) ask() error {
	if err := sameUser(h.w.conn); err != nil {
		return err
	}
	if err := h.w.send(message{Kind: hello, Version: version, PID: os.Getpid()}, nil); err != nil {
		return err
	}
	// The predecessor may be reloading, or serve another one first.
	for within := readyTime; ; within = stepTime {
		m, err := h.w.next(within)
		switch {
		case err != nil:
			return err
		case m.Kind == refuse:
			return &Refusal{Why: m.Why}
		case m.Kind == end:
			h.state = m.State
			return nil
		case m.Kind != socket:
			return fmt.Errorf("got message %q, want a socket", m.Kind)
		case len(h.w.files) == 0:
			return fmt.Errorf("%s came without its descriptor", m.Name)
		case slices.Contains(h.names, m.Name):
			return fmt.Errorf("%s is offered twice", m.Name)
		}
		h.names = append(h.names, m.Name)
		h.offered[m.Name], h.w.files = h.w.files[0], h.w.files[1:]
	}
}

// Use returns the socket of that name, which is the caller's from then on; nil if there is none, or it is in use.
func (h *Heritage) Use(name string) *os.File {
	if h == nil {
		return nil
	}
	f := h.offered[name]
	if f != nil {
		delete(h.offered, name)
		h.used = append(h.used, slices.Index(h.names, name))
	}
	return f
}

// Ready tells the predecessor to stop accepting, and returns the door to wait at for the next successor. After an error
// the predecessor serves on. The heritage is closed either way.
func (h *Heritage) Ready() (*Door, error) {
	defer h.Close()
	f := h.Use(doorName)
	if f == nil {
		return nil, errors.New("take over: no door was offered")
	}
	defer f.Close() // FileListener makes its own
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	door, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("take over: the door is no Unix socket"), l.Close())
	}
	if err := h.commit(); err != nil {
		return nil, errors.Join(fmt.Errorf("take over: %w", err), l.Close())
	}
	return newDoor(h.path, door), nil
}

func (h *Heritage) commit() error {
	sent := h.w.send(message{Kind: ready, Used: h.used}, nil)
	_, err := h.w.receive(yours, readyTime)
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
		return nil // it ended without refusing: nobody else serves
	}
	if err != nil && sent != nil {
		return errors.Join(err, sent)
	}
	return err
}

// Close lets go of what is not used. Before Ready it tells the predecessor that nothing comes of it.
func (h *Heritage) Close() {
	if h == nil {
		return
	}
	h.w.close()
	for name, f := range h.offered {
		_ = f.Close()
		delete(h.offered, name)
	}
}
