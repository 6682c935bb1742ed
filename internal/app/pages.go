// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/umbra-mesh/umbra/internal/admin"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/dataplane/build"
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
		Clusters: a.clusterList, Gatherer: a.metrics, Logger: a.opts.Logger,
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
		c := a.mirrors.Stats(m.ID, m.To).Counts()
		list = append(list, admin.Mirror{
			ID: m.ID, From: m.From, To: m.To, Share: share(m), HostSuffix: suffix(m), Enabled: a.mirrors.Enabled(),
			Selected: c.Selected, Delivered: c.Delivered, Dropped: c.Dropped, InFlight: c.Live,
		})
	}
	return list
}

func share(m build.MirrorInfo) float64 {
	return min(float64(m.Numerator)*100/float64(m.Denominator), 100)
}

func suffix(m build.MirrorInfo) string {
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
	for _, line := range before {
		if !slices.Contains(now, line) {
			a.opts.Logger.Info("no longer in force", "what", line)
		}
	}
	for _, line := range now {
		if !slices.Contains(before, line) {
			a.opts.Logger.Info("in force", "what", line)
		}
	}
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
		lines = append(lines, fmt.Sprintf("mirror %s: from %s to %s, share %s %%, Host <host>%s",
			m.ID, m.From, m.To, strconv.FormatFloat(share(m), 'g', -1, 64), suffix(m)))
	}
	return lines
}

// clusterList is what /clusters shows.
func (a *App) clusterList() []admin.Cluster {
	var list []admin.Cluster
	for _, c := range a.clusters.Clusters() {
		cfg := c.Config()
		n := func(v uint32) string { return strconv.FormatUint(uint64(v), 10) }
		out := admin.Cluster{Name: c.Name, Stats: []admin.Stat{
			{Name: "default_priority::max_connections", Value: n(cfg.MaxConnections)},
			{Name: "default_priority::max_pending_requests", Value: n(cfg.MaxPending)},
			{Name: "default_priority::max_requests", Value: n(cfg.MaxRequests)},
			{Name: "default_priority::max_retries", Value: n(cfg.MaxRetries)},
		}}
		for _, h := range c.Hosts() {
			out.Hosts = append(out.Hosts, admin.Host{Address: h.Name, Stats: []admin.Stat{
				{Name: "rq_active", Value: strconv.FormatInt(h.Active(), 10)}, {Name: "health_flags", Value: "healthy"},
			}})
		}
		list = append(list, out)
	}
	return list
}
