// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"
)

const (
	askEvery   = 20 * time.Millisecond
	startLimit = 10 * time.Second
)

// client does not reuse connections: a worker that was asked once must not keep the bench's connection for ever.
var client = &http.Client{
	Timeout:   5 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true},
}

// Get returns the body, up to 4 MiB, of an answer with status 200.
func Get(ctx context.Context, addr netip.AddrPort, path string) ([]byte, error) {
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

// AwaitAnswer waits until this child, which was just started, answers at addr, for ten seconds at most.
func (c *Child) AwaitAnswer(ctx context.Context, addr netip.AddrPort, path string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, errors.New("it did not answer in time"))
	defer cancel()
	for {
		_, err := Get(ctx, addr, path)
		if err == nil {
			return nil
		}
		if end := c.Ended(); end != nil {
			return end
		}
		if Pause(ctx, askEvery) != nil {
			return fmt.Errorf("start %s on %s: %w (%w): %s", c.name, addr, context.Cause(ctx), err, c.errs)
		}
	}
}

// Pause waits for d, or until ctx is done, which it returns the cause of.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
