// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	churnSeed = flag.Uint64("churn-seed", 0, "of the churn test; 0: another each time")
	churnFor  = flag.Duration("churn-for", 0, "how long the churn test goes on; 0: for eighty changes")
)

// churn is a mesh whose configuration never stays, and what was in force when.
type churn struct {
	*rig
	mu        sync.Mutex
	layouts   []layout     // guarded by mu: all that were put in force, in order
	begun     atomic.Int64 // the last of them whose reload has begun
	done      atomic.Int64 // and the last whose reload has ended
	answered  atomic.Int64
	notFound  atomic.Int64
	unserved  atomic.Int64 // the port was gone
	tunnelled atomic.Int64
}

// change makes one random change that is a good configuration.
func (l *layout) change(r *rand.Rand) {
	port := func() {
		l.ports[r.IntN(maxPorts)] = r.IntN(3) > 0
		l.ports[0] = l.ports[0] || l.ports == [maxPorts]bool{}
	}
	some := func() host {
		return host{there: true, service: r.IntN(3), mirrors: uint(r.IntN(1<<3)) << 3}
	}
	switch i := r.IntN(maxHosts); r.IntN(5) {
	case 0:
		port()
	case 1:
		l.hosts[i] = host{}
	case 2, 3:
		l.hosts[i] = some()
	case 4:
		s := &l.services[r.IntN(maxServices)]
		s.hosts, s.dead = uint(1+r.IntN(1<<maxMembers-1)), r.IntN(3) == 0
	}
	for i := range l.services { // what nobody leads to goes; production is never dead
		s := &l.services[i]
		s.used, s.dead = false, s.dead && i >= 3
		if s.hosts == 0 || s.dead {
			s.hosts = 1
		}
		for _, h := range l.hosts {
			s.used = s.used || h.there && (h.service == i || h.mirrors&(1<<i) != 0)
		}
	}
}

// put has a layout in force.
func (c *churn) put(l layout) {
	c.mu.Lock()
	c.layouts = append(c.layouts, l)
	n := int64(len(c.layouts) - 1)
	c.mu.Unlock()
	c.begun.Store(n)
	c.reload(&l)
	c.done.Store(n)
}

// any tells whether something holds of one of the layouts that were in force since the from-th, in part or whole.
func (c *churn) any(from int64, holds func(*layout) bool) bool {
	to := c.begun.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := from; i <= to; i++ {
		if holds(&c.layouts[i]) {
			return true
		}
	}
	return false
}

// user sends requests until stopped, and holds each outcome against the layouts that it may be of.
func (c *churn) user(stop <-chan struct{}, r *rand.Rand) {
	clients := [maxPorts]*http.Client{}
	since := [maxPorts]int64{} // each one's connections are not older
	for i := range clients {
		clients[i] = &http.Client{Transport: &http.Transport{}, Timeout: patience}
		defer clients[i].CloseIdleConnections()
	}
	for {
		select {
		case <-stop:
			return
		default:
		}
		p, h := r.IntN(maxPorts), r.IntN(maxHosts)
		if r.IntN(3) == 0 { // a new connection
			clients[p].CloseIdleConnections()
			since[p] = c.done.Load()
		}
		from := c.done.Load()
		status, body, err := c.ask(clients[p], p, h, r)
		switch {
		case err != nil:
			if !c.any(since[p], func(l *layout) bool { return !l.ports[p] }) {
				c.t.Errorf("port %d, layouts from %d: %v", p, since[p], err)
				return
			}
			c.unserved.Add(1)
			clients[p].CloseIdleConnections()
			since[p] = from
		case status == 404:
			if !c.any(from, func(l *layout) bool { return !l.hosts[h].there }) {
				c.t.Errorf("h%d at port %d is not found, layouts from %d", h, p, from)
				return
			}
			c.notFound.Add(1)
		default:
			right := func(l *layout) bool { return l.hosts[h].there && body == fmt.Sprint("s", l.hosts[h].service) }
			if (status != 200 && status != 101) || !c.any(from, right) {
				c.t.Errorf("h%d at port %d: %d %q, layouts from %d", h, p, status, body, from)
				return
			}
			c.answered.Add(1)
		}
	}
}

// ask sends one request, with a body as often as without, and returns who answered.
func (c *churn) ask(client *http.Client, port, host int, r *rand.Rand) (status int, by string, err error) {
	text := strings.Repeat("x", r.IntN(2)*r.IntN(100_000))
	method, body := "GET", io.Reader(nil)
	if text != "" {
		// Its length is not told: it goes in chunks, and no client sends it again by itself.
		method, body = "POST", struct{ io.Reader }{strings.NewReader(text)}
	}
	req, err := http.NewRequest(method, fmt.Sprintf("http://%s/%x", address(c.ports[port]), r.Uint32()), body)
	if err != nil {
		return 0, "", err
	}
	req.Host = fmt.Sprintf("h%d.example", host)
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", err
	}
	if resp.StatusCode == 200 && string(got) != text {
		return 0, "", errors.New("the answer is not what was sent")
	}
	by = resp.Header.Get("X-Served-By")
	if by == "" {
		by = string(got) // the proxy itself
	}
	return resp.StatusCode, by, nil
}

