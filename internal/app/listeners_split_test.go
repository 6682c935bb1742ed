// SPDX-License-Identifier: Apache-2.0

package app

import (
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

// One listener at all addresses becomes two, each at one of them.
func TestNoAddressIsWithoutAListenerWhileOneBecomesTwo(t *testing.T) {
	m := newRig(t, oneHost(0), nil)
	port := uint16(m.ports[1])
	at := func(ip string) proxy.ListenerConfig {
		return proxy.ListenerConfig{
			Name: ip, Addr: netip.AddrPortFrom(netip.MustParseAddr(ip), port), StatPrefix: ip, Routes: &proxy.RouteSlot{},
		}
	}
	dial := func(when string) {
		t.Helper()
		for _, ip := range []string{"127.0.0.1", "127.0.0.2"} {
			c, err := net.Dial("tcp4", net.JoinHostPort(ip, strconv.Itoa(int(port))))
			if err != nil {
				t.Errorf("%s: %v", when, err)
				continue
			}
			c.Close()
		}
	}
	m.set(at("0.0.0.0"))
	dial("one listener")
	if err := m.app.listeners.Replace(at("127.0.0.1"), []string{"0.0.0.0"}); err != nil {
		t.Fatal(err)
	}
	dial("the first of two")
	m.set(at("127.0.0.2"))
	dial("both")
	m.app.listeners.Settle()
	dial("settled")
	if err := m.app.listeners.Replace(at("0.0.0.0"), []string{"127.0.0.1", "127.0.0.2"}); err != nil {
		t.Fatal(err)
	}
	dial("one again")
	m.app.listeners.Settle()
	dial("one alone")
	m.app.listeners.Remove("0.0.0.0")
}
