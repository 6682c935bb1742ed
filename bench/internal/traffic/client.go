// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Patience is how long after it was due a request may be without its whole answer. It then counts as failed.
	Patience = 10 * time.Second
	// maxTold bounds the failures that a result describes; all are counted.
	maxTold = 3
)

// Load is requests at a fixed rate, each due at its own time, whatever becomes of those before.
type Load struct {
	Addr        netip.AddrPort
	Rate        int // requests a second
	Connections int // requests under way at most; those that find none free are late, which counts
	Span        time.Duration
	FirstID     uint64
}

// Result is what became of a load. The latencies are from the time at which a request was due to the last byte of its
// answer, or to its failure.
type Result struct {
	Due    int      // requests
	Sent   int64    // of them, those of which at least a byte was written
	Failed int64    // no whole answer of production with status 200 within Patience
	Wrong  int64    // answered with other bytes than were sent
	Told   []string // the first that failed or were wrong
	P50    time.Duration
	P99    time.Duration
	Max    time.Duration
}

var errWrong = errors.New("the answer's body is not what was sent")

// Run sends a load and waits for all its answers: it takes at most its span and Patience.
func (l Load) Run() Result {
	r := Result{Due: int(l.Span.Seconds() * float64(l.Rate))}
	latencies := make([]time.Duration, r.Due)
	var next, sent atomic.Int64
	var mu sync.Mutex // of r
	var wg sync.WaitGroup
	began := time.Now()
	for range min(l.Connections, r.Due) {
		wg.Go(func() {
			c := client{addr: l.Addr, sent: &sent}
			defer c.close()
			for i := int(next.Add(1)) - 1; i < r.Due; i = int(next.Add(1)) - 1 {
				due := began.Add(time.Duration(i) * time.Second / time.Duration(l.Rate))
				<-time.After(time.Until(due))
				err := c.exchange(l.FirstID+uint64(i), due.Add(Patience))
				latencies[i] = time.Since(due)
				if err == nil {
					continue
				}
				c.close()
				mu.Lock()
				if errors.Is(err, errWrong) {
					r.Wrong++
				} else {
					r.Failed++
				}
				if len(r.Told) < maxTold {
					r.Told = append(r.Told, err.Error())
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	r.Sent = sent.Load()
	slices.Sort(latencies)
	if n := len(latencies); n > 0 {
		r.P50, r.P99, r.Max = latencies[n/2], latencies[n*99/100], latencies[n-1]
	}
	return r
}

// client is one connection, kept alive, that is replaced when it has failed.
type client struct {
	addr netip.AddrPort
	sent *atomic.Int64
	conn net.Conn
	in   *bufio.Reader
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *client) exchange(id uint64, deadline time.Time) error {
	if !time.Now().Before(deadline) {
		return errors.New("no connection was free in time")
	}
	if c.conn == nil {
		var err error
		if c.conn, err = (&net.Dialer{Deadline: deadline}).Dial("tcp4", c.addr.String()); err != nil {
			return err
		}
		c.in = bufio.NewReader(c.conn)
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return err
	}
	s := shapes[id%uint64(len(shapes))]
	request, want := render(id, s)
	c.sent.Add(1)
	if _, err := c.conn.Write(request); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(len(want))+1))
	resp.Body.Close()
	switch {
	case err != nil:
		return fmt.Errorf("answer's body: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", resp.StatusCode)
	case resp.Header.Get(servedField) != "production" || resp.Header.Get(idField) != strconv.FormatUint(id, 10) ||
		!bytes.Equal(body, want):
		return errWrong
	}
	if c.in.Buffered() > 0 {
		return fmt.Errorf("%d bytes behind an answer: %w", c.in.Buffered(), errWrong)
	}
	if resp.Close {
		c.close()
	}
	return nil
}
