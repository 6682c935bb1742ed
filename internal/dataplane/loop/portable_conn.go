// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// netSock is a connection of the portable driver, seen as a non-blocking socket.
type netSock struct {
	p                *portable
	key              key
	network, address string // to be dialled; empty: adopted
	class            Class
	bits             readiness // guarded by p.mu: not yet told

	mu       sync.Mutex
	room     sync.Cond // in has room, or the socket is closed
	work     sync.Cond // out has bytes, or something else is to be done by the writer
	conn     net.Conn  // nil until it is up
	alive    *KeepAlive
	cancel   context.CancelFunc // of dialling
	in, out  ring
	eof      bool // the peer's FIN follows what is in in
	inErr    error
	outErr   error
	short    bool // send did not take all: who filled out waits for room
	fin      bool // our FIN follows what is in out
	writing  bool // the writer has begun and not ended
	closed   bool
	hurrying bool
}

// connect dials on a goroutine.
func (s *netSock) connect() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.p.group.Go(func() {
		defer cancel()
		d := net.Dialer{KeepAlive: -1}
		conn, err := d.DialContext(ctx, s.network, s.address)
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			if err == nil {
				conn.Close()
			}
			s.p.forget(s)
			return
		}
		s.conn, s.outErr = conn, err
		alive := s.alive
		s.mu.Unlock()
		if err != nil {
			s.p.tell(s, hangup)
			return
		}
		s.control(func(fd int) { kernelPrepare(fd, s.class) })
		if alive != nil {
			s.keepAlive(*alive)
		}
		s.begin()
		s.p.tell(s, writable)
	})
}

func (p *portable) forget(s *netSock) {
	p.mu.Lock()
	delete(p.open, s)
	p.mu.Unlock()
}

// begin starts to read and to write.
func (s *netSock) begin() {
	s.mu.Lock()
	closed := s.closed
	s.writing = !closed
	s.mu.Unlock()
	if !closed {
		s.p.group.Go(s.read)
		s.p.group.Go(s.write)
	}
}

// read fills in, as far as there is room.
func (s *netSock) read() {
	for {
		s.mu.Lock()
		for s.in.room() == 0 && !s.closed {
			s.room.Wait()
		}
		if s.closed {
			s.mu.Unlock()
			return
		}
		buf := s.in.tail()
		s.mu.Unlock()
		n, err := s.conn.Read(buf)
		s.mu.Lock()
		s.in.filled(n)
		bits := readable
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			s.eof = true
			bits |= peerDone
		default:
			s.inErr = err
			bits |= peerDone | hangup
		}
		closed := s.closed
		s.mu.Unlock()
		if closed {
			return
		}
		s.p.tell(s, bits)
		if err != nil {
			if errors.Is(err, io.EOF) {
				s.watch()
			}
			return
		}
	}
}

// watch waits, after the peer's FIN, for its RST.
func (s *netSock) watch() {
	c, ok := s.conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	// It ends with an error when the connection is closed.
	_ = raw.Read(func(fd uintptr) bool {
		e, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil || e == 0 {
			return err != nil
		}
		s.mu.Lock()
		if s.outErr == nil {
			s.outErr = syscall.Errno(e)
		}
		s.mu.Unlock()
		s.p.tell(s, hangup)
		return true
	})
}

// write empties out, and does in its place what must come after that: our FIN, the end.
func (s *netSock) write() {
	for s.writeSome() {
	}
	s.mu.Lock()
	s.writing = false
	closed := s.closed
	s.mu.Unlock()
	if closed {
		s.end()
	}
}

func (s *netSock) writeSome() bool {
	s.mu.Lock()
	for s.out.n == 0 && !s.fin && !s.closed {
		s.work.Wait()
	}
	if s.out.n == 0 {
		fin := s.fin && !s.closed
		s.fin = false
		s.mu.Unlock()
		if fin {
			if c, ok := s.conn.(interface{ CloseWrite() error }); ok {
				_ = c.CloseWrite() // who reads will hear of what is wrong
			}
		}
		return fin
	}
	piece := s.out.front()
	s.mu.Unlock()
	n, err := s.conn.Write(piece)
	s.mu.Lock()
	if s.out.n > 0 { // not dropped meanwhile
		s.out.drop(n)
	}
	var bits readiness
	if s.short {
		s.short = false
		bits = writable
	}
	if err != nil {
		s.out = ring{}
		if s.outErr == nil {
			s.outErr = err
		}
		bits = writable | hangup
	}
	closed := s.closed
	s.mu.Unlock()
	if bits != 0 && !closed {
		s.p.tell(s, bits)
	}
	return err == nil
}

