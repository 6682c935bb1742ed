// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// printed is everything that a set of resources comes to: what is in force, as text, and what is refused.
func printed(r *xds.Resources) string {
	f, b := newFar()
	p := printer{far: f}
	nacks := b.Apply(r)
	for _, name := range slices.Sorted(maps.Keys(f.clusters)) {
		p.cluster(f.clusters[name])
	}
	for _, name := range slices.Sorted(maps.Keys(f.endpoints)) {
		p.linef("endpoints %s%s", name, hosts(f.endpoints[name]))
	}
	for _, rc := range b.Accepted().Routes {
		if b.slots[rc.Message.GetName()].Load() == nil {
			p.linef("no table in slot %s", rc.Message.GetName())
		}
		p.linef("routes %s", rc.Message.GetName())
		p.table(&routeLinker{deps: &b.deps, rc: rc.Message})
	}
	for _, l := range b.Accepted().Listeners {
		p.listener(f.listeners[l.Message.GetName()])
		if _, _, inline, _ := linkListener(l.Message); inline != nil {
			p.linef("routes inline %s", inline.GetName())
			p.table(&routeLinker{deps: &b.deps, rc: inline})
		}
	}
	for _, m := range b.Mirrors() {
		p.linef("mirror %s: from %s to %s, %d/%d, suffix %v", m.ID, m.From, m.To, m.Numerator, m.Denominator, m.Suffix)
	}
	for _, n := range nacks {
		p.linef("refused %v", n)
	}
	return p.String()
}

type printer struct {
	strings.Builder
	far *far
}

func (p *printer) linef(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func hosts(list []upstream.Endpoint) string {
	var b strings.Builder
	for _, h := range list {
		fmt.Fprintf(&b, " %v*%d", h.Addr, h.Weight)
	}
	return b.String()
}

func (p *printer) cluster(c upstream.Config) {
	policy := map[upstream.Policy]string{
		upstream.LeastRequest: "least request", upstream.RoundRobin: "round robin", upstream.Random: "random",
	}[c.Policy]
	p.linef("cluster %s", c.Name)
	if c.EDS {
		p.linef("  endpoints of %s", c.ServiceName)
	} else {
		p.linef("  static%s", hosts(c.Static))
	}
	p.linef("  %s, connect within %v", policy, c.ConnectTimeout)
	p.linef("  at most %d connections, %d pending, %d requests, %d retries",
		c.MaxConnections, c.MaxPending, c.MaxRequests, c.MaxRetries)
}

func (p *printer) listener(l proxy.ListenerConfig) {
	p.linef("listener %s on %v", l.Name, l.Addr)
	p.linef("  stat prefix %s, server name %s, remote address %v, HTTP/1.0 %v",
		l.StatPrefix, l.ServerName, l.UseRemoteAddress, l.HTTP10Accepted)
	p.linef("  idle %v, head within %v, stream idle %v, head at most %d bytes, %d fields",
		l.IdleTimeout, l.HeadTimeout, l.StreamIdle, l.MaxHeadBytes, l.MaxHeadFields)
	p.linef("  routes %s, there now: %v", l.Routes.Name, l.Routes.Load() != nil)
}

func (p *printer) table(l *routeLinker) {
	c, bad := l.config()
	if bad != nil {
		p.linef("  not linked: %+v", bad)
		return
	}
	if c.IgnorePort {
		p.linef("  ports ignored")
	}
	for _, h := range c.Hosts {
		p.linef("  host %s: %s", h.Name, strings.Join(h.Domains, " "))
		for _, r := range h.Routes {
			p.route(r)
		}
	}
}

func (p *printer) route(r route.Route[*proxy.Action]) {
	kind := map[route.PathKind]string{route.PathPrefix: "prefix", route.PathExact: "path", route.PathRegex: "regex"}
	p.linef("    %s %q%s%s", kind[r.Path.Kind], r.Path.Value,
		when(r.Path.IgnoreCase, " any case"), when(r.Action.Name != "", " named "+r.Action.Name))
	for _, h := range r.Headers {
		k := map[route.HeaderKind]string{
			route.HeaderPresent: "present", route.HeaderExact: "exact", route.HeaderPrefix: "prefix",
			route.HeaderSuffix: "suffix", route.HeaderContains: "contains", route.HeaderRegex: "regex",
		}[h.Kind]
		p.linef("      header %s%s %s %q%s%s", when(h.Invert, "not "), h.Name, k, h.Value,
			when(h.IgnoreCase, " any case"), when(h.MissingAsEmpty, " missing as empty"))
	}
	p.action(r.Action)
}

func (p *printer) action(a *proxy.Action) {
	if a.Direct != nil {
		p.linef("      answer %d %q", a.Direct.Status, a.Direct.Body)
		return
	}
	for _, c := range a.Clusters {
		p.linef("      cluster %s, %d of %d", c.Slot.Name, c.Weight, a.TotalWeight)
	}
	p.linef("      timeout %v%s", a.Timeout, when(a.AttemptCount, ", attempt count"))
	if r := a.Retry; r != nil {
		p.linef("      retry on %05b codes %v, %d times, each within %v, after %v to %v, %d picks%s",
			r.On, r.Codes, r.Max, r.PerTryTimeout, r.BaseInterval, r.MaxInterval, r.HostAttempts,
			when(r.PreviousHosts, " of other hosts"))
	}
	for _, m := range a.Mirrors {
		p.linef("      mirror %s to %s, %d/%d, keep host %v", p.far.stats[m.Stats], p.far.targets[m.Target].Name,
			m.Numerator, m.Denominator, m.KeepHost)
	}
}

func when(cond bool, s string) string {
	if cond {
		return s
	}
	return ""
}
