// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/upstream"
)

// How the bench asks: for counts while copies still arrive, and for a process that has just been started.
const (
	askEvery    = 20 * time.Millisecond
	settleQuiet = time.Second      // without a new copy: the rest does not come
	settleLimit = 20 * time.Second // in all
	startLimit  = 10 * time.Second
)

// client does not reuse connections: a worker that was asked once must not keep the bench's connection for ever.
var client = &http.Client{
	Timeout:   5 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true},
}

func get(ctx context.Context, addr netip.AddrPort, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr.String()+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", req.URL, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s", req.URL, resp.Status)
	}
	return body, nil
}

// countsOf asks an upstream what it saw.
func countsOf(ctx context.Context, addr netip.AddrPort) (upstream.Counts, error) {
	var c upstream.Counts
	body, err := get(ctx, addr, upstream.CountPath)
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
		if err := pause(ctx, askEvery); err != nil {
			return c, err
		}
	}
}

// awaitAnswer waits until a process that was just started answers at addr.
func awaitAnswer(ctx context.Context, c *child, addr netip.AddrPort, path string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, errors.New("it did not answer in time"))
	defer cancel()
	for {
		_, err := get(ctx, addr, path)
		if err == nil {
			return nil
		}
		if end := c.ended(); end != nil {
			return end
		}
		if pause(ctx, askEvery) != nil {
			return fmt.Errorf("start %s on %s: %w (%w): %s", c.name, addr, context.Cause(ctx), err, c.errs)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
