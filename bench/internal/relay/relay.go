// SPDX-License-Identifier: Apache-2.0

// Package relay is the yardstick of a bench: the least a process between two sockets can cost. It copies bytes from
// each client connection to an upstream connection of its own and back, and knows nothing of HTTP. It is not a proxy
// that anyone should use: it has no timeouts, and a half-closed connection is closed.
package relay

import (
	"net/netip"
	"runtime"

	"github.com/umbra-mesh/umbra/bench/internal/poll"
)

const receiveSize = 64 << 10

// end is one socket of a pair.
type end struct {
	fd     int
	peer   *end
	unsent []byte // received from the peer, not yet written here; the peer is not read while there is any
}

type worker struct {
	set      *poll.Set
	listener int
	upstream netip.AddrPort
	ends     map[int]*end
	dead     []int // closed when the events at hand are done with, so that no number is used twice among them
	receive  []byte
}

// Serve relays addr to upstream with that many threads until the process ends; it returns only on an error.
func Serve(addr, upstream netip.AddrPort, threads int) error {
	listener, err := poll.Listen(addr)
	if err != nil {
		return err
	}
	workers := make([]*worker, threads)
	for i := range workers {
		set, err := poll.New()
		if err != nil {
			return err
		}
		if err := set.AddReader(listener); err != nil {
			return err
		}
		workers[i] = &worker{
			set: set, listener: listener, upstream: upstream, ends: map[int]*end{}, receive: make([]byte, receiveSize),
		}
	}
	// A thread in a raw wait keeps its processor: leave one for the runtime.
	runtime.GOMAXPROCS(threads + 1)
	failed := make(chan error, threads)
	for _, w := range workers {
		go func() {
			runtime.LockOSThread()
			failed <- w.run()
		}()
	}
	return <-failed
}

func (w *worker) run() error {
	for {
		events, err := w.set.Wait(-1)
		if err != nil {
			return err
		}
		for i := range events {
			if events[i].FD == w.listener {
				if err := w.accept(); err != nil {
					return err
				}
				continue
			}
			if e := w.ends[events[i].FD]; e != nil {
				if !w.serve(e, events[i].Ended) {
					w.drop(e)
				}
			}
		}
		for _, fd := range w.dead {
			poll.Close(fd)
		}
		w.dead = w.dead[:0]
	}
}

func (w *worker) accept() error {
	for {
		fd, ok, err := poll.Accept(w.listener)
		if err != nil || !ok {
			return err
		}
		up, err := poll.Dial(w.upstream)
		if err != nil {
			return err
		}
		a, b := &end{fd: fd}, &end{fd: up}
		a.peer, b.peer = b, a
		for _, e := range []*end{a, b} {
			w.ends[e.fd] = e
			if err := w.set.AddConn(e.fd); err != nil {
				return err
			}
		}
	}
}

// serve acts on an event of e: first what it kept its peer waiting for, then what it has to say. It reports whether the
// pair lives.
func (w *worker) serve(e *end, ended bool) bool {
	if len(e.unsent) > 0 && !w.move(e.peer, e, true) {
		return false
	}
	return w.move(e, e.peer, ended)
}

// move brings bytes from one end to the other until a write would block or the socket is empty: a short read says so,
// unless toEnd asks for more.
func (w *worker) move(from, to *end, toEnd bool) bool {
	for {
		if len(to.unsent) > 0 {
			n, _, err := poll.Write(to.fd, to.unsent)
			if err != nil {
				return false
			}
			if to.unsent = to.unsent[:copy(to.unsent, to.unsent[n:])]; len(to.unsent) > 0 {
				return true
			}
		}
		n, again, err := poll.Read(from.fd, w.receive)
		if again {
			return true
		}
		if n == 0 || err != nil {
			return false
		}
		sent, _, err := poll.Write(to.fd, w.receive[:n])
		if err != nil {
			return false
		}
		to.unsent = append(to.unsent, w.receive[sent:n]...)
		if n < len(w.receive) && !toEnd && len(to.unsent) == 0 {
			return true
		}
	}
}

func (w *worker) drop(e *end) {
	for _, x := range []*end{e, e.peer} {
		delete(w.ends, x.fd)
		w.dead = append(w.dead, x.fd)
	}
}
