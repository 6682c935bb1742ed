// SPDX-License-Identifier: Apache-2.0

// Package resolve keeps names looked up: whoever watches a name is told its addresses again and again, from a bounded
// number of goroutines in the background. Nobody ever waits for a look-up. It knows no clusters, and no TTLs: the
// system's resolver does not tell them.
package resolve

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// parallel bounds the look-ups that run at a time; those that are due beyond it wait in line.
	parallel = 8
	// patience bounds one look-up.
	patience = 10 * time.Second
	// firstRetry is how soon a failed look-up is repeated; from then on twice as long each time, up to the name's rate.
	firstRetry = time.Second
	// jitter is the share by which a refresh may be late, so that many names do not stay in step.
	jitter = 0.1
)

// Lookup finds the addresses of a name. network is "ip", "ip4" or "ip6".
type Lookup func(ctx context.Context, network, name string) ([]netip.Addr, error)

// System is the Lookup of the machine's own settings.
func System() Lookup { return (&net.Resolver{PreferGo: true}).LookupNetIP }

// Told is called with what a look-up found. If it failed, err is set and addrs are the last good answer, nil if there
// was none. addrs are shared: do not change. Calls for one name never overlap.
type Told func(addrs []netip.Addr, err error)

// Resolver looks names up for those who watch them. Close ends it.
type Resolver struct {
	// Immutable.
	lookup Lookup
	ctx    context.Context
	cancel context.CancelFunc

	running sync.WaitGroup

	// Guarded by mu.
	mu      sync.Mutex
	closed  bool
	names   map[key]*name
	busy    int
	waiting []*name
	news    chan struct{} // closed, and made anew, when somebody has been told something
}

type key struct{ network, name string }

// name is one name that is watched. All of it is guarded by Resolver.mu.
type name struct {
	key
	watches map[*watch]struct{}
	timer   *time.Timer // of the next look-up
	queued  bool        // waiting for its turn
	looking bool
	last    []netip.Addr
	fails   int // in a row
}

type watch struct {
	every  time.Duration
	told   Told
	heard  bool // something is known that it will be told
	served bool // it has been told something
}

// New returns a resolver that asks lookup. It starts nothing before the first Watch.
func New(lookup Lookup) *Resolver {
	r := &Resolver{lookup: lookup, names: map[key]*name{}, news: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Watch has a name looked up at once and then at least every so often, and told what is found until stop is called; a
// call that has begun may still end after that. Watches of the same name share its look-ups. told must not call Close.
func (r *Resolver) Watch(network, host string, every time.Duration, told Told) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := key{network, host}
	n := r.names[k]
	if n == nil {
		n = &name{key: k, watches: map[*watch]struct{}{}}
		r.names[k] = n
	}
	w := &watch{every: max(every, time.Millisecond), told: told}
	n.watches[w] = struct{}{}
	r.due(n)
	return func() { r.unwatch(n, w) }
}

func (r *Resolver) unwatch(n *name, w *watch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(n.watches, w)
	if len(n.watches) > 0 {
		return
	}
	if n.timer != nil {
		n.timer.Stop()
	}
	if r.names[n.key] == n {
		delete(r.names, n.key)
	}
}

// due puts n in line for a look-up. The caller holds mu.
func (r *Resolver) due(n *name) {
	if r.closed || n.queued || n.looking {
		return
	}
	if n.timer != nil {
		n.timer.Stop()
	}
	n.queued = true
	r.waiting = append(r.waiting, n)
	r.next()
}

// next starts look-ups for those in line, as far as there is room. The caller holds mu.
func (r *Resolver) next() {
	for r.busy < parallel && len(r.waiting) > 0 {
		n := r.waiting[0]
		r.waiting = r.waiting[1:]
		n.queued = false
		if len(n.watches) == 0 {
			continue
		}
		n.looking = true
		r.busy++
		r.running.Go(func() { r.look(n) })
	}
}

// look does one look-up and tells of it.
func (r *Resolver) look(n *name) {
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	addrs, err := r.lookup(ctx, n.network, n.name)
	cancel()
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no addresses", Name: n.name, IsNotFound: true}
	}

	r.mu.Lock()
	r.busy--
	if r.closed {
		r.mu.Unlock()
		return
	}
	if err == nil {
		n.last, n.fails = addrs, 0
	} else {
		n.fails++
	}
	last := n.last
	hearers := make([]*watch, 0, len(n.watches))
	for w := range n.watches {
		w.heard = true
		hearers = append(hearers, w)
	}
	r.next()
	r.mu.Unlock()

	for _, w := range hearers {
		w.told(last, err)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range hearers {
		w.served = true
	}
	close(r.news)
	r.news = make(chan struct{})
	n.looking = false
	if r.closed || len(n.watches) == 0 {
		return
	}
	for w := range n.watches {
		if !w.heard { // it came meanwhile
			r.due(n)
			return
		}
	}
	n.timer = time.AfterFunc(n.pause(), func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.due(n)
	})
}

// pause is the time until the next look-up.
func (n *name) pause() time.Duration {
	var every time.Duration
	for w := range n.watches {
		if every == 0 || w.every < every {
			every = w.every
		}
	}
	if n.fails > 0 {
		every = min(every, firstRetry<<min(n.fails-1, 16))
	}
	return every + time.Duration(rand.Float64()*jitter*float64(every))
}

// Await waits until whoever watches a name has been told something of it, good or bad, and reports whether that came about
// within limit.
func (r *Resolver) Await(limit time.Duration) bool {
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		r.mu.Lock()
		pending, news := r.pending(), r.news
		r.mu.Unlock()
		if !pending {
			return true
		}
		select {
		case <-news:
		case <-late.C:
			return false
		case <-r.ctx.Done():
			return false
		}
	}
}

// pending reports whether anybody waits for a first answer. The caller holds mu.
func (r *Resolver) pending() bool {
	for _, n := range r.names {
		for w := range n.watches {
			if !w.served {
				return true
			}
		}
	}
	return false
}

// Close ends all watches and waits for the look-ups that run.
func (r *Resolver) Close() {
	r.mu.Lock()
	r.closed = true
	for _, n := range r.names {
		if n.timer != nil {
			n.timer.Stop()
		}
	}
	r.names, r.waiting = map[key]*name{}, nil
	r.mu.Unlock()
	r.cancel()
	r.running.Wait()
}
