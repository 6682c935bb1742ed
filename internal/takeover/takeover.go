// SPDX-License-Identifier: Apache-2.0

// Package takeover hands the listening sockets of one process to its successor over a Unix socket: the sockets stay
// open throughout, so that no connection is refused or reset. It does not know what the sockets are for, starts no
// process and ends none.
//
// The successor asks; the predecessor offers each socket by name, with its descriptor; the successor says when it is
// ready and which ones it uses; the predecessor confirms and stops accepting. Until that confirmation the predecessor
// serves on, whatever becomes of the successor. Both ends must be of one user.
package takeover

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// version is of the protocol: a process takes over only from one that speaks the same.
	version = 1

	maxSockets = 1024
	maxMessage = 64 << 10 // bytes
	maxRights  = 16       // descriptors received with one piece of the stream

	// stepTime is for what the other end does at once.
	stepTime = 5 * time.Second
	// readyTime is for the successor to have everything in place.
	readyTime = time.Minute
)

// Socket is a listening socket that is offered, by a name that both processes derive from their settings.
type Socket struct {
	Name string
	Conn syscall.Conn
}

// kind is what a message says.
type kind string

const (
	hello  kind = "hello"  // from the successor: its version
	socket kind = "socket" // one socket, with one descriptor
	end    kind = "end"    // no more sockets
	ready  kind = "ready"  // from the successor: it has all it needs, and uses these
	yours  kind = "yours"  // the predecessor stops accepting
	refuse kind = "refuse" // and why
)

// message is one frame: its length in four bytes, big-endian, and this as JSON.
type message struct {
	Kind    kind   `json:"kind"`
	Version int    `json:"version,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Name    string `json:"name,omitempty"`
	State   string `json:"state,omitempty"` // with end: what the successor is to know besides
	Used    []int  `json:"used,omitempty"`  // by their place in the offer
	Why     string `json:"why,omitempty"`
}

// wire is a connection between the two. Used by one goroutine at a time.
type wire struct {
	conn  *net.UnixConn
	bytes []byte     // read and not yet decoded
	files []*os.File // received and not yet asked for
}

func (w *wire) close() {
	_ = w.conn.Close() // nothing is lost that was not answered
	for _, f := range w.files {
		_ = f.Close()
	}
	w.files = nil
}

// send writes a message within stepTime; s, if it is not nil, lends its descriptor.
func (w *wire) send(m message, s syscall.Conn) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(body) > maxMessage {
		return fmt.Errorf("message %q of %d bytes is too long", m.Kind, len(body))
	}
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	if err := w.conn.SetWriteDeadline(time.Now().Add(stepTime)); err != nil {
		return err
	}
	if s == nil {
		_, err := w.conn.Write(frame)
		return err
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	n := 0
	err = errors.Join(raw.Control(func(fd uintptr) {
		n, _, err = w.conn.WriteMsgUnix(frame, unix.UnixRights(int(fd)), nil)
	}), err)
	if err == nil && n < len(frame) {
		_, err = w.conn.Write(frame[n:])
	}
	return err
}

// receive returns the next message, within a time; it must be of the kind.
func (w *wire) receive(want kind, within time.Duration) (m message, err error) {
	m, err = w.next(within)
	switch {
	case err != nil:
		return m, err
	case m.Kind == refuse:
		return m, &Refusal{Why: m.Why}
	case m.Kind != want:
		return m, fmt.Errorf("got message %q, want %q", m.Kind, want)
	}
	return m, nil
}

func (w *wire) next(within time.Duration) (m message, err error) {
	if err := w.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return m, err
	}
	for {
		if len(w.bytes) >= 4 {
			n := binary.BigEndian.Uint32(w.bytes)
			if n > maxMessage {
				return m, fmt.Errorf("message of %d bytes is too long", n)
			}
			if rest := w.bytes[4:]; len(rest) >= int(n) {
				if err := json.Unmarshal(rest[:n], &m); err != nil {
					return m, fmt.Errorf("message: %w", err)
				}
				w.bytes = rest[n:]
				return m, nil
			}
		}
		if err := w.fill(); err != nil {
			return m, err
		}
	}
}

// fill reads what there is, with its descriptors.
func (w *wire) fill() error {
	buf, oob := make([]byte, 4<<10), make([]byte, unix.CmsgSpace(4*maxRights))
	n, oobn, flags, _, err := w.conn.ReadMsgUnix(buf, oob)
	rights, bad := descriptors(oob[:oobn])
	for _, fd := range rights {
		// Nothing is refused for this: a descriptor that is none fails when it is used.
		_ = unix.SetNonblock(fd, true) // or os.NewFile does not hand it to the netpoller
		w.files = append(w.files, os.NewFile(uintptr(fd), "inherited"))
	}
	switch {
	case err != nil:
		return err
	case bad != nil:
		return bad
	case flags&unix.MSG_CTRUNC != 0:
		return errors.New("descriptors were lost: too many at once, or none free")
	case len(w.files) > maxSockets:
		return fmt.Errorf("more than %d sockets", maxSockets)
	case n == 0:
		return io.EOF
	}
	w.bytes = append(w.bytes, buf[:n]...)
	return nil
}

func descriptors(oob []byte) (fds []int, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	for i := range list {
		rights, err := unix.ParseUnixRights(&list[i])
		if err != nil {
			return fds, fmt.Errorf("control message: %w", err)
		}
		fds = append(fds, rights...)
	}
	return fds, nil
}

// Refusal is the predecessor's answer that it does not hand anything over.
type Refusal struct{ Why string }

func (e *Refusal) Error() string { return "the other process refuses: " + e.Why }

// sameUser lets nobody else's process have the sockets, or give some.
func sameUser(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	uid := -1
	if err := errors.Join(raw.Control(func(fd uintptr) { uid, err = peerUID(int(fd)) }), err); err != nil {
		return fmt.Errorf("ask who the other process is: %w", err)
	}
	if own := os.Geteuid(); uid != own {
		return fmt.Errorf("the other process is of user %d, this one of %d", uid, own)
	}
	return nil
}
