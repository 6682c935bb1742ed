// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
	"github.com/umbra-mesh/umbra/internal/xds"
)

// printed is everything that a set of resources comes to: what is in force, as text, and what is refused.
func printed(r *xds.Resources) string {
	f, b := newFar()
	return printedBy(f, b, r)
}

// printedBy applies a set to a Builder and tells what is in force then.
func printedBy(f *far, b *Builder, r *xds.Resources) string {
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
		p.table(b, rc.Message, false)
	}
	for _, l := range b.Accepted().Listeners {
		p.listener(f.listeners[l.Message.GetName()])
		if _, _, inline, _ := linkListener(l.Message); inline != nil {
			p.linef("routes inline %s", inline.GetName())
			p.table(b, inline, true)
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
		at := h.Path
		switch {
		case h.Name != "":
			at = fmt.Sprintf("%s:%d", h.Name, h.Port)
		case h.Path == "":
			at = h.Addr.String()
		}
		fmt.Fprintf(&b, " %s*%d", at, h.Weight)
		h.Addr, h.Weight, h.Path, h.Name, h.Port = netip.AddrPort{}, 0, "", "", 0
		if text := dump(nil, reflect.ValueOf(h)); text != "{}" {
			b.WriteString(text)
		}
	}
	return b.String()
}

func (p *printer) cluster(c upstream.Config) {
	policy := map[upstream.Policy]string{
		upstream.LeastRequest: "least request", upstream.RoundRobin: "round robin", upstream.Random: "random",
		upstream.RingHash: "ring hash", upstream.Maglev: "maglev", upstream.ClusterProvided: "as given",
	}[c.Policy]
	p.linef("cluster %s", c.Name)
	switch c.Discovery {
	case upstream.EDS:
		p.linef("  endpoints of %s", c.ServiceName)
	case upstream.Static:
		p.linef("  static%s", hosts(c.Static))
	case upstream.StrictDNS:
		p.linef("  all addresses of%s", hosts(c.Static))
	case upstream.LogicalDNS:
		p.linef("  one address of%s", hosts(c.Static))
	case upstream.OriginalDst:
		p.linef("  where the client wanted to go")
	}
	p.linef("  %s, connect within %v, panic below %v %%", policy, c.ConnectTimeout, c.PanicPercent)
	p.linef("  at most %d connections, %d pending, %d requests, %d retries",
		c.MaxConnections, c.MaxPending, c.MaxRequests, c.MaxRetries)
	mirrors, _ := c.Mirrors.([]mirror.Policy)
	p.mirrors("  ", mirrors)
	c.Name, c.Discovery, c.ServiceName, c.Static, c.Policy, c.ConnectTimeout, c.PanicPercent = "", 0, "", nil, 0, 0, 0
	c.MaxConnections, c.MaxPending, c.MaxRequests, c.MaxRetries, c.Mirrors = 0, 0, 0, 0, nil
	p.rest("  ", c)
}

func (p *printer) listener(l proxy.ListenerConfig) {
	p.linef("listener %s on %v", l.Name, l.Addr)
	p.linef("  stat prefix %s, server name %s, remote address %v, HTTP/1.0 %v",
		l.StatPrefix, l.ServerName, l.UseRemoteAddress, l.HTTP10Accepted)
	p.linef("  idle %v, head within %v, stream idle %v, head at most %d bytes, %d fields",
		l.IdleTimeout, l.HeadTimeout, l.StreamIdle, l.MaxHeadBytes, l.MaxHeadFields)
	if l.Buffer != 0 {
		p.linef("  %d bytes unsent at most", l.Buffer)
	}
	p.linef("  filters: faults %v, CORS %v", !l.NoFaults, !l.NoCORS)
	p.linef("  paths: RFC 3986 %v, slashes merged %v, escaped slashes %d; relayed: %q",
		l.Paths.RFC3986, l.Paths.MergeSlashes, l.Paths.Escaped, l.Upgrades)
	p.linef("  routes %s, there now: %v", l.Routes.Name, l.Routes.Load() != nil)
}

func (p *printer) table(b *Builder, rc *routev3.RouteConfiguration, validateClusters bool) {
	shell := shellOf(rc)
	l, bad := newRouteLinker(&b.deps, b.names, shell, nil)
	if bad != nil {
		p.linef("  not linked: %+v", bad)
		return
	}
	if v := rc.GetValidateClusters(); v != nil {
		validateClusters = v.GetValue()
	}
	p.linef("  ports ignored %v, clusters have to exist %v", rc.GetIgnorePortInHostMatching(), validateClusters)
	for _, v := range rc.GetVirtualHosts() {
		h, bad := l.hostConfig(v, &linkedHost{})
		if bad != nil {
			p.linef("  not linked: %+v", bad)
			return
		}
		p.linef("  host %s: %s%s", h.Name, strings.Join(h.Domains, " "), when(h.RequireTLS, ", by TLS only"))
		for _, r := range h.Routes {
			p.route(r)
		}
	}
}

