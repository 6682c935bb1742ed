// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	path        = "/soak"
	connections = 32
	// patience is for one answer. It is much less than a copy may take.
	patience = 5 * time.Second
	maxTold  = 5
)

// account is what the load tells of itself.
type account struct {
	Sent   int64 // requests that are answered, well or not
	Failed int64
	Told   []string // the first of the failures
}

// size is the body of a connection's nth request; 0 is GET.
func size(n int) int {
	switch {
	case n%250 == 0:
		return 1 << 20
	case n%25 == 1:
		return 100 << 10
	case n%5 == 2:
		return 4 << 10
	}
	return 0
}

// load keeps its connections busy, each with one request after the other, at a rate.
type load struct {
	addr         string
	body         []byte
	client       *http.Client
	sent, failed atomic.Int64

	mu   sync.Mutex
	told []string // guarded by mu
}

// runLoad is told "run ADDR RATE" (0 is as fast as it goes), "stop" and "count".
func runLoad(in io.Reader, out io.Writer) error {
	l := &load{
		body:   make([]byte, 1<<20),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}, Timeout: patience},
	}
	_, _ = rand.Read(l.body) // it never fails
	var running sync.WaitGroup
	stop := func() {}
	err := obey(in, out, func(command string) (any, error) {
		switch words := strings.Fields(command); words[0] {
		case "run":
			stop()
			running.Wait()
			rate, err := strconv.ParseFloat(words[2], 64)
			if err != nil {
				return nil, err
			}
			l.addr = words[1]
			var ctx context.Context
			ctx, stop = context.WithCancel(context.Background())
			for i := range connections {
				running.Go(func() { l.drive(ctx, i, rate/connections) })
			}
		case "stop":
			stop()
			running.Wait()
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		return account{l.sent.Load(), l.failed.Load(), l.told}, nil
	})
	stop()
	running.Wait()
	return err
}

// drive sends rate requests a second, or one after the other, until ctx is done. A request under way is finished.
func (l *load) drive(ctx context.Context, n int, rate float64) {
	if rate > 0 {
		tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
		defer tick.Stop()
		for ; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			l.request(n)
		}
	}
	for ; ctx.Err() == nil; n++ {
		l.request(n)
	}
}

func (l *load) request(n int) {
	err := l.exchange(l.body[:size(n)], n%2 == 0)
	if err != nil && l.failed.Add(1) <= maxTold {
		l.mu.Lock()
		l.told = append(l.told, fmt.Sprintf("%s: request of %d bytes: %v", time.Now().Format(time.TimeOnly), size(n), err))
		l.mu.Unlock()
	}
	l.sent.Add(1)
}

// exchange is one request, whose answer must be its own body from production.
func (l *load) exchange(body []byte, chunked bool) error {
	method, from := http.MethodGet, io.Reader(nil)
	if len(body) > 0 {
		method, from = http.MethodPost, bytes.NewReader(body)
		if chunked {
			from = io.MultiReader(from) // hides the length
		}
	}
	q, err := http.NewRequest(method, "http://"+l.addr+path, from)
	if err != nil {
		return err
	}
	q.Header.Set("X-Length", strconv.Itoa(len(body)))
	resp, err := l.client.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK || resp.Header.Get("X-Served") != "production" || resp.Header["Set-Cookie"] != nil:
		return fmt.Errorf("status %d, header %v", resp.StatusCode, resp.Header)
	case !bytes.Equal(got, body):
		return errors.New("the answer is not what was sent")
	}
	return nil
}
