// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
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
	fade map[*open]struct{}       // those that were replaced, and end their handshakes from the next Settle on
	left map[*open]*open          // of these, those that serve as before until then, and what is in their place
	live bool                     // connections are accepted
	over bool                     // stop was called
	from *takeover.Heritage       // where sockets come from; nil: all are opened here
	wg   sync.WaitGroup
}

func newListeners(s *proxy.Server, workers []*loop.Worker, opts *Options) *listeners {
	return &listeners{
		server: s, workers: workers, ports: opts.Ports, logger: opts.Logger, limits: opts.Limits,
		open: map[string]*open{}, fade: map[*open]struct{}{}, left: map[*open]*open{},
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
			for o := range l.fade {
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
func (l *listeners) Set(cfg proxy.ListenerConfig) error { return l.Replace(cfg, nil) }

// Replace implements build.Listeners. No connection is refused or reset for it, where the system can do that.
func (l *listeners) Replace(cfg proxy.ListenerConfig, others []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return errors.New("the process ends")
	}
	gone := map[string]*open{}
	for _, name := range slices.Concat(others, []string{cfg.Name}) {
		if o := l.open[name]; o != nil {
			gone[name] = o
		}
	}
	o, err := l.at(cfg, gone)
	if err != nil {
		return err
	}
	for name, old := range gone {
		delete(l.open, name)
		if old != o {
			l.fade[old], l.left[old] = struct{}{}, o
		}
	}
	l.open[cfg.Name] = o
	return nil
}

// Settle implements build.Listeners. Several may have come in the place of one, which listens until all are there.
func (l *listeners) Settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for old, o := range l.left {
		delete(l.left, old)
		l.replace(old, o)
	}
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
	l.wg.Go(func() { o.socket.ServeEach(l.workers, o.enter) })
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
	if o := l.open[name]; o != nil {
		delete(l.open, name)
		l.close(o)
	}
}

// close takes what is in the accept queues of a socket and of those it replaced, and closes them.
func (l *listeners) close(o *open) {
	for f := range maps.Clone(l.fade) {
		if f.last() == o {
			l.closeSocket(f)
		}
	}
	l.closeSocket(o)
	l.retire(o.addr, o.front)
}

// closeSocket takes what is in the accept queue and closes the socket, once.
func (l *listeners) closeSocket(o *open) {
	if o.closed {
		return
	}
	o.closed = true
	delete(l.fade, o)
	o.socket.Close()
	for i, c := range acceptStats {
		l.past[i] += c.value(&o.socket.Stats)
	}
}

// retire has the connections of a front end after the requests they carry, or when the drain is over.
func (l *listeners) retire(addr netip.AddrPort, front *proxy.Listener) {
	front.Retire(l.server)
	l.draining.Add(1)
	l.retired.Go(func() { l.seeOff(addr, front) })
}

// seeOff waits for the connections of a listener that is gone. Those that outstay the drain are cut, tunnels among them,
// as Envoy does after --drain-time-s.
func (l *listeners) seeOff(addr netip.AddrPort, front *proxy.Listener) {
	defer l.draining.Add(-1)
	defer front.Release()
	late := time.NewTimer(l.drain)
	defer late.Stop()
	select {
	case <-front.Ended():
		return
	case <-l.ending:
		return
	case <-late.C:
	}
	left := front.Conns.Load()
	l.cut.Add(uint64(max(left, 0)))
	l.logger.Warn("drain timeout of a listener that is gone: what is left is cut",
		"address", addr, "after", l.drain, "connections", left)
	front.Cut(l.server)
	select {
	case <-front.Ended():
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
	l.over = true
	for o := range l.fade {
		o.socket.Close()
	}
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
