// SPDX-License-Identifier: Apache-2.0

// Package model_test runs the real proxy, mirror engine and clusters against scripted clients, upstreams and mirrors, in
// memory and in a time of its own, by random schedules. A seed decides everything; what must hold whatever happens is
// in check_test.go. It does not test sockets, configuration or speed.
package model_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

var (
	runFor  = flag.Duration("for", 0, "run seeds for so long, instead of a fixed number")
	hang    = flag.Duration("hang", 0, "panic when a seed takes longer than that: a turn may never end; 0: wait")
	oneSeed = flag.Uint64("seed", 0, "run this seed alone, and tell all that happens")
)

func TestModel(t *testing.T) {
	seen := map[string]int64{}
	if *oneSeed != 0 {
		t.Logf("seed %d", *oneSeed)
		compare(t, *oneSeed, true, seen)
		return
	}
	limit := *hang
	if limit == 0 {
		limit = math.MaxInt64
	}
	began := time.Now()
	n := uint64(0)
	for n == 0 || *runFor == 0 && n < seeds || time.Since(began) < *runFor {
		n++
		seed := n
		if *runFor > 0 {
			seed = rand.Uint64()
		}
		patience := time.AfterFunc(limit, func() { panic(fmt.Sprintf("seed %d does not end", seed)) })
		compare(t, seed, false, seen)
		patience.Stop()
		if t.Failed() {
			return
		}
	}
	t.Logf("%d seeds in %v: %v", n, time.Since(began).Round(time.Millisecond), seen)
	for _, what := range happenings {
		if seen[what] == 0 && (n >= 4*enough || n >= enough && *runFor == 0) {
			t.Errorf("the schedules are too tame: never %s", what)
		}
	}
}

// enough is how many of the first seeds show all happenings; random ones do for sure in four times as many.
const enough = 100

// happenings must come about among the seeds: what never happens is not tested.
var happenings = []string{
	"answered", "answered here", "broken", "retried", "tunnel", "waited", "delivered", "connect", "overflow", "buffer",
	"memory", "timeout", "reset", "stale", "protocol", "partial", "refused", "config", "overload", "shutdown",
	"reloaded", "ejected for production", "ejected for copies", "panic",
}

// compare runs a seed with mirrors and without them: production must not notice. Some run with another calendar too.
func compare(t *testing.T, seed uint64, verbose bool, seen map[string]int64) {
	t.Helper()
	with, shared := run(t, seed, true, verbose, seen)
	if !t.Failed() && (shared || seed%8 == 0) {
		compareCalendars(t, seed)
	}
	if t.Failed() || shared {
		return // production may notice copies that go where it goes
	}
	without, _ := run(t, seed, false, false, nil)
	if t.Failed() {
		return
	}
	for i, p := range with {
		if p != without[i] {
			t.Errorf("seed %d: production depends on mirrors\nwith:    %s\nwithout: %s", seed, p, without[i])
			return
		}
	}
}

func TestTheSameSeedGivesTheSameRun(t *testing.T) {
	for seed := uint64(0); seed < max(seeds/20, 3); seed++ {
		var events [2][]string
		for i := range events {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(t, seed, true, true)
				m.run()
				events[i] = m.events
			})
		}
		if d := cmp.Diff(events[0], events[1]); d != "" {
			t.Fatalf("seed %d: two runs differ\n%s", seed, d)
		}
	}
}

// A client goes at each byte of a mirrored upload, in each of the ways to go: by length and in chunks.
func TestAClientMayGoAtEachByteOfAMirroredUpload(t *testing.T) {
	calm := uint64(1)
	for !newModel(t, calm, true, false).calm {
		calm++
	}
	for _, chunked := range []bool{false, true} {
		for at, all := 0, 1; at < all; at++ {
			m := newModel(t, calm, true, false)
			c := m.upload(chunked)
			all = len(c.plans[0].bytes)
			c.rude, c.abort, c.how = true, at, at%4
			if m.run(); t.Failed() {
				t.Fatalf("it went after %d of %d bytes, chunked %v", at, all, chunked)
			}
		}
	}
}

// upload makes one client with one upload all there is.
func (m *model) upload(inChunks bool) *client {
	m.clients, m.order, m.plans = nil, nil, map[string]*plan{}
	c := m.newClient(0)
	m.clients = append(m.clients, c)
	p := c.plans[0]
	*p = plan{id: p.id, method: "POST", path: "/good", size: 70, key: p.key, chunked: inChunks, client: c}
	head := "POST /good HTTP/1.1\r\nHost: shop.example\r\nX-Id: " + p.id + "\r\n"
	b := body(p.key, p.size)
	if inChunks {
		head += "Transfer-Encoding: chunked\r\n\r\n"
		b = chunked(b, 30, c.r, "")
	} else {
		head += "Content-Length: 70\r\n\r\n"
	}
	p.bytes, p.headLen = append([]byte(head), b...), len(head)
	c.plans, m.order = c.plans[:1], m.order[:1]
	return c
}

