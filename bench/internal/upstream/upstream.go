// SPDX-License-Identifier: Apache-2.0

// Package upstream is the far end of a bench: it answers every request with 128 bytes and counts it exactly, by path,
// once its whole body was read. It is not an HTTP server: it knows what the load sends and calls anything else broken.
// One thread serves all connections, so that it stays far cheaper than any proxy in front of it.
package upstream

import (
	"fmt"
	"net/netip"

	"github.com/umbra-mesh/umbra/bench/internal/poll"
)

// receiveSize is what one read may take: a 1 MiB body in a few calls.
const receiveSize = 256 << 10

type conn struct {
	stream
	unsent []byte
}

type server struct {
	set      *poll.Set
	listener int
	conns    map[int]*conn
	tallies  *tallies
	receive  []byte
	out      []byte // answers of one event
}

// Serve listens on addr and serves until the process ends; it returns only on an error.
func Serve(addr netip.AddrPort) error {
	set, err := poll.New()
	if err != nil {
		return err
	}
	defer set.Close()
	listener, err := poll.Listen(addr)
	if err != nil {
		return err
	}
	defer poll.Close(listener)
	if err := set.AddReader(listener); err != nil {
		return err
	}
	s := &server{
		set: set, listener: listener, conns: map[int]*conn{}, tallies: newTallies(),
		receive: make([]byte, receiveSize), out: make([]byte, 0, receiveSize),
	}
	for {
		events, err := set.Wait(-1)
		if err != nil {
			return err
		}
		for i := range events {
			if events[i].FD == listener {
				if err := s.accept(); err != nil {
					return fmt.Errorf("serve %s: %w", addr, err)
				}
				continue
			}
			s.serve(events[i].FD, events[i].Ended)
		}
	}
}

func (s *server) accept() error {
	for {
		fd, ok, err := poll.Accept(s.listener)
		if err != nil || !ok {
			return err
		}
		if err := s.set.AddConn(fd); err != nil {
			return err
		}
		s.conns[fd] = new(conn)
	}
}

// serve reads until the socket is empty, because an edge is told once. A short read says so too, unless the stream has
// ended behind it.
func (s *server) serve(fd int, ended bool) {
	c := s.conns[fd]
	if c == nil || !s.flush(fd, c) {
		return
	}
	for {
		n, again, err := poll.Read(fd, s.receive)
		if again {
			return
		}
		if n == 0 || err != nil {
			s.drop(fd, c.midway())
			return
		}
		s.out, err = c.feed(s.receive[:n], s.out[:0], s.tallies)
		if err != nil {
			s.drop(fd, true)
			return
		}
		if len(s.out) > 0 {
			c.unsent = append(c.unsent, s.out...)
			if !s.flush(fd, c) {
				return
			}
		}
		if n < len(s.receive) && !ended {
			return
		}
	}
}

// flush writes what is unsent and reports whether the connection still lives.
func (s *server) flush(fd int, c *conn) bool {
	if len(c.unsent) == 0 {
		return true
	}
	n, _, err := poll.Write(fd, c.unsent)
	if err != nil {
		s.drop(fd, c.midway())
		return false
	}
	c.unsent = c.unsent[:copy(c.unsent, c.unsent[n:])]
	return true
}

func (s *server) drop(fd int, broken bool) {
	if broken {
		s.tallies.broken++
	}
	delete(s.conns, fd)
	poll.Close(fd)
}
