// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/umbra-mesh/umbra/internal/admin"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/dataplane/build"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// pages gives the admin pages what they show.
func (a *App) pages() admin.Deps {
	return admin.Deps{
		Dump: a.dump, Problems: a.problems, Mirrors: a.mirrorList, SetMirrors: a.mirrors.SetEnabled,
		State: func() string {
			if a.draining.Load() {
				return "DRAINING"
			}
			return admin.Live
		},
		Clusters: a.clusterList, Gatherer: a.metrics, Logger: a.opts.Logger, Log: a.opts.Log,
	}
}

// dump is what the data plane runs by.
func (a *App) dump() admin.Accepted {
	acc := a.builder.Accepted()
	return admin.Accepted{
		Bootstrap:        &bootstrapv3.Bootstrap{Node: &corev3.Node{Id: "umbra", UserAgentName: "umbra"}},
		BootstrapUpdated: a.started,
		Clusters:         dumped(acc.Version, acc.Clusters),
		Endpoints:        dumped(acc.Version, acc.Endpoints),
		Listeners:        dumped(acc.Version, acc.Listeners),
		Routes:           dumped(acc.Version, acc.Routes),
	}
}

func dumped[M proto.Message](version string, in []build.Resource[M]) admin.Resources {
	out := admin.Resources{Version: version}
	for _, r := range in {
		out.List = append(out.List, admin.Resource{Message: r.Message, Version: r.Version, LastUpdated: r.LastUpdated})
	}
	return out
}

// problems are the lines /ready shows: what of the configuration is not served as written, and what does not resolve.
func (a *App) problems() []string {
	var lines []string
	problems, _, unread := a.control.status()
	if unread != nil {
		lines = append(lines, unread.Error())
	}
	for _, p := range problems {
		if p.Severity >= mesh.Unresolved || wholeFile(p) {
			lines = append(lines, p.String())
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.nacks {
		lines = append(lines, n.Error())
	}
	return lines
}

// mirrorList joins the policies in force with what is counted for them.
func (a *App) mirrorList() []admin.Mirror {
	list := []admin.Mirror{}
	for _, m := range a.builder.Mirrors() {
		c := m.Stats.Counts()
		list = append(list, admin.Mirror{
			ID: m.ID, From: m.From, To: m.To, Share: share(m), HostSuffix: suffix(m), Enabled: a.mirrors.Enabled(),
			Selected: c.Selected, Delivered: c.Delivered, Dropped: c.Dropped, InFlight: c.Live,
		})
	}
	return list
}

func share(m build.Mirror) float64 {
	return min(float64(m.Numerator)*100/float64(m.Denominator), 100)
}

// suffix is what is appended to the Host of copies.
func suffix(m build.Mirror) string {
	if m.Suffix {
		return "-shadow"
	}
	return ""
}

// report logs what a configuration has to say that the one before it did not; /ready and check tell all.
func (a *App) report(problems []mesh.Problem) {
	before := a.said
	a.said = make(map[string]bool, len(problems))
	for _, p := range problems {
		line := p.String()
		a.said[line] = true
		if before[line] {
			continue
		}
		level := slog.LevelError
		switch p.Severity {
		case mesh.Note:
			level = slog.LevelInfo
		case mesh.Warning:
			level = slog.LevelWarn
		}
		a.opts.Logger.Log(context.Background(), level, "configuration", "problem", line)
	}
}

// reportMirrors logs which mirrors a reload brought, changed or took away.
func (a *App) reportMirrors(before, now []string) {
	for _, line := range without(before, now) {
		a.opts.Logger.Info("no longer in force", "what", line)
	}
	for _, line := range without(now, before) {
		a.opts.Logger.Info("in force", "what", line)
	}
}

// without returns the lines of list that are not in other.
func without(list, other []string) []string {
	in := make(map[string]bool, len(other))
	for _, line := range other {
		in[line] = true
	}
	var out []string
	for _, line := range list {
		if !in[line] {
			out = append(out, line)
		}
	}
	return out
}

// StartLines tell where traffic is served and where copies go, one line for each listener and each mirror in force.
func (a *App) StartLines() []string {
	var lines []string
	for _, addr := range a.Addrs() {
		lines = append(lines, fmt.Sprintf("listening on %s", addr))
	}
	if len(lines) == 0 {
		lines = append(lines, "listening on no port: no Gateway is served here, and there is no --outbound")
	}
	lines = append(lines, a.mirrorLines()...)
	if a.admin != nil {
		lines = append(lines, fmt.Sprintf("admin pages on http://%s", a.Admin()))
	}
	return lines
}

func (a *App) mirrorLines() []string {
	var lines []string
	for _, m := range a.builder.Mirrors() {
		host := "<host>" + suffix(m)
		if m.Host != "" {
			host = m.Host
		}
		lines = append(lines, fmt.Sprintf("mirror %s: from %s to %s, share %s %%, Host %s",
			m.ID, m.From, m.To, strconv.FormatFloat(share(m), 'g', -1, 64), host))
	}
	return lines
}

// clusterList is what /clusters shows.
func (a *App) clusterList() []admin.Cluster {
	var list []admin.Cluster
	for _, c := range a.clusters.Clusters() {
		cfg := c.Config()
		out := admin.Cluster{
			Name: c.Name, MaxConnections: cfg.MaxConnections, MaxPending: cfg.MaxPending, MaxRequests: cfg.MaxRequests,
			MaxRetries: cfg.MaxRetries,
		}
		if cfg.Discovery == upstream.EDS {
			out.ServiceName = cfg.ServiceName
		}
		for _, h := range c.Hosts() {
			i := h.Info()
			out.Hosts = append(out.Hosts, admin.Host{
				Addr: h.Addr, Name: h.Name, Hostname: i.Hostname, Weight: i.Weight, Priority: i.Priority,
				Region: i.Locality.Region, Zone: i.Locality.Zone, SubZone: i.Locality.SubZone,
				Active: h.Active(), Unhealthy: i.Unhealthy, Ejected: i.Ejected[loop.Production] || i.Ejected[loop.Copy],
			})
		}
		list = append(list, out)
	}
	slices.SortFunc(list, func(x, y admin.Cluster) int { return strings.Compare(x.Name, y.Name) })
	return list
}
