// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/process"
	"github.com/umbra-mesh/umbra/bench/internal/upstream"
)

// How the bench asks for counts while copies still arrive.
const (
	askEvery    = 20 * time.Millisecond
	settleQuiet = time.Second      // without a new copy: the rest does not come
	settleLimit = 20 * time.Second // in all
)

// countsOf asks an upstream what it saw.
func countsOf(ctx context.Context, addr netip.AddrPort) (upstream.Counts, error) {
	var c upstream.Counts
	body, err := process.Get(ctx, addr, upstream.CountPath)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return c, fmt.Errorf("counts of %s: %w", addr, err)
	}
	return c, nil
}

// settle waits until the upstream has seen path that often, or nothing new comes any more, and returns what it saw.
func settle(ctx context.Context, addr netip.AddrPort, path string, want int64) (upstream.Counts, error) {
	begin := time.Now()
	last, news := int64(-1), begin
	for {
		c, err := countsOf(ctx, addr)
		if err != nil {
			return c, err
		}
		seen := c.Paths[path].Requests
		if seen != last {
			last, news = seen, time.Now()
		}
		if seen >= want || time.Since(news) > settleQuiet || time.Since(begin) > settleLimit {
			return c, nil
		}
		if err := process.Pause(ctx, askEvery); err != nil {
			return c, err
		}
	}
}
