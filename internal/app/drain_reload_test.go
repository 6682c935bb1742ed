// SPDX-License-Identifier: Apache-2.0

package app

import (
	"net"
	"net/http"
	"testing"
	"time"
)

func TestADrainBehindAReloadThatHangsCutsNoRequest(t *testing.T) {
	m := newRig(t, oneHost(0), func(o *Options) { o.DrainTimeout = 10 * time.Second })
	m.app.reloads.Lock() // one that reads what does not answer
	defer m.app.reloads.Unlock()
	busy := connect(t, m.ports[0])
	busy.get("/hold")
	m.held(1)
	over := make(chan struct{})
	go func() {
		m.app.Drain()
		close(over)
	}()
	m.until("nobody listens", func() bool {
		select {
		case <-over:
			t.Fatal("the drain is over while a request is under way, and clients still connect")
		default:
		}
		c, err := net.Dial("tcp4", address(m.ports[0]))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	m.release()
	if resp := busy.answer(); resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("%d, close %v", resp.StatusCode, resp.Close)
	}
	select {
	case <-over:
	case <-time.After(patience):
		t.Error("the drain does not end")
	}
}
