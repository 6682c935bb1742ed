// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// This file is a name server. It is asked on goroutines of the clusters', so that what it says must not depend on when
// that is: it answers at once the first time, and then answerAfter each change.

const answerAfter = 5 * time.Millisecond

// mostNames bounds the look-ups that wait for news, one for each name and one for each time that its cluster goes away:
// there is a limit to those that may be under way at a time, and those that are new must not wait.
const mostNames = 3

// zone is what is known of one name.
type zone struct {
	mu    sync.Mutex
	addrs []netip.Addr  // guarded by mu
	asked bool          // guarded by mu
	due   time.Time     // guarded by mu; of the next answer, zero: there is no news
	news  chan struct{} // guarded by mu; closed when there is
}

// named turns a cluster's endpoints into a name.
func (m *model) named(cfg *upstream.Config, hosts []upstream.Endpoint) {
	name := cfg.Name + ".test"
	m.zones[name] = &zone{addrs: addrs(hosts), news: make(chan struct{})}
	cfg.Discovery, cfg.DNSRefresh = upstream.StrictDNS, time.Millisecond
	cfg.Static = []upstream.Endpoint{{Name: name, Port: hosts[0].Addr.Port()}}
}

func addrs(hosts []upstream.Endpoint) (out []netip.Addr) {
	for _, h := range hosts {
		out = append(out, h.Addr.Addr())
	}
	return out
}

// set changes what a name means. No address at all is a failure, after which clusters stay with what they know.
func (z *zone) set(addrs []netip.Addr) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addrs = addrs
	if z.due.IsZero() {
		z.due = time.Now().Add(answerAfter)
		close(z.news)
	}
}

// again has the next question answered at once.
func (z *zone) again() {
	if z != nil {
		z.mu.Lock()
		defer z.mu.Unlock()
		z.asked = false
	}
}

// lookup is a resolve.Lookup.
func (m *model) lookup(ctx context.Context, _, name string) ([]netip.Addr, error) {
	z := m.zones[name]
	if z == nil {
		return nil, fmt.Errorf("no such name: %s", name)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if !z.asked {
		z.asked = true
		return z.addrs, nil
	}
	news := z.news
	z.mu.Unlock()
	select {
	case <-news:
	case <-ctx.Done():
	}
	z.mu.Lock()
	if z.due.IsZero() { // nothing new in all that time
		return z.addrs, nil
	}
	left := time.NewTimer(time.Until(z.due))
	defer left.Stop()
	z.mu.Unlock()
	select {
	case <-left.C:
	case <-ctx.Done():
	}
	z.mu.Lock()
	z.due, z.news = time.Time{}, make(chan struct{})
	return z.addrs, ctx.Err()
}