func (p *printer) route(r route.Route[*proxy.Action]) {
	kind := map[route.PathKind]string{route.PathPrefix: "prefix", route.PathExact: "path", route.PathRegex: "regex",
		route.PathSeparatedPrefix: "segments"}
	p.linef("    %s %q%s%s", kind[r.Path.Kind], r.Path.Value,
		when(r.Path.IgnoreCase, " any case"), when(r.Action.Name != "", " named "+r.Action.Name))
	for _, h := range r.Headers {
		k := headerKinds[h.Kind]
		p.linef("      header %s%s %s %q%s%s", when(h.Invert, "not "), h.Name, k, h.Value,
			when(h.IgnoreCase, " any case"), when(h.MissingAsEmpty, " missing as empty"))
	}
	for _, q := range r.Query {
		p.linef("      query %s %s%s %q%s", q.Name, when(q.Absent, "not "), headerKinds[q.Kind], q.Value,
			when(q.IgnoreCase, " any case"))
	}
	if r.Fraction.Denominator > 0 {
		p.linef("      %d of %d requests", r.Fraction.Numerator, r.Fraction.Denominator)
	}
	p.action(r.Action)
}

var headerKinds = map[route.HeaderKind]string{
	route.HeaderPresent: "present", route.HeaderExact: "exact", route.HeaderPrefix: "prefix",
	route.HeaderSuffix: "suffix", route.HeaderContains: "contains", route.HeaderRegex: "regex",
}

func (p *printer) action(a *proxy.Action) {
	rest := *a
	rest.Name, rest.Direct, rest.Clusters, rest.TotalWeight, rest.Timeout, rest.AttemptCount, rest.Retry, rest.Mirrors =
		"", nil, nil, 0, 0, false, nil, nil
	if a.MaxGRPCTimeout < 0 {
		rest.MaxGRPCTimeout = 0
	}
	p.rest("      ", rest)
	if a.Direct != nil {
		p.linef("      answer %d %q", a.Direct.Status, a.Direct.Body)
		return
	}
	if a.Redirect != nil {
		return
	}
	for _, c := range a.Clusters {
		p.linef("      cluster %s, %d of %d", c.Slot.Name, c.Weight, a.TotalWeight)
		c.Slot, c.Weight = nil, 0
		p.rest("        ", c)
	}
	p.linef("      timeout %v%s", a.Timeout, when(a.AttemptCount, ", attempt count"))
	if r := a.Retry; r != nil {
		p.linef("      retry on %05b codes %v, %d times, each within %v, after %v to %v, %d picks%s",
			r.On, r.Codes, r.Max, r.PerTryTimeout, r.BaseInterval, r.MaxInterval, r.HostAttempts,
			when(r.PreviousHosts, " of other hosts"))
		rest := *r
		rest.On, rest.Codes, rest.Max, rest.PerTryTimeout, rest.BaseInterval, rest.MaxInterval, rest.HostAttempts,
			rest.PreviousHosts = 0, nil, 0, 0, 0, 0, 0, false
		p.rest("        ", rest)
	}
	p.mirrors("      ", a.Mirrors)
}

func (p *printer) mirrors(indent string, list []mirror.Policy) {
	for _, m := range list {
		to := "what it says"
		if m.Target != nil {
			to = p.far.targets[m.Target].Name
		}
		p.linef("%smirror %s to %s, %d/%d, keep host %v", indent, p.far.stats[m.Stats], to,
			m.Numerator, m.Denominator, m.KeepHost)
		m.Target, m.Stats, m.Numerator, m.Denominator, m.KeepHost = nil, nil, 0, 0, false
		p.rest(indent+"  ", m)
	}
}

func when(cond bool, s string) string {
	if cond {
		return s
	}
	return ""
}

// rest prints what of a struct is set.
func (p *printer) rest(indent string, v any) {
	if text := dump(p.far, reflect.ValueOf(v)); text != "{}" {
		p.linef("%s%s", indent, text)
	}
}

// dump renders what of a value is set, exported or not.
func dump(f *far, v reflect.Value) string {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return time.Duration(v.Int()).String()
	case v.Type() == reflect.TypeFor[*regexp.Regexp]():
		return fmt.Sprintf("%q", v.Elem().FieldByName("expr").String())
	case v.Type() == reflect.TypeFor[*proxy.RouteStats]():
		return f.routes[(*proxy.RouteStats)(v.UnsafePointer())]
	}
	if v.Type().PkgPath() == reflect.TypeFor[filter.Mutations]().PkgPath() && v.Type().Name() == "name" {
		return v.FieldByName("lower").String()
	}
	switch v.Kind() {
	case reflect.Func:
		return "set"
	case reflect.Pointer, reflect.Interface:
		return dump(f, v.Elem())
	case reflect.String:
		return fmt.Sprintf("%q", v.String())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return fmt.Sprintf("%q", v.Bytes())
		}
		var list []string
		for i := range v.Len() {
			list = append(list, dump(f, v.Index(i)))
		}
		return "[" + strings.Join(list, " ") + "]"
	case reflect.Struct:
		var list []string
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				list = append(list, v.Type().Field(i).Name+":"+dump(f, v.Field(i)))
			}
		}
		return "{" + strings.Join(list, " ") + "}"
	default:
		return fmt.Sprint(v)
	}
}
