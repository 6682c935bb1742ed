// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/umbra-mesh/umbra/internal/dataplane/listener"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/takeover"
)

// listeners opens and closes the sockets that the configuration asks for. It implements build.Listeners.
type listeners struct {
	server  *proxy.Server
	workers []*loop.Worker
	ports   map[uint32]uint32 // Gateway port -> port served, for messages
	logger  *slog.Logger

	limits Limits
	paused atomic.Bool

	// What is left of listeners that are gone.
	drain    time.Duration // how long their connections have to end
	draining atomic.Int64  // listeners that have connections left
	cut      atomic.Uint64 // connections that had to be cut
	retired  sync.WaitGroup
	ending   chan struct{} // closed when the process ends
	ended    sync.Once

	mu   sync.Mutex
	past [len(acceptStats)]uint64 // what closed sockets counted
	open map[string]*open         // by listener name
	live bool                     // connections are accepted
	from *takeover.Heritage       // where sockets come from; nil: all are opened here
	wg   sync.WaitGroup
}

type open struct {
	addr   netip.AddrPort // as configured
	socket *listener.Listener
	front  *proxy.Listener
}

func newListeners(s *proxy.Server, workers []*loop.Worker, opts *Options) *listeners {
	return &listeners{
		server: s, workers: workers, ports: opts.Ports, logger: opts.Logger, limits: opts.Limits, open: map[string]*open{},
		drain: opts.DrainTimeout, ending: make(chan struct{}),
	}
}

// acceptStats is what became of connections before they reached a worker.
var acceptStats = [...]struct {
	name, help string
	value      func(*listener.Stats) uint64
}{
	{"umbra_listener_accepted_total", "Connections handed to a worker.",
		func(s *listener.Stats) uint64 { return s.Accepted.Load() }},
	{"umbra_listener_refused_total", "Connections closed at once, over a limit.",
		func(s *listener.Stats) uint64 { return s.Refused.Load() }},
	{"envoy_listener_downstream_global_cx_overflow", "Connections closed at once, over --max-connections.",
		func(s *listener.Stats) uint64 { return s.OverAll.Load() }},
	{"envoy_listener_downstream_cx_overflow", "Connections closed at once, over --max-listener-connections.",
		func(s *listener.Stats) uint64 { return s.OverOwn.Load() }},
	{"umbra_listener_starved_total", "Times accepting waited: few descriptors or little memory were left, or it was paused.",
		func(s *listener.Stats) uint64 { return s.Starved.Load() }},
	{"umbra_listener_failed_total", "Connections that died before they were accepted.",
		func(s *listener.Stats) uint64 { return s.Failed.Load() }},
}

func (l *listeners) register(r *prometheus.Registry) {
	for i, c := range acceptStats {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: c.name, Help: c.help,
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
	r.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "envoy_listener_manager_total_listeners_draining",
			Help: "Listeners that are gone and have connections left.",
		}, func() float64 { return float64(l.draining.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "umbra_listener_drain_cut_total",
			Help: "Connections that were cut because their listener had been gone for --drain-timeout.",
		}, func() float64 { return float64(l.cut.Load()) }),
	)
}

// Set implements build.Listeners.
func (l *listeners) Set(cfg proxy.ListenerConfig) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.open[cfg.Name]; o != nil && o.addr == cfg.Addr {
		o.front.Update(cfg)
		return nil
	}
	socket, err := l.listen(cfg.Addr)
	if err != nil {
		cause := errors.Unwrap(err) // err names the address too
		return fmt.Errorf("listen on %s%s: %w", cfg.Addr, l.gatewayPort(cfg.Addr.Port()), cause)
	}
	old := l.open[cfg.Name]
	o := &open{addr: cfg.Addr, socket: socket, front: l.server.NewListener(cfg)}
	socket.Logger, socket.Paused, socket.Highest = l.logger, &l.paused, highestDescriptor()
	socket.Limit, socket.Own, socket.OwnLimit = l.limits.Connections, &o.front.Conns, l.limits.ListenerConnections
	l.open[cfg.Name] = o
	if l.live {
		l.serve(o)
	}
	l.close(old)
	return nil
}

// listen takes the socket that a predecessor has for the address, or opens one.
func (l *listeners) listen(addr netip.AddrPort) (*listener.Listener, error) {
	if f := l.from.Use(socketName(addr)); f != nil {
		return listener.Inherit(addr, f)
	}
	return listener.Listen(addr)
}

// begin accepts connections, on all sockets that are open and those that follow. What comes before waits in the queues.
func (l *listeners) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live, l.from = true, nil
	for _, o := range l.open {
		l.serve(o)
	}
}

func (l *listeners) serve(o *open) {
	l.wg.Go(func() {
		o.socket.Serve(l.workers, func(w *loop.Worker, fd int, peer, local netip.AddrPort) {
			l.server.Accept(w, o.front, fd, peer, local)
		})
	})
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

// Remove implements build.Listeners: accepted connections end after the request they carry, at the latest with the drain.
func (l *listeners) Remove(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.open[name]
	delete(l.open, name)
	l.close(o)
}

func (l *listeners) close(o *open) {
	if o == nil {
		return
	}
	o.socket.Close()
	for i, c := range acceptStats {
		l.past[i] += c.value(&o.socket.Stats)
	}
	o.front.Retire(l.server)
	l.draining.Add(1)
	l.retired.Go(func() { l.seeOff(o) })
}

// seeOff waits for the connections of a listener that is gone. Those that outstay the drain are cut, tunnels among them,
// as Envoy does after --drain-time-s.
func (l *listeners) seeOff(o *open) {
	defer l.draining.Add(-1)
	defer o.front.Release()
	late := time.NewTimer(l.drain)
	defer late.Stop()
	select {
	case <-o.front.Ended():
		return
	case <-l.ending:
		return
	case <-late.C:
	}
	left := o.front.Conns.Load()
	l.cut.Add(uint64(max(left, 0)))
	l.logger.Warn("drain timeout of a listener that is gone: what is left is cut",
		"address", o.addr, "after", l.drain, "connections", left)
	o.front.Cut(l.server)
	select {
	case <-o.front.Ended():
	case <-l.ending:
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

// sockets are what a successor can have.
func (l *listeners) sockets() []takeover.Socket {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []takeover.Socket
	for _, o := range l.open {
		list = append(list, takeover.Socket{Name: socketName(o.addr), Conn: o.socket})
	}
	return list
}

// leave stops accepting on the sockets that a successor has.
func (l *listeners) leave(taken map[string]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.open {
		if taken[socketName(o.addr)] {
			o.socket.Leave()
		}
	}
}

// socketName is what a traffic socket is called between a process and its successor.
func socketName(addr netip.AddrPort) string { return "traffic " + addr.String() }

// stop takes what is in the accept queues and closes all sockets.
func (l *listeners) stop() {
	l.mu.Lock()
	for _, o := range l.open {
		o.socket.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
}

// end gives up what is left of listeners that are gone.
func (l *listeners) end() {
	l.ended.Do(func() { close(l.ending) })
	l.retired.Wait()
}
