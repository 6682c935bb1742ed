// SPDX-License-Identifier: Apache-2.0

// Package faulty is a mirror that suffers, on demand, from what mirrors suffer from. It knows nothing of proxies.
package faulty

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Server holds one loopback port for as long as it lives, but for faults of the port itself. Its connections are bounded
// by what connects to it.
type Server struct {
	addr   netip.AddrPort
	asSent func(q *http.Request, body []byte) bool

	whole, wrong atomic.Int64

	mu       sync.Mutex
	fault    *Fault           // guarded by mu
	listener net.Listener     // guarded by mu; nil: the port refuses or is deaf
	deaf     *deafPort        // guarded by mu; nil: it is not
	conns    map[*conn]func() // guarded by mu: open, with what ends them
	wg       sync.WaitGroup
}

// Seen is what a server counted since it was started.
type Seen struct {
	Whole int64 // requests read to their end
	Wrong int64 // of them, those that are not as they were sent
}

// Listen returns a healthy server at addr. asSent tells of a request that was read whole whether it is what was sent; it
// is called from many goroutines.
func Listen(addr netip.AddrPort, asSent func(q *http.Request, body []byte) bool) (*Server, error) {
	s := &Server{addr: addr, asSent: asSent, conns: map[*conn]func(){}, fault: &Faults(addr)[0]}
	return s, s.open()
}

// Seen is what was counted so far.
func (s *Server) Seen() Seen { return Seen{Whole: s.whole.Load(), Wrong: s.wrong.Load()} }

// Suffer lets a fault begin: every connection ends, and those that come suffer from it.
func (s *Server) Suffer(f *Fault) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
	if f.port != open {
		s.shut()
	}
	s.endAll()
	switch f.port {
	case deaf:
		var err error
		s.deaf, err = holdDeaf(s.addr)
		return err
	case open:
		return s.open()
	}
	return nil
}

// Close ends everything and waits for it.
func (s *Server) Close() {
	s.mu.Lock()
	s.shut()
	s.endAll()
	s.mu.Unlock()
	s.wg.Wait()
}

// endAll ends the connections. The caller holds mu.
func (s *Server) endAll() {
	for _, end := range s.conns {
		end()
	}
}

// shut leaves the port to nobody. The caller holds mu.
func (s *Server) shut() {
	if s.listener != nil {
		s.listener.Close()
		s.listener = nil
	}
	s.deaf.release()
	s.deaf = nil
}

// open listens, if it does not. The caller holds mu, or is Listen.
func (s *Server) open() error {
	if s.listener != nil {
		return nil
	}
	s.shut()
	l, err := net.Listen("tcp4", s.addr.String())
	if err != nil {
		return err
	}
	s.listener = l
	s.wg.Go(func() { s.accept(l) })
	return nil
}

// accept ends with its listener; no other error lasts.
func (s *Server) accept(l net.Listener) {
	for {
		tcp, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			<-time.After(10 * time.Millisecond)
			continue
		}
		c := &conn{TCPConn: tcp.(*net.TCPConn), server: s, in: bufio.NewReader(tcp), ended: make(chan struct{})}
		s.mu.Lock()
		if s.listener != l {
			s.mu.Unlock()
			c.hangUp()
			return
		}
		serve := s.fault.serve
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

// conn is one accepted connection. Only the goroutine that serves it uses it.
type conn struct {
	*net.TCPConn
	server *Server
	in     *bufio.Reader
	ended  chan struct{} // closed when the server ends the connection
}

// request reads one request, whole, and counts it.
func (c *conn) request() error {
	q, err := http.ReadRequest(c.in)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return err
	}
	c.count(q, body)
	return nil
}

// count is for a request that was read whole.
func (c *conn) count(q *http.Request, body []byte) {
	if !c.server.asSent(q, body) {
		c.server.wrong.Add(1)
	}
	c.server.whole.Add(1)
}

// send writes all of text, for as long as the other side takes it.
func (c *conn) send(text string) error {
	_, err := io.WriteString(c.TCPConn, text)
	return err
}

// reset ends the connection with a RST.
func (c *conn) reset() {
	_ = c.SetLinger(0) // it may be gone, which is as good
	c.hangUp()
}

func (c *conn) hangUp() { _ = c.Close() } // once is enough, and it may be the second time

// hang reads nothing until the server ends the connection: who gave up on it shows in nothing else.
func (c *conn) hang() { <-c.ended }

// pause is hang for d; it tells whether the connection is still there.
func (c *conn) pause(d time.Duration) bool {
	over := time.NewTimer(d)
	defer over.Stop()
	select {
	case <-c.ended:
		return false
	case <-over.C:
		return true
	}
}
