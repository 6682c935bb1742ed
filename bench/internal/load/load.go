// SPDX-License-Identifier: Apache-2.0

// Package load drives a proxy in a closed loop: each connection is kept alive and sends its next request when it has
// the whole answer to the last. One thread serves all connections, so that the proxy gets the machine. It does not send
// at a fixed rate, hence its latencies are those of a saturated proxy: compare them within one table only.
package load

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/poll"
)

const (
	receiveSize = 64 << 10
	// patience is how long an answer may stay out before the run is given up.
	patience = 10 * time.Second
	// maxRedials bounds, for each connection, how often it is replaced before the run is given up.
	maxRedials = 100
	// maxTold bounds the failures that a result describes; all are counted.
	maxTold = 3
)

// Config is one run.
type Config struct {
	Addr        netip.AddrPort
	Path        string // of the measured requests
	WarmPath    string // of those before
	Connections int
	Body        int // bytes; 0 sends GET
	Warm        time.Duration
	Span        time.Duration
}

// Result is what was measured between the first measured request and the last answer.
type Result struct {
	Requests int64         `json:"requests"` // answered in full with a 200
	Failed   int64         `json:"failed"`   // any other end; includes the warm-up
	Told     []string      `json:"told"`     // the first of the failures
	Took     time.Duration `json:"took"`
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
	Max      time.Duration `json:"max"`
}

type conn struct {
	fd     int
	sent   int // bytes of the request
	busy   bool
	began  time.Time
	answer answer
}

type driver struct {
	cfg     Config
	set     *poll.Set
	conns   map[int]*conn // by descriptor
	request []byte        // of the phase
	until   time.Time     // the phase begins no request after it
	busy    int
	redials int
	latency histogram
	result  Result
	receive []byte
}

// Run warms up, waits for every answer, calls ready, then measures. ready returns when the measurement may begin.
func Run(cfg Config, ready func() error) (Result, error) {
	warm, err := request(cfg.WarmPath, cfg.Body)
	if err != nil {
		return Result{}, err
	}
	measured, err := request(cfg.Path, cfg.Body)
	if err != nil {
		return Result{}, err
	}
	set, err := poll.New()
	if err != nil {
		return Result{}, err
	}
	defer set.Close()
	d := &driver{cfg: cfg, set: set, conns: map[int]*conn{}, receive: make([]byte, receiveSize)}
	for range cfg.Connections {
		if err := d.dial(new(conn)); err != nil {
			return Result{}, err
		}
	}
	if err := d.phase(warm, cfg.Warm); err != nil {
		return Result{}, fmt.Errorf("warm-up: %w", err)
	}
	if err := ready(); err != nil {
		return Result{}, err
	}
	d.latency = histogram{}
	begin := time.Now()
	if err := d.phase(measured, cfg.Span); err != nil {
		return Result{}, err
	}
	r := d.result
	r.Took = time.Since(begin)
	r.Requests = d.latency.total
	r.P50, r.P99, r.Max = d.latency.quantile(0.5), d.latency.quantile(0.99), d.latency.max
	return r, nil
}

// phase sends for that long and then waits for the answers that are out.
func (d *driver) phase(request []byte, span time.Duration) error {
	now := time.Now()
	d.request, d.until = request, now.Add(span)
	all := make([]*conn, 0, len(d.conns))
	for _, c := range d.conns {
		all = append(all, c)
	}
	for _, c := range all {
		if err := d.begin(c, now); err != nil {
			return err
		}
	}
	heard := now
	for d.busy > 0 {
		events, err := d.set.Wait(time.Second)
		if err != nil {
			return err
		}
		if len(events) > 0 {
			heard = time.Now()
		} else if time.Since(heard) > patience {
			return fmt.Errorf("%d of %d connections without an answer for %s", d.busy, len(d.conns), patience)
		}
		for i := range events {
			if c := d.conns[events[i].FD]; c != nil {
				if err := d.serve(c, events[i].Ended); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (d *driver) dial(c *conn) error {
	fd, err := poll.Dial(d.cfg.Addr)
	if err != nil {
		return err
	}
	c.fd = fd
	d.conns[fd] = c
	return d.set.AddConn(fd)
}

// begin sends the next request, if the phase still wants one.
func (d *driver) begin(c *conn, now time.Time) error {
	if !now.Before(d.until) {
		return nil
	}
	c.busy, c.sent, c.began = true, 0, now
	d.busy++
	return d.send(c)
}

func (d *driver) send(c *conn) error {
	n, _, err := poll.Write(c.fd, d.request[c.sent:])
	if err != nil {
		return d.fail(c, fmt.Errorf("write: %w", err))
	}
	c.sent += n
	return nil
}

// serve sends the rest of the request and reads until the socket is empty.
func (d *driver) serve(c *conn, ended bool) error {
	fd := c.fd
	if c.busy && c.sent < len(d.request) {
		if err := d.send(c); err != nil {
			return err
		}
	}
	for c.fd == fd {
		n, again, err := poll.Read(fd, d.receive)
		if again {
			return nil
		}
		if err == nil && n == 0 {
			err = errors.New("connection was closed")
		}
		if err != nil {
			return d.fail(c, err)
		}
		done := false
		if !c.busy {
			err = errors.New("bytes that nobody asked for")
		} else {
			done, err = c.answer.feed(d.receive[:n])
		}
		if err == nil && done && c.sent < len(d.request) {
			err = errors.New("answer before the end of the request")
		}
		if err != nil {
			return d.fail(c, err)
		}
		if done {
			now := time.Now()
			d.latency.observe(now.Sub(c.began))
			c.busy = false
			d.busy--
			if err := d.begin(c, now); err != nil {
				return err
			}
		}
		if n < len(d.receive) && !ended {
			return nil
		}
	}
	return nil
}

// fail counts the request, if there was one, and goes on with a new connection. A peer that closes an idle connection
// has failed nothing.
func (d *driver) fail(c *conn, why error) error {
	delete(d.conns, c.fd)
	poll.Close(c.fd)
	if c.busy {
		c.busy = false
		d.busy--
		d.result.Failed++
		if len(d.result.Told) < maxTold {
			d.result.Told = append(d.result.Told, why.Error())
		}
	}
	c.answer.reset()
	if d.redials++; d.redials > maxRedials*d.cfg.Connections {
		return fmt.Errorf("%d connections ended, %d requests failed; the last: %w", d.redials, d.result.Failed, why)
	}
	if err := d.dial(c); err != nil {
		return err
	}
	return d.begin(c, time.Now())
}
