// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/umbra-mesh/umbra/internal/admin"
)

const (
	clients  = 4                     // at a time
	interval = 10 * time.Millisecond // between two pairs of requests of one client
	settle   = 10 * time.Second      // for copies under way at the end, and for what B's process has to say

	mirroredHost = "shop.example"
	twinHost     = "twin.example" // the same route without a mirror
)

// sample is one request and its answer, as the client knows them.
type sample struct {
	n       int
	twin    bool
	took    time.Duration
	problem string // other than 200 from A's workload
}

// result is all that is known of the traffic, from each end on its own.
type result struct {
	samples []sample
	mirror  admin.Mirror // as A's admin pages count
	seenA   []Seen
	seenB   []Seen
}

// traffic sends requests, each with a twin next to it that is not mirrored, and waits until all copies have ended.
func (d *demo) traffic(ctx context.Context) (*result, error) {
	d.say("\nSending requests for %s, each with a twin beside it on a route without a mirror.", d.Duration)
	client := &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: clients, DisableCompression: true}, Timeout: 10 * time.Second,
	}
	defer client.CloseIdleConnections()
	parts := make([][]sample, clients)
	var answered, number atomic.Int64
	ending, cancel := context.WithTimeout(ctx, d.Duration)
	defer cancel()
	var sending sync.WaitGroup
	for i := range clients {
		sending.Go(func() {
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for {
				select {
				case <-ending.Done():
					return
				case <-tick.C:
				}
				n := int(number.Add(1))
				for k := range 2 {
					// Which of the two goes first changes, so that neither always follows the other.
					parts[i] = append(parts[i], d.send(ctx, client, n, (n+k)%2 == 0))
					answered.Add(1)
				}
			}
		})
	}
	d.progress(ending, &answered)
	sending.Wait()
	if ctx.Err() != nil {
		return nil, errInterrupted
	}
	res := &result{}
	for _, p := range parts {
		res.samples = append(res.samples, p...)
	}
	if err := d.quiesce(ctx, client, res); err != nil {
		return nil, err
	}
	res.seenA, res.seenB = d.seen.taken(inA), d.seen.taken(inB)
	return res, nil
}

// send makes request n; every fifth has a body.
func (d *demo) send(ctx context.Context, client *http.Client, n int, twin bool) sample {
	s := sample{n: n, twin: twin}
	method, body, host := http.MethodGet, []byte(nil), mirroredHost
	if n%5 == 0 {
		method, body = http.MethodPost, []byte(strings.Repeat(fmt.Sprintf("order %d ", n), 100))
	}
	if twin {
		host = twinHost
	}
	url := fmt.Sprintf("http://%s/headers?n=%d", d.a.gateway, n)
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		s.problem = err.Error()
		return s
	}
	req.Host = host
	req.Header.Set("User-Agent", "umbra-demo")
	start := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		s.problem = err.Error()
		return s
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	s.took = time.Since(start)
	switch by := resp.Header.Get("X-Served-By"); {
	case err != nil:
		s.problem = err.Error()
	case resp.StatusCode != http.StatusOK:
		s.problem = fmt.Sprintf("status %d", resp.StatusCode)
	case by != nameA:
		s.problem = fmt.Sprintf("answered by %q", by)
	}
	return s
}

// progress shows how far the traffic is: in place on a terminal, else a line a second.
func (d *demo) progress(ending context.Context, answered *atomic.Int64) {
	every := time.Second
	if d.Terminal {
		every = 100 * time.Millisecond
	}
	start := time.Now()
	show := func() {
		elapsed := min(time.Since(start), d.Duration)
		line := fmt.Sprintf("  %4.1f s  %5d answered  %5d copies seen in B",
			elapsed.Seconds(), answered.Load(), d.seen.count(inB))
		if !d.Terminal {
			d.say("%s", line)
			return
		}
		const width = 30
		full := int(width * elapsed / d.Duration)
		fmt.Fprintf(d.Out, "\r  [%s%s]%s", strings.Repeat("#", full), strings.Repeat("-", width-full), line)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ending.Done():
			if d.Terminal {
				show()
				d.say("")
			}
			return
		case <-tick.C:
			show()
		}
	}
}

// quiesce waits until A has no copy under way and B's process has told of those delivered.
func (d *demo) quiesce(ctx context.Context, client *http.Client, res *result) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		m, err := d.askMirror(ctx, client)
		if err != nil {
			return err
		}
		res.mirror = m
		if m.InFlight == 0 && int64(d.seen.count(inB)) >= m.Delivered {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil // the verdict tells what is missing
		case <-tick.C:
		}
	}
}

// askMirror reads the mirror's counts from A's admin pages, as a user would.
func (d *demo) askMirror(ctx context.Context, client *http.Client) (admin.Mirror, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.a.admin+"/mirrors", nil)
	if err != nil {
		return admin.Mirror{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return admin.Mirror{}, err
	}
	defer resp.Body.Close()
	var list []admin.Mirror
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return admin.Mirror{}, fmt.Errorf("read mesh A's mirrors: %w", err)
	}
	if len(list) != 1 {
		return admin.Mirror{}, fmt.Errorf("mesh A has %d mirrors, not 1", len(list))
	}
	return list[0], nil
}