// run is one schedule; it returns the fates of the requests.
func run(t *testing.T, seed uint64, mirrored, verbose bool, seen map[string]int64) (fates []string, shared bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newModel(t, seed, mirrored, true)
		m.verbose = verbose
		m.run()
		for _, p := range m.order {
			fates = append(fates, p.fate())
		}
		if seen != nil {
			m.tally(seen)
		}
		shared = m.shared
	})
	return fates, shared
}

// tally adds up what happened.
func (m *model) tally(seen map[string]int64) {
	for _, p := range m.order {
		tries := 0
		for _, a := range p.attempts {
			if !a.copy {
				tries++
			}
		}
		switch {
		case p.whole && p.up != "":
			seen["answered"]++
		case p.whole:
			seen["answered here"]++
		case p.broken:
			seen["broken"]++
		}
		if tries > 1 {
			seen["retried"]++
		}
		if p.tunnel != nil && p.whole {
			seen["tunnel"]++
		}
	}
	seen["waited"] += m.waited
	seen["reloaded"] += int64(m.waves - 1)
	m.court.tally(seen)
	for _, s := range m.counters {
		c := s.Counts()
		seen["delivered"] += c.Delivered
		for cause, n := range c.Dropped {
			seen[cause] += n
		}
	}
}

// model is one run.
type model struct {
	t        *testing.T
	seed     uint64
	r        *rand.Rand
	mirrored bool
	bubbled  bool   // what goes on beside the loops does, in the Sim's time
	shared   bool   // copies go to a cluster of production's too
	focus    string // the path that most requests have; "": none
	calm     bool   // all far ends are well, and no limit is near
	verbose  bool
	failed   bool

	sim      *loop.Sim
	workers  []*loop.Worker
	registry *stats.Registry
	clusters *upstream.Directory
	engine   *mirror.Engine
	server   *proxy.Server
	listener *proxy.Listener
	routes   *proxy.RouteSlot

	retries  int // of the routes' policy
	limits   mirror.Limits
	clients  []*client
	plans    map[string]*plan
	order    []*plan
	mirrors  []string
	counters []*mirror.Stats
	targets  []*mirror.Target

	gate      *gate
	court     *court
	wave      *wave // where the route leads
	waves     int   // there were
	reloading bool
	origins   []*origin
	endpoints map[string][]upstream.Endpoint // all there may be, by cluster
	zones     map[string]*zone               // by name; not changed while look-ups run
	most      int                            // connections to the cluster with a line
	single    bool                           // that has one host with one connection for each worker
	moved     bool                           // it has had other hosts
	turn      int
	waited    int64 // times that a request got into a line

	ending  bool // the listener is, or all
	refused bool // requests were, for a while
	drained bool // begun
	left    int  // workers that have not ended draining
	shut    bool // no client is accepted any more
	retired bool // the listener is

	events []string // the last ones
	first  int      // of events, as a ring
}

// keepEvents is how many of the last events a failure shows.
const keepEvents = 200

func (m *model) note(format string, args ...any) {
	e := fmt.Sprintf("%12v  ", m.sim.Now()) + fmt.Sprintf(format, args...)
	if m.verbose {
		m.t.Log(e)
	}
	if len(m.events) < keepEvents {
		m.events = append(m.events, e)
		return
	}
	m.events[m.first] = e
	m.first = (m.first + 1) % keepEvents
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	if m.failed {
		return
	}
	m.failed = true
	text := ""
	for i := range m.events {
		text += m.events[(m.first+i)%len(m.events)] + "\n"
	}
	m.t.Errorf("%sseed %d (mirrors %v) at %v: %s\nagain: go test ./test/model -run 'TestModel$' -seed %d -v",
		text, m.seed, m.mirrored, m.sim.Now(), fmt.Sprintf(format, args...), m.seed)
}

// span is the time in which clients come and things change.
const span = 400 * time.Millisecond

// rest is the time after which nothing may be under way any more.
const rest = 20 * time.Minute

func (m *model) run() {
	for _, c := range m.clients {
		m.sim.After(time.Duration(c.r.Int64N(int64(span))), c.connect)
	}
	if !m.calm {
		for range m.r.IntN(6) {
			m.sim.After(time.Duration(m.r.Int64N(int64(span))), m.event)
		}
	}
	for range m.r.IntN(4) {
		m.sim.After(m.within(span), m.reload)
	}
	if m.r.IntN(4) == 0 {
		m.sim.After(time.Duration(m.r.Int64N(int64(span))), m.finale)
	}
	m.sim.After(rest-1, func() {}) // time passes for the clusters too
	m.sim.Run(rest)
	if !m.failed {
		m.checkEnd()
	}
	m.clusters.Close()
	m.sim.End()
}
