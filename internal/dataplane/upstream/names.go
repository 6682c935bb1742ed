// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"net/netip"
	"slices"
	"time"
)

// defaultRefresh is Envoy's dns_refresh_rate.
const defaultRefresh = 5 * time.Second

// dnsKey is one name as a cluster wants it looked up.
type dnsKey struct {
	name   string
	family DNSFamily
	every  time.Duration
}

// dnsName is a name that a cluster has looked up.
type dnsName struct {
	stop  func()
	addrs []netip.Addr // of the newest good answer
	heard bool         // there was an answer, good or bad
}

// watchNames has the names looked up that a cluster's settings speak of, and no others. The caller holds mu.
func (d *Directory) watchNames(c *Cluster, cfg *Config) {
	names := map[dnsKey]*dnsName{}
	if cfg.Discovery == StrictDNS || cfg.Discovery == LogicalDNS {
		every := cfg.DNSRefresh
		if every <= 0 {
			every = defaultRefresh
		}
		for _, e := range cfg.Static {
			if e.Name == "" {
				continue
			}
			k := dnsKey{e.Name, cfg.DNSFamily, every}
			if names[k] != nil {
				continue
			}
			if n := c.names[k]; n != nil {
				names[k] = n
			} else if !d.closed {
				names[k] = d.watchName(c, k)
			}
		}
	}
	for k, n := range c.names {
		if names[k] == nil {
			n.stop()
			// The same name at another rate begins with what is known.
			for other, m := range names {
				if other.name == k.name && other.family == k.family && m.addrs == nil {
					m.addrs, m.heard = n.addrs, n.heard
				}
			}
		}
	}
	c.names = names
}

func (d *Directory) watchName(c *Cluster, k dnsKey) *dnsName {
	network := "ip"
	switch k.family {
	case FamilyV4Only:
		network = "ip4"
	case FamilyV6Only:
		network = "ip6"
	}
	n := &dnsName{}
	n.stop = d.resolver.Watch(network, k.name, k.every, func(addrs []netip.Addr, err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.closed || c.names[k] != n {
			return
		}
		d.count(c, UpdateAttempt, 1)
		if err != nil {
			d.count(c, UpdateFailure, 1)
			d.Logger.Debug("name not found", "cluster", c.Name, "name", k.name, "error", err, "kept", len(n.addrs))
		} else {
			d.count(c, UpdateSuccess, 1)
		}
		awaited := c.awaits && !n.heard
		n.heard = true
		addrs = k.family.choose(addrs)
		changed := len(addrs) > 0 && !slices.Equal(addrs, n.addrs)
		if changed {
			n.addrs = addrs
		}
		if changed || awaited {
			d.update(c, time.Now())
		}
	})
	return n
}

// unheard reports whether a name of the cluster has had no answer yet. The caller holds mu.
func (c *Cluster) unheard() bool {
	for _, n := range c.names {
		if !n.heard {
			return true
		}
	}
	return false
}

// choose is what a family keeps of an answer.
func (f DNSFamily) choose(addrs []netip.Addr) []netip.Addr {
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			v4 = append(v4, a)
		} else if a.IsValid() && a.Zone() == "" {
			v6 = append(v6, a)
		}
	}
	switch {
	case f == FamilyV4Only, f == FamilyV4Preferred && len(v4) > 0:
		return v4
	case f == FamilyV6Only, f == FamilyV4Preferred, f == FamilyAuto && len(v6) > 0:
		return v6
	case f == FamilyAuto:
		return v4
	}
	return append(v4, v6...)
}

// answer is what is known of a name. The caller holds mu.
func (c *Cluster) answer(name string) []netip.Addr {
	for k, n := range c.names {
		if k.name == name {
			return n.addrs
		}
	}
	return nil
}

// resolved is a cluster's endpoints with addresses for names: all of them with StrictDNS; a LogicalDNS name stays one
// endpoint, and is none before its first answer.
func (c *Cluster) resolved() []Endpoint {
	cfg := c.cfg.Load()
	if cfg.Discovery == OriginalDst {
		return nil
	}
	out := make([]Endpoint, 0, len(c.endpoints))
	for _, e := range c.endpoints {
		if e.Name == "" {
			out = append(out, e)
			continue
		}
		if e.Hostname == "" {
			e.Hostname = e.Name
		}
		addrs := c.answer(e.Name)
		if cfg.Discovery == LogicalDNS {
			if len(addrs) > 0 {
				out = append(out, e)
			}
			continue
		}
		// In one order, whatever the answer's: servers rotate theirs.
		addrs = slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare)
		port := e.Port
		e.Name, e.Port = "", 0
		for _, a := range addrs {
			e.Addr = netip.AddrPortFrom(a, port)
			out = append(out, e)
		}
	}
	return out
}

// logical is where new connections of a LogicalDNS endpoint go.
func (c *Cluster) logical(e *Endpoint) (netip.AddrPort, bool) {
	if e.Name == "" {
		return netip.AddrPort{}, false
	}
	addrs := c.answer(e.Name)
	if len(addrs) == 0 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addrs[0], e.Port), true
}
