// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/umbra-mesh/umbra/internal/dataplane/listener"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

// listeners opens and closes the sockets that the configuration asks for. It implements build.Listeners.
type listeners struct {
	server  *proxy.Server
	workers []*loop.Worker
	ports   map[uint32]uint32 // Gateway port -> port served, for messages
	logger  *slog.Logger

	mu   sync.Mutex
	open map[string]*open         // by listener name
	past [len(acceptStats)]uint64 // what closed sockets counted
	wg   sync.WaitGroup
}

type open struct {
	addr   netip.AddrPort // as configured
	socket *listener.Listener
	front  *proxy.Listener
}

func newListeners(s *proxy.Server, workers []*loop.Worker, ports map[uint32]uint32, logger *slog.Logger) *listeners {
	return &listeners{server: s, workers: workers, ports: ports, logger: logger, open: map[string]*open{}}
}

// acceptStats is what became of connections before they reached a worker.
var acceptStats = [...]struct {
	name, help string
	value      func(*listener.Stats) uint64
}{
	{"accepted", "Connections handed to a worker.", func(s *listener.Stats) uint64 { return s.Accepted.Load() }},
	{"refused", "Connections closed at once, over the limit.", func(s *listener.Stats) uint64 { return s.Refused.Load() }},
	{"starved", "Times accepting waited for descriptors or memory.", func(s *listener.Stats) uint64 { return s.Starved.Load() }},
	{"failed", "Connections that died before they were accepted.", func(s *listener.Stats) uint64 { return s.Failed.Load() }},
}

func (l *listeners) register(r *prometheus.Registry) {
	for i, c := range acceptStats {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "umbra_listener_" + c.name + "_total", Help: c.help,
		}, func() float64 {
			l.mu.Lock()
			defer l.mu.Unlock()
			sum := l.past[i]
			for _, o := range l.open {
				sum += c.value(&o.socket.Stats)
			}
			return float64(sum)
		}))
	}
}

// Set implements build.Listeners.
func (l *listeners) Set(cfg proxy.ListenerConfig) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.open[cfg.Name]; o != nil && o.addr == cfg.Addr {
		o.front.Update(cfg)
		return nil
	}
	socket, err := listener.Listen(cfg.Addr)
	if err != nil {
		cause := errors.Unwrap(err) // err names the address too
		return fmt.Errorf("listen on %s%s: %w", cfg.Addr, l.gatewayPort(cfg.Addr.Port()), cause)
	}
	socket.Logger = l.logger
	old := l.open[cfg.Name]
	o := &open{addr: cfg.Addr, socket: socket, front: l.server.NewListener(cfg)}
	l.open[cfg.Name] = o
	l.wg.Go(func() {
		socket.Serve(l.workers, func(w *loop.Worker, fd int, peer, local netip.AddrPort) {
			l.server.Accept(w, o.front, fd, peer, local)
		})
	})
	l.close(old)
	return nil
}

// gatewayPort names the port that the Gateway resource asks for, when another one is served in its place.
func (l *listeners) gatewayPort(served uint16) string {
	for port, to := range l.ports {
		if to == uint32(served) && port != to {
			return fmt.Sprintf(" (for Gateway port %d, by --port %d=%d)", port, port, to)
		}
	}
	return fmt.Sprintf(" (Gateway port %d; --port %d=PORT serves it elsewhere)", served, served)
}

// Remove implements build.Listeners: accepted connections end after the request they carry.
func (l *listeners) Remove(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.open[name]
	delete(l.open, name)
	l.close(o)
}

func (l *listeners) close(o *open) {
	if o != nil {
		o.socket.Close()
		for i, c := range acceptStats {
			l.past[i] += c.value(&o.socket.Stats)
		}
		o.front.Retire(l.server)
	}
}

// addrs are the addresses listened on.
func (l *listeners) addrs() []netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	var as []netip.AddrPort
	for _, o := range l.open {
		as = append(as, o.socket.Addr())
	}
	slices.SortFunc(as, netip.AddrPort.Compare)
	return as
}

// stop takes what is in the accept queues and closes all sockets.
func (l *listeners) stop() {
	l.mu.Lock()
	for _, o := range l.open {
		o.socket.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
}
