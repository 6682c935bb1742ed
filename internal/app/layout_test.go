// SPDX-License-Identifier: Apache-2.0

package app

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// What a layout may have at most.
const (
	maxPorts    = 3
	maxHosts    = 6
	maxServices = 6
	maxMembers  = 2 // of a service
)

// production is how many services, the first ones, requests may be led to; the others get copies only.
const production = 3

// layout is a configuration: which of the ports are served, which hosts there are, where they lead and are mirrored to.
type layout struct {
	ports    [maxPorts]bool
	hosts    [maxHosts]host
	services [maxServices]service
}

// host is h<i>.example, by default served at all ports.
type host struct {
	there   bool
	absent  uint // bits: ports where it is not
	vs      int  // 1 + the number of its VirtualService; 0: its own
	service int
	member  int  // 1 + the only member it leads to, a subset; 0: all
	other   int  // 1 + the service that has half of the requests; 0: none
	mirrors uint // bits: services
	retries int  // attempts; 0: as usual
	delay   time.Duration
	aborted bool // a third of the requests
}

// service is s<i>.example.
type service struct {
	used     bool
	kept     bool // there though nobody leads to it, and dead
	hosts    uint // bits: members
	dead     bool // nobody is there
	settings int  // of settings
}

// settings are what a DestinationRule says of connections; the first is none.
var settings = []string{
	"",
	"{connectionPool: {tcp: {maxConnections: 1}}}",
	"{connectionPool: {tcp: {maxConnections: 3, connectTimeout: 20s}, http: {idleTimeout: 0.1s}}}",
	"{connectionPool: {http: {maxRequestsPerConnection: 2}, tcp: {maxConnectionDuration: 0.2s}}}",
	"{outlierDetection: {consecutive5xxErrors: 2, interval: 0.05s, baseEjectionTime: 0.1s, maxEjectionPercent: 50, " +
		"minHealthPercent: 50}}",
	"{loadBalancer: {simple: ROUND_ROBIN}, connectionPool: {http: {http1MaxPendingRequests: 10000}}}",
	"{loadBalancer: {consistentHash: {httpHeaderName: user-agent}}}",
}

// serves tells whether there is a host at a port.
func (l *layout) serves(port, h int) bool {
	return l.hosts[h].there && l.hosts[h].absent&(1<<port) == 0
}

// leads tells whether a host at a port leads to that member of that service; whether that is there is another matter.
func (l *layout) leads(port, h, service, member int) bool {
	to := &l.hosts[h]
	return l.serves(port, h) && (to.service == service && (to.member == 0 || to.member-1 == member) ||
		to.other-1 == service)
}

// change makes one random change that is a good configuration.
func (l *layout) change(r *rand.Rand) {
	i, k := r.IntN(maxHosts), r.IntN(maxHosts)
	switch to := &l.hosts[i]; r.IntN(9) {
	case 0:
		l.ports[r.IntN(maxPorts)] = r.IntN(3) > 0
		l.ports[0] = l.ports[0] || l.ports == [maxPorts]bool{}
	case 1:
		*to = host{vs: to.vs}
	case 2, 3:
		*to = host{
			there: true, vs: to.vs, service: r.IntN(production), member: r.IntN(maxMembers + 1),
			mirrors: uint(r.IntN(1<<3)) << 3, retries: r.IntN(3), aborted: r.IntN(6) == 0,
		}
		if r.IntN(4) == 0 {
			to.delay = 20 * time.Millisecond
		}
		if r.IntN(3) == 0 {
			to.other = 1 + r.IntN(production)
		}
		if r.IntN(8) == 0 { // a service that production has too
			to.mirrors |= 1 << r.IntN(production)
		}
	case 4, 5:
		s := &l.services[r.IntN(maxServices)]
		s.hosts, s.dead, s.kept = uint(1+r.IntN(1<<maxMembers-1)), r.IntN(3) == 0, r.IntN(2) == 0
	case 6:
		l.services[r.IntN(maxServices)].settings = r.IntN(len(settings))
	case 7: // to other gateways
		to.absent = uint(r.IntN(1 << maxPorts))
	case 8: // two VirtualServices swap their hosts
		for n := range l.hosts {
			if l.hosts[n].vs == 0 {
				l.hosts[n].vs = 1 + n
			}
		}
		l.hosts[i], l.hosts[k] = l.hosts[k], l.hosts[i]
	}
	l.settle()
}