func (s *netSock) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.outErr != nil:
		return errnoOf(s.outErr)
	case s.inErr != nil:
		return errnoOf(s.inErr)
	}
	return nil
}

// errnoOf is the system's error in what the net package makes of it.
func errnoOf(err error) syscall.Errno {
	var e syscall.Errno
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return syscall.ETIMEDOUT
	}
	return syscall.ECONNRESET
}

func (s *netSock) recv(b []byte) (int, syscall.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.in.n > 0:
		if s.in.room() == 0 {
			s.room.Signal()
		}
		return s.in.take(b), 0
	case s.inErr != nil:
		return 0, errnoOf(s.inErr)
	case s.eof:
		return 0, 0
	}
	return 0, syscall.EAGAIN
}

func (s *netSock) send(bufs [][]byte) (n int, e syscall.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outErr != nil {
		return 0, errnoOf(s.outErr)
	}
	if s.inErr != nil {
		return 0, errnoOf(s.inErr)
	}
	for _, b := range bufs {
		k := s.out.put(b)
		n += k
		if k < len(b) {
			s.short = true
			break
		}
	}
	if n == 0 {
		return 0, syscall.EAGAIN
	}
	s.work.Signal()
	return n, 0
}

// unacked is what is held here, and what the kernel holds.
func (s *netSock) unacked() int {
	kernel := 0
	s.control(func(fd int) { kernel = kernelUnacked(fd) })
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.n + kernel
}

// control calls f with the descriptor of a connection that is up.
func (s *netSock) control(f func(fd int)) {
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	c, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) }) // a closed one is not asked
	}
}

func (s *netSock) keepAlive(k KeepAlive) {
	s.mu.Lock()
	conn := s.conn
	if conn == nil {
		s.alive = &k
	}
	s.mu.Unlock()
	if c, ok := conn.(*net.TCPConn); ok {
		cfg := net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1} // the system's
		if k.Time > 0 {
			cfg.Idle = k.Time
		}
		if k.Interval > 0 {
			cfg.Interval = k.Interval
		}
		if k.Probes > 0 {
			cfg.Count = k.Probes
		}
		_ = c.SetKeepAliveConfig(cfg) // a system without the option is as good without
	}
}

func (s *netSock) shutdown() {
	s.mu.Lock()
	s.fin = true
	s.mu.Unlock()
	s.work.Signal()
}

// shut closes: at once with a RST if reset is set or bytes were not read, as the kernel does it; else when what was sent
// is written, for which the peer has as long as CloseFlushed gives it.
func (s *netSock) shut(reset bool) {
	s.mu.Lock()
	s.closed = true
	if s.cancel != nil {
		s.cancel()
	}
	conn := s.conn
	later := s.writing
	if conn != nil {
		if reset || s.in.n > 0 {
			if c, ok := conn.(*net.TCPConn); ok {
				_ = c.SetLinger(0) // closed all the same
			}
			s.out = ring{}
			later = false
		} else {
			limit := lingerStep * lingerSteps
			if s.hurrying {
				limit = closeTime
			}
			_ = conn.SetWriteDeadline(time.Now().Add(limit)) // a closed one needs none
		}
	}
	s.mu.Unlock()
	s.room.Signal()
	s.work.Signal()
	if !later {
		s.end()
	}
}

// end closes the connection, which ends both goroutines.
func (s *netSock) end() {
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
	s.p.forget(s)
}

// hurry leaves a closed connection a moment to write what was sent. The caller holds p.mu.
func (s *netSock) hurry() {
	s.mu.Lock()
	s.hurrying = true
	conn := s.conn
	s.mu.Unlock()
	if conn != nil {
		_ = conn.SetWriteDeadline(time.Now().Add(closeTime)) // a closed one needs none
	}
}
