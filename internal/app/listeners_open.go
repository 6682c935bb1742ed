// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/listener"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

// This file is one socket of the configuration, and how one takes the place of another.

// handshakes is how long a socket that was replaced takes connections whose handshakes had begun: a SYN-ACK that is
// lost is sent again after a second, and after two more.
const handshakes = 4 * time.Second

// open is a socket and where its connections go, guarded by listeners.mu; the second part by mu too, which is all that
// acceptors have.
type open struct {
	addr    netip.AddrPort // as configured
	prefix  string         // stat_prefix
	socket  *listener.Listener
	sockets atomic.Int64 // connections whose sockets are not closed
	closed  bool

	mu     sync.Mutex
	front  *proxy.Listener // what is new goes there
	accept listener.Accept
	into   *open // replaced this one and has its connections; nil: nothing did
}

// enter counts a connection and says who takes it over. For the acceptor.
func (o *open) enter() listener.Accept {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.into != nil {
		return o.into.enter()
	}
	o.front.Conns.Add(1)
	o.sockets.Add(1)
	return o.accept
}

// last is what has o's connections, o itself or what replaced it.
func (o *open) last() *open {
	for o.into != nil {
		o = o.into
	}
	return o
}

// at is a socket for cfg: one of those that go, if it is at the very address, or a new one.
func (l *listeners) at(cfg proxy.ListenerConfig, gone map[string]*open) (*open, error) {
	var inTheWay []*listener.Listener
	for _, o := range gone {
		switch {
		case o.addr == cfg.Addr:
			l.turn(o, cfg)
			return o, nil
		case listener.Overlap(o.addr, cfg.Addr):
			inTheWay = append(inTheWay, o.socket)
		}
	}
	for o := range l.fade {
		if listener.Overlap(o.addr, cfg.Addr) {
			inTheWay = append(inTheWay, o.socket)
		}
	}
	socket, err := l.listen(cfg.Addr, inTheWay)
	if err != nil {
		cause := errors.Unwrap(err) // err names the address too
		return nil, fmt.Errorf("listen on %s%s: %w", cfg.Addr, l.gatewayPort(cfg.Addr.Port()), cause)
	}
	o := &open{addr: cfg.Addr, socket: socket}
	l.lead(o, cfg)
	socket.Logger, socket.Paused, socket.Highest = l.logger, &l.paused, highestDescriptor()
	socket.Limit, socket.Own, socket.OwnLimit = l.limits.Connections, &o.sockets, l.limits.ListenerConnections
	if l.live {
		l.serve(o)
	}
	return o, nil
}

// lead has what comes in at a socket go to a new front.
func (l *listeners) lead(o *open, cfg proxy.ListenerConfig) {
	front := l.server.NewListener(cfg)
	front.Sockets = &o.sockets
	o.mu.Lock()
	defer o.mu.Unlock()
	o.prefix, o.front = cfg.StatPrefix, front
	o.accept = func(w *loop.Worker, fd int, peer, local netip.AddrPort) {
		l.server.Accept(w, front, fd, peer, local)
	}
}

// turn changes the settings of a socket that stays. What counts under another name from now on is another front, as in
// Envoy it is another filter chain; the former one drains.
func (l *listeners) turn(o *open, cfg proxy.ListenerConfig) {
	if o.prefix == cfg.StatPrefix {
		o.front.Update(cfg)
		return
	}
	old := o.front
	l.lead(o, cfg)
	l.retire(o.addr, old)
}

// replace ends a socket in whose place another one is. If that is at its port, what still comes in here goes there.
func (l *listeners) replace(old, o *open) {
	if !l.live || !listener.Overlap(old.addr, o.addr) || old.socket.Fade() != nil {
		l.close(old)
		return
	}
	front := old.front
	old.mu.Lock()
	old.into = o
	old.mu.Unlock()
	l.retire(old.addr, front)
	l.fade[old] = struct{}{}
	l.retired.Go(func() {
		late := time.NewTimer(handshakes)
		defer late.Stop()
		select {
		case <-late.C:
		case <-l.ending:
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.closeSocket(old)
	})
}

// listen takes the socket that a predecessor has for the address, or opens one, if need be in place of others.
func (l *listeners) listen(addr netip.AddrPort, others []*listener.Listener) (*listener.Listener, error) {
	if f := l.from.Use(socketName(addr)); f != nil {
		return listener.Inherit(addr, f)
	}
	if len(others) > 0 {
		return listener.Replace(addr, others)
	}
	return listener.Listen(addr)
}
