// SPDX-License-Identifier: Apache-2.0

package life_test

import (
	"fmt"
	"net"
	"sync"
	"testing"
)

// closedAtOnce dials and wants the connection closed without a byte.
func closedAtOnce(t *testing.T, addr string) {
	t.Helper()
	c := dial(t, addr)
	c.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	if got, _ := c.over(); got != "" { // a reset is as good: the request was not read
		t.Errorf("over the limit: %q", got)
	}
}

func TestConnectionLimitsHold(t *testing.T) {
	for _, f := range []struct{ flag, metric string }{
		{"--max-connections", "envoy_listener_downstream_global_cx_overflow"},
		{"--max-listener-connections", "envoy_listener_downstream_cx_overflow"},
	} {
		t.Run(f.flag, func(t *testing.T) {
			o := newOrigin(t)
			port := freePort(t)
			p := launch(t, nil, "run", "-f", config(t, port, o.addr, ""), "--admin", "127.0.0.1:0", f.flag, "3").serves()
			addr := address(port)
			var conns []*client
			for range 3 {
				c := dial(t, addr)
				c.get("/")
				c.answer()
				conns = append(conns, c)
			}
			for range 4 {
				closedAtOnce(t, addr)
			}
			if n, all := p.metric(f.metric), p.metric("umbra_listener_refused_total"); n != 4 || all != 4 {
				t.Errorf("%v and %v counted, want 4", n, all)
			}
			for _, c := range conns { // those that are there go on
				c.get("/")
				c.answer()
			}
			conns[0].Close()
			until(t, "it is gone", func() bool { return p.metric("envoy_http_downstream_cx_active") == 2 })
			c := dial(t, addr)
			c.get("/")
			c.answer()
		})
	}
}

// With 64 descriptors production is right as long as it needs few; with many clients some wait or are refused, and
// after them all is as before.
func TestFewDescriptorsAreEnough(t *testing.T) {
	o, m := newOrigin(t), newOrigin(t)
	port := freePort(t)
	p := launch(t, []string{withDescriptors + "=64"},
		"run", "-f", config(t, port, o.addr, m.addr), "--admin", "127.0.0.1:0").serves()
	addr := address(port)
	few := func(when string) {
		t.Helper()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 25 {
					if err := once(addr, "/"); err != nil {
						t.Errorf("%s: %v", when, err)
					}
				}
			})
		}
		wg.Wait()
	}
	few("at first")
	// More clients than there are descriptors, each with a request that holds on to one more.
	var conns []net.Conn
	for range 150 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err) // the queue is long enough
		}
		defer c.Close()
		if _, err := fmt.Fprint(c, "GET /hold HTTP/1.1\r\nHost: a.example\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	until(t, "accepting waits", func() bool {
		select {
		case <-o.held: // the origin must not block on telling
		case <-m.held:
		default:
		}
		return p.metric("umbra_listener_starved_total") >= 2
	})
	if p.metric("umbra_overload_level") == 0 {
		until(t, "the level of overload rises", func() bool { return p.metric("umbra_overload_level") >= 1 })
	}
	for _, c := range conns {
		c.Close()
	}
	o.release()
	m.release()
	until(t, "the level is none again", func() bool { return p.metric("umbra_overload_level") == 0 })
	few("afterwards")
	select {
	case <-p.ended:
		t.Error("umbra ended")
	default:
	}
	if n := p.metric("umbra_mirror_selected_total"); n != p.metric("umbra_mirror_delivered_total")+
		p.metric("umbra_mirror_dropped_total")+p.metric("umbra_mirror_live") && n != 0 {
		until(t, "the accounts of copies agree", func() bool {
			return p.metric("umbra_mirror_live") == 0 && p.metric("umbra_mirror_selected_total") ==
				p.metric("umbra_mirror_delivered_total")+p.metric("umbra_mirror_dropped_total")
		})
	}
}

// One CPU is one worker, whose connections, mirror and pages share it.
func TestOneCPUIsEnough(t *testing.T) {
	o, m := newOrigin(t), newOrigin(t)
	port := freePort(t)
	p := launch(t, []string{withOneCPU + "=1", "GOMAXPROCS=1"},
		"run", "-f", config(t, port, o.addr, m.addr), "--admin", "127.0.0.1:0").serves()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := once(address(port), "/"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	until(t, "all copies are delivered", func() bool { // but for those that a slow machine had shed
		return p.metric("umbra_mirror_delivered_total")+p.metric("umbra_mirror_dropped_total", `"overload"`) == 400
	})
}
