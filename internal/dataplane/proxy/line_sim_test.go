// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/format"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// simRig is a rig of one worker whose network is in memory, with a clock of its own: what arrives at one instant is
// served in one turn.
type simRig struct {
	*rig
	sim *loop.Sim
	w   *loop.Worker
	far *simOrigin
}

// step is the latency of every link: what is sent together arrives together.
const step = time.Millisecond

var simOriginAddr = netip.MustParseAddrPort("10.0.0.1:80")

// newSimRig has a cluster "a" with one host and at most so many connections, and a route there for everything.
func newSimRig(t *testing.T, connections uint32, change func(*proxy.Action)) *simRig {
	t.Helper()
	s := &simRig{sim: loop.NewSim(time.Now())}
	s.sim.Fail = func(what string) { t.Error(what) }
	r := &rig{t: t, registry: stats.NewRegistry(1), routes: &proxy.RouteSlot{Name: "test"}}
	s.rig = r
	s.w = s.sim.NewWorker(loop.Config{Publish: func() { r.registry.Publish(0) }}, 1)
	r.workers = []*loop.Worker{s.w}
	r.clusters = upstream.NewDirectory(r.workers, r.registry)
	r.mirrors = mirror.NewEngine(mirror.Config{LocalIP: "192.0.2.1", Registry: r.registry})
	r.logFile = filepath.Join(t.TempDir(), "access.log")
	var err error
	if r.log, err = format.Open(r.logFile, 1); err != nil {
		t.Fatal(err)
	}
	r.server = proxy.NewServer(proxy.Config{
		Workers: r.workers, Mirror: r.mirrors, Registry: r.registry, LocalIP: "192.0.2.1", Log: r.log,
	})
	r.config = proxy.ListenerConfig{
		Name: "test", StatPrefix: "test", Routes: r.routes, ServerName: "istio-envoy", UseRemoteAddress: true,
		IdleTimeout: time.Minute, HeadTimeout: 10 * time.Second, StreamIdle: 5 * time.Minute,
	}
	r.listener = r.server.NewListener(r.config)
	s.far = &simOrigin{}
	s.sim.Listen(simOriginAddr, s.far.arrive)
	cfg := unlimited
	cfg.Name, cfg.MaxConnections = "a", connections
	cfg.Static = []upstream.Endpoint{{Addr: simOriginAddr}}
	r.clusters.Set(cfg)
	a := r.to("a")
	if change != nil {
		change(a)
	}
	r.serve(a)
	t.Cleanup(func() {
		s.sim.Run(s.sim.Now() + time.Hour)
		for _, left := range s.sim.Left() {
			t.Error(left)
		}
		r.clusters.Close()
		s.sim.End()
		r.log.Close()
	})
	return s
}

// at runs fn at an instant.
func (s *simRig) at(when time.Duration, fn func()) { s.sim.After(when-s.sim.Now(), fn) }

// simClient is a client's connection.
type simClient struct {
	p   *loop.Peer
	got []byte
	at  time.Duration // when the last byte came
}

// dial connects a client, which is accepted at once.
func (s *simRig) dial() *simClient {
	c := &simClient{}
	p, fd := s.sim.Connect(s.w, loop.Link{Latency: step})
	c.p = p
	p.News = func() {
		if b := p.Arrived(); len(b) > 0 {
			c.got, c.at = append(c.got, b...), s.sim.Now()
			p.Take(len(b))
		}
		if p.Ended() {
			p.Close()
		}
	}
	s.listener.Conns.Add(1)
	s.w.Post(func() {
		peer, local := netip.MustParseAddrPort("198.51.100.1:4000"), netip.MustParseAddrPort("192.0.2.1:80")
		s.server.Accept(s.w, s.listener, fd, peer, local)
	})
	return c
}

func (c *simClient) send(paths ...string) {
	for _, path := range paths {
		c.p.Send([]byte(get(path)))
	}
}

// simOrigin takes requests and answers when it is told to.
type simOrigin struct {
	asked []string     // the paths, in order
	conns []*loop.Peer // by the request it took: who is to be answered
	dials int
}

func (o *simOrigin) arrive(p *loop.Peer) loop.Arrival {
	o.dials++
	var head []byte
	p.News = func() {
		if head = append(head, p.Arrived()...); bytes.HasSuffix(head, []byte("\r\n\r\n")) {
			_, rest, _ := strings.Cut(string(head), " ")
			path, _, _ := strings.Cut(rest, " ")
			o.asked, o.conns = append(o.asked, path), append(o.conns, p)
			head = head[:0]
		}
		p.Take(len(p.Arrived()))
		if p.Ended() {
			p.Close()
		}
	}
	return loop.Arrival{Link: loop.Link{Latency: step}}
}

// answer answers the n-th request, and ends its connection if it is the last on it.
func (o *simOrigin) answer(n int, last bool) {
	a := empty200
	if last {
		a = strings.Replace(a, "\r\n", "\r\nConnection: close\r\n", 1)
	}
	o.conns[n].Send([]byte(a))
	if last {
		o.conns[n].CloseWrite()
	}
}
