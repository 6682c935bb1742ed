// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// doorName is the name under which the door itself passes on.
const doorName = "door"

// Door is the Unix socket at which a process waits for its successor.
type Door struct {
	Logger *slog.Logger // nil: none; set before Serve

	path  string
	l     *net.UnixListener
	ready time.Duration

	mu      sync.Mutex
	closed  bool  // guarded by mu
	passed  bool  // guarded by mu: another process waits here now
	visitor *wire // guarded by mu: who is being served
}

// Open makes the door at a path, for this user only. One that nobody waits behind any more is replaced.
func Open(path string) (*Door, error) {
	l, err := listenUnix(path)
	if errors.Is(err, unix.EADDRINUSE) && abandoned(path) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		l, err = listenUnix(path)
	}
	if err != nil {
		return nil, fmt.Errorf("wait for a successor at %s: %w", path, err)
	}
	return newDoor(path, l), nil
}

func newDoor(path string, l *net.UnixListener) *Door {
	l.SetUnlinkOnClose(false) // it may be somebody else's by then
	return &Door{path: path, l: l, ready: readyTime, Logger: slog.New(slog.DiscardHandler)}
}

// listenUnix sets the mode before anybody can connect.
func listenUnix(path string) (*net.UnixListener, error) {
	if len(path) == 0 || path[0] == '@' {
		return nil, errors.New("it must be the path of a file, whose mode keeps other users away")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // FileListener makes its own
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	if err = os.Chmod(path, 0o600); err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, 8))
	}
	var l net.Listener
	if err == nil {
		l, err = net.FileListener(f)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return l.(*net.UnixListener), nil
}

// abandoned reports whether a path is a socket that nobody listens at.
func abandoned(path string) bool {
	if fi, err := os.Lstat(path); err != nil || fi.Mode().Type() != os.ModeSocket {
		return false
	}
	c, err := net.DialTimeout("unix", path, stepTime)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}

// Serve calls pass for each process that asks, one at a time, until pass has handed over or Close is called. pass
// reports whether it did: Visitor.Offer says so.
func (d *Door) Serve(pass func(*Visitor) bool) {
	for {
		c, err := d.l.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			d.Logger.Error("no successor can be waited for any more", "path", d.path, "error", err)
			return
		}
		if d.receive(&wire{conn: c}, pass) {
			_ = d.l.Close() // the successor has it
			return
		}
	}
}

func (d *Door) receive(w *wire, pass func(*Visitor) bool) bool {
	if !d.enter(w) {
		return false
	}
	defer d.enter(nil)
	defer w.close()
	err := sameUser(w.conn)
	var m message
	if err == nil {
		m, err = w.receive(hello, stepTime)
	}
	if err == nil && m.Version != version {
		err = fmt.Errorf("it speaks version %d, this one %d", m.Version, version)
		_ = w.send(message{Kind: refuse, Why: fmt.Sprintf("it speaks version %d, not %d", version, m.Version)}, nil)
	}
	if err != nil {
		d.Logger.Warn("a process asked for the listening sockets in vain", "error", err)
		return false
	}
	return pass(&Visitor{PID: m.PID, door: d, w: w})
}

// enter notes who is served, and reports whether the door is open.
func (d *Door) enter(w *wire) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.visitor = w
	if d.closed && w != nil {
		_ = w.conn.Close()
	}
	return !d.closed
}

// Close lets nobody in any more and cuts who is there. The path is removed, unless the door was passed on.
func (d *Door) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	if d.visitor != nil {
		_ = d.visitor.conn.Close()
	}
	_ = d.l.Close()
	if !d.passed {
		_ = os.Remove(d.path)
	}
}

// pass notes whether the path is another process's now.
func (d *Door) pass(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.passed = on
}

// Visitor is a process that wants to take over.
type Visitor struct {
	PID int // as it says

	door *Door
	w    *wire
}

// Refuse tells the process that there is nothing to take.
func (v *Visitor) Refuse(why string) {
	_ = v.w.send(message{Kind: refuse, Why: why}, nil) // it learns it from the end of the connection too
}

// Offer passes the sockets and the door on, with a word about the state of things, and returns the names of those in use when the process has said that it is
// ready. After an error nothing is handed over: the process may be gone.
func (v *Visitor) Offer(sockets []Socket, state string) (used map[string]bool, err error) {
	defer func() {
		if err != nil {
			v.Refuse("it serves on: " + err.Error())
		}
	}()
	if len(sockets) >= maxSockets {
		return nil, fmt.Errorf("%d sockets are too many", len(sockets))
	}
	sockets = append(sockets[:len(sockets):len(sockets)], Socket{doorName, v.door.l})
	for _, s := range sockets {
		if err := v.w.send(message{Kind: socket, Name: s.Name}, s.Conn); err != nil {
			return nil, fmt.Errorf("pass %s: %w", s.Name, err)
		}
	}
	if err := v.w.send(message{Kind: end, State: state}, nil); err != nil {
		return nil, err
	}
	m, err := v.w.receive(ready, v.door.ready)
	if err != nil {
		return nil, fmt.Errorf("wait until it is ready: %w", err)
	}
	used = map[string]bool{}
	for _, i := range m.Used {
		if i < 0 || i >= len(sockets) {
			return nil, fmt.Errorf("it uses socket %d of %d", i, len(sockets))
		}
		used[sockets[i].Name] = true
	}
	v.door.pass(true)
	if err := v.w.send(message{Kind: yours}, nil); err != nil {
		v.door.pass(false)
		return nil, err
	}
	return used, nil
}
