// SPDX-License-Identifier: Apache-2.0

// Package faulty is the far end that tests put behind the proxy: an HTTP/1.1 server over plain TCP that suffers, on
// demand, from what far ends suffer from. It is no proxy and knows nothing of Umbra.
package faulty

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server listens on one loopback port for as long as it lives, but for faults of the port itself.
type Server struct {
	addr string
	// read gets every request that was read whole, from any goroutine.
	read func(q *http.Request, body []byte)
	wg   sync.WaitGroup

	mu       sync.Mutex
	serve    func(*Conn)      // guarded by mu: for connections that come from now on
	listener net.Listener     // guarded by mu; nil: the port refuses or is deaf
	held     heldPort         // guarded by mu; nil: it does neither
	conns    map[*Conn]func() // guarded by mu: open, with what ends them
	accepted int              // guarded by mu
}

// Conn is one accepted connection. Only the goroutine that serves it uses it.
type Conn struct {
	*net.TCPConn
	server *Server
	in     *bufio.Reader
	ended  chan struct{} // closed when the server ends the connection
}

// Listen returns a healthy server on a free port. read, if not nil, gets every request that was read whole.
func Listen(read func(q *http.Request, body []byte)) (*Server, error) {
	if read == nil {
		read = func(*http.Request, []byte) {}
	}
	s := &Server{addr: "127.0.0.1:0", read: read, conns: map[*Conn]func(){}, serve: Healthy.Serve}
	if err := s.open(); err != nil {
		return nil, err
	}
	s.addr = s.listener.Addr().String()
	return s, nil
}

// Addr is where it listens, IP:port.
func (s *Server) Addr() string { return s.addr }

// Suffer lets a fault begin: every connection ends, and those that come suffer from it.
func (s *Server) Suffer(f *Fault) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve = f.Serve
	if f.Port != Open {
		s.shut()
	}
	for _, end := range s.conns {
		end()
	}
	if f.Port == Open {
		return s.open()
	}
	var err error
	s.held, err = hold(s.addr, f.Port)
	return err
}

// Serve lets connections be served like this from now on; those that are there go on.
func (s *Server) Serve(serve func(*Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve = serve
}

// Heal ends whatever it suffers from.
func (s *Server) Heal() error { return s.Suffer(&Healthy) }

// EndConnections closes what is open; new connections are served as before.
func (s *Server) EndConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, end := range s.conns {
		end()
	}
}

// Connections tells how many are open, and how many have been accepted in all.
func (s *Server) Connections() (open, accepted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns), s.accepted
}

// Close ends everything and waits for it.
func (s *Server) Close() {
	s.mu.Lock()
	s.shut()
	for _, end := range s.conns {
		end()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// shut leaves the port to nobody. The caller holds mu.
func (s *Server) shut() {
	if s.listener != nil {
		s.listener.Close()
		s.listener = nil
	}
	s.held.release()
	s.held = nil
}

// open listens, if it does not. The caller holds mu, or is Listen.
func (s *Server) open() error {
	if s.listener != nil {
		return nil
	}
	s.shut()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.listener = l
	s.wg.Go(func() { s.accept(l) })
	return nil
}

// accept ends with its listener; no other error lasts.
func (s *Server) accept(l net.Listener) {
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		tcp, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			<-pause.C
			continue
		}
		c := &Conn{TCPConn: tcp.(*net.TCPConn), server: s, in: bufio.NewReader(tcp), ended: make(chan struct{})}
		s.mu.Lock()
		if s.listener != l {
			s.mu.Unlock()
			c.hangUp()
			return
		}
		serve := s.serve
		s.accepted++
		s.conns[c] = sync.OnceFunc(func() { close(c.ended); c.hangUp() })
		s.mu.Unlock()
		s.wg.Go(func() {
			serve(c)
			c.hangUp()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

// Request reads one request, whole, and reports it.
func (c *Conn) Request() (*http.Request, []byte, error) {
	q, err := http.ReadRequest(c.in)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("body of %s: %w", q.URL, err)
	}
	c.server.read(q, body)
	return q, body, nil
}

// Send writes all of text, for as long as the other side takes it.
func (c *Conn) Send(text string) error {
	_, err := io.WriteString(c.TCPConn, text)
	return err
}

// Head reads a request up to its body.
func (c *Conn) Head() (*http.Request, error) { return http.ReadRequest(c.in) }

// Reset ends the connection with a RST.
func (c *Conn) Reset() {
	_ = c.SetLinger(0) // it may be gone, which is as good
	c.hangUp()
}

func (c *Conn) hangUp() { _ = c.Close() } // once is enough, and it may be the second time

// Hang blocks, and reads nothing, until either side ends the connection.
func (c *Conn) Hang() { c.Pause(time.Hour) }

// Pause is Hang for at most d; it tells whether the connection is still there.
func (c *Conn) Pause(d time.Duration) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	over := time.NewTimer(d)
	defer over.Stop()
	for {
		gone := false
		if err := raw.Control(func(fd uintptr) { gone = peerGone(fd) }); err != nil || gone {
			return false
		}
		select {
		case <-c.ended:
			return false
		case <-over.C:
			return true
		case <-tick.C:
		}
	}
}