// settle makes a layout one in which production is answered: what nobody leads to goes, or stays and dies; nobody leads to
// a member that is not there.
func (l *layout) settle() {
	for i := range l.services {
		s := &l.services[i]
		s.used = slices.ContainsFunc(l.hosts[:], func(h host) bool {
			return h.there && (h.service == i || h.other-1 == i || h.mirrors&(1<<i) != 0)
		})
		s.dead = s.dead && i >= production || !s.used
		if s.hosts == 0 {
			s.hosts = 1
		}
	}
	for i := range l.hosts {
		h := &l.hosts[i]
		if h.other-1 == h.service {
			h.other = 0
		}
		if h.member > 0 && l.services[h.service].hosts&(1<<(h.member-1)) == 0 {
			h.member = 0
		}
	}
}

// yaml is the layout as a user writes it.
func (m *rig) yaml(l *layout) string {
	var b strings.Builder
	resource := func(kind, name string) {
		fmt.Fprintf(&b, "---\napiVersion: networking.istio.io/v1\nkind: %s\nmetadata: {name: %s}\nspec:\n", kind, name)
	}
	for i, there := range l.ports {
		if there {
			resource("Gateway", fmt.Sprint("gw", i))
			fmt.Fprintf(&b, "  servers: [{port: {number: %d, name: http, protocol: HTTP}, hosts: ['*']}]\n", m.ports[i])
		}
	}
	for i := range l.services {
		if s := &l.services[i]; s.used || s.kept {
			resource("ServiceEntry", fmt.Sprint("s", i))
			m.serviceYAML(&b, i, s)
			resource("DestinationRule", fmt.Sprint("s", i))
			ruleYAML(&b, i, s)
		}
	}
	for i := range l.hosts {
		h := &l.hosts[i]
		var gateways []string
		for p, there := range l.ports {
			if there && l.serves(p, i) {
				gateways = append(gateways, fmt.Sprint("gw", p))
			}
		}
		if len(gateways) == 0 {
			continue
		}
		name := i
		if h.vs > 0 {
			name = h.vs - 1
		}
		resource("VirtualService", fmt.Sprint("h", name))
		fmt.Fprintf(&b, "  hosts: [h%d.example]\n  gateways: [%s]\n  http:\n  - name: r\n"+
			"    match: [{uri: {prefix: /}, statPrefix: p%d}]\n", i, strings.Join(gateways, ", "), i)
		h.yaml(&b)
	}
	return b.String()
}

func (m *rig) serviceYAML(b *strings.Builder, i int, s *service) {
	fmt.Fprintf(b, "  hosts: [s%d.example]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n"+
		"  resolution: STATIC\n  endpoints:\n", i)
	for k, port := range m.members[i] {
		switch {
		case s.dead:
			fmt.Fprintf(b, "  - {address: 127.0.0.1, ports: {http: %d}}\n", m.dead)
			return
		case s.hosts&(1<<k) != 0:
			fmt.Fprintf(b, "  - {address: 127.0.0.1, ports: {http: %d}, labels: {member: m%d}}\n", port, k)
		}
	}
}

func ruleYAML(b *strings.Builder, i int, s *service) {
	fmt.Fprintf(b, "  host: s%d.example\n", i)
	if policy := settings[s.settings]; policy != "" {
		fmt.Fprintf(b, "  trafficPolicy: %s\n", policy)
	}
	subsets := "  subsets:\n"
	for k := range maxMembers {
		if s.hosts&(1<<k) != 0 && !s.dead {
			fmt.Fprintf(b, "%s  - {name: m%d, labels: {member: m%d}}\n", subsets, k, k)
			subsets = ""
		}
	}
}

func (h *host) yaml(b *strings.Builder) {
	to := fmt.Sprintf("destination: {host: s%d.example}", h.service)
	if h.member > 0 {
		to = fmt.Sprintf("destination: {host: s%d.example, subset: m%d}", h.service, h.member-1)
	}
	if h.other == 0 {
		fmt.Fprintf(b, "    route: [{%s}]\n", to)
	} else {
		fmt.Fprintf(b, "    route: [{%s, weight: 50}, {destination: {host: s%d.example}, weight: 50}]\n", to, h.other-1)
	}
	if h.retries > 0 {
		fmt.Fprintf(b, "    retries: {attempts: %d, retryOn: '5xx,connect-failure'}\n", h.retries)
	}
	if h.delay > 0 || h.aborted {
		b.WriteString("    fault:\n")
	}
	if h.delay > 0 {
		fmt.Fprintf(b, "      delay: {fixedDelay: %gs, percentage: {value: 100}}\n", h.delay.Seconds())
	}
	if h.aborted {
		b.WriteString("      abort: {httpStatus: 418, percentage: {value: 33}}\n")
	}
	mirrors := "    mirrors:\n"
	for k := range maxServices {
		if h.mirrors&(1<<k) != 0 {
			fmt.Fprintf(b, "%s    - {destination: {host: s%d.example}, percentage: {value: 100}}\n", mirrors, k)
			mirrors = ""
		}
	}
}