// tunneller opens tunnels, and holds that they end with their listeners alone.
func (c *churn) tunneller(stop <-chan struct{}, r *rand.Rand) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		p, h := r.IntN(maxPorts), r.IntN(maxHosts)
		from := c.done.Load()
		err := c.tunnel(p, h, r)
		switch {
		case err == nil:
			c.tunnelled.Add(1)
		case errors.Is(err, errNotFound) && c.any(from, func(l *layout) bool { return !l.hosts[h].there }):
		case !c.any(from, func(l *layout) bool { return !l.ports[p] }):
			c.t.Errorf("tunnel to h%d at port %d, layouts from %d: %v", h, p, from, err)
			return
		}
	}
}

var errNotFound = errors.New("404")

func (c *churn) tunnel(port, host int, r *rand.Rand) error {
	req, err := http.NewRequest("GET", fmt.Sprintf("http://%s/tunnel", address(c.ports[port])), nil)
	if err != nil {
		return err
	}
	req.Host = fmt.Sprintf("h%d.example", host)
	req.Header.Set("Connection", "upgrade")
	req.Header.Set("Upgrade", "websocket")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound:
		return errNotFound
	case http.StatusSwitchingProtocols:
	default:
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	pipe := resp.Body.(io.ReadWriter)
	for i := range r.IntN(200) {
		text := fmt.Sprintf("%08d", i)
		if _, err := io.WriteString(pipe, text); err != nil {
			return err
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(pipe, got); err != nil {
			return err
		}
		if string(got) != text {
			return fmt.Errorf("%q came back for %q", got, text)
		}
	}
	return nil
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestEveryAnswerIsOfAConfigurationThatWasInForceWhileNoneStays(t *testing.T) {
	seed := *churnSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-churn-seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var empty layout
	empty.ports[0] = true
	c := &churn{rig: newRig(t, &empty, nil), layouts: []layout{empty}}
	c.put(empty)
	series, goroutines, files := c.series(false), runtime.NumGoroutine(), descriptors(t)

	stop := make(chan struct{})
	var users sync.WaitGroup
	for i := range 6 {
		users.Go(func() { c.user(stop, rand.New(rand.NewPCG(seed, uint64(1+i)))) })
	}
	users.Go(func() { c.tunneller(stop, rand.New(rand.NewPCG(seed, 100))) })
	for now, end := empty, time.Now().Add(*churnFor); len(c.layouts) < 80 || time.Now().Before(end); {
		now.change(r)
		c.put(now)
		if t.Failed() {
			break
		}
		goal := c.answered.Load() + c.notFound.Load() + c.unserved.Load() + 3
		c.until("3 more requests were answered", func() bool {
			return t.Failed() || c.answered.Load()+c.notFound.Load()+c.unserved.Load() >= goal
		})
	}
	close(stop)
	users.Wait()
	t.Logf("%d changes; %d requests answered, %d not found, %d at ports that were gone, %d tunnels",
		len(c.layouts), c.answered.Load(), c.notFound.Load(), c.unserved.Load(), c.tunnelled.Load())
	if c.answered.Load() == 0 || c.notFound.Load() == 0 || c.unserved.Load() == 0 || c.tunnelled.Load() == 0 {
		t.Error("one of these never happened")
	}
	c.put(empty)
	c.until("every copy has ended", func() bool {
		for name, value := range c.series(true) {
			if strings.HasPrefix(name, "umbra_mirror_live ") && value != 0 {
				return false
			}
		}
		return true
	})
	c.until("no listener is draining", func() bool {
		return c.metric("envoy_listener_manager_total_listeners_draining") == 0
	})
	if late := missing(c.series(false), series); len(late) > 0 {
		t.Errorf("series of what is gone: %v", late)
	}
	c.until("descriptors are back to base", func() bool { return descriptors(t) <= files })
	c.until("goroutines are back to base", func() bool { return runtime.NumGoroutine() <= goroutines })
	c.balanced()
}

// balanced holds that every copy that was selected came to one end.
func (c *churn) balanced() {
	sums := map[string]float64{}
	for name, value := range c.series(true) {
		name, _, _ = strings.Cut(name, " ")
		sums[name] += value
	}
	selected, delivered := sums["umbra_mirror_selected_total"], sums["umbra_mirror_delivered_total"]
	dropped := sums["umbra_mirror_dropped_total"]
	if selected == 0 || delivered == 0 || selected != delivered+dropped {
		c.t.Errorf("%v copies selected, %v delivered, %v dropped", selected, delivered, dropped)
	}
}
