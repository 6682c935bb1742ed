// SPDX-License-Identifier: Apache-2.0

package app

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestARequestThatAFaultHoldsBackFindsTheClusterItWasLedTo(t *testing.T) {
	l := oneHost(0)
	l.hosts[0].delay = time.Second
	m := newRig(t, l, nil)
	held := connect(t, m.ports[0])
	held.get("/")
	m.until("the request is held back", func() bool {
		for name, n := range m.series(true) {
			if n > 0 && strings.Contains(name, "fault_active_faults") {
				return true
			}
		}
		return false
	})

	next := oneHost(0)
	next.hosts[0], next.hosts[1] = host{}, host{there: true, service: 1}
	next.services[0], next.services[1] = service{}, service{used: true, hosts: 1}
	m.reload(next)
	later := connect(t, m.ports[0])
	later.get("/")
	if resp := later.answer(); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a request that came later has %d", resp.StatusCode)
	}
	if resp := held.answer(); resp.StatusCode != http.StatusOK || resp.Header.Get("X-Service") != "0" {
		t.Errorf("the request that was held back has %d, of service %q", resp.StatusCode, resp.Header.Get("X-Service"))
	}
}
