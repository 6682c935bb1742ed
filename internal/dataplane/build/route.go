// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

const (
	defaultRouteTimeout = 15 * time.Second // envoy.config.route.v3.RouteAction.timeout
	defaultDirectBytes  = 4096             // RouteConfiguration.max_direct_response_body_size_bytes
)

// routeLinker turns one RouteConfiguration into a table.
type routeLinker struct {
	deps    *Deps
	rc      *routev3.RouteConfiguration
	mirrors []MirrorInfo
}

func (l *routeLinker) link() (*proxy.RouteTable, *fault) {
	cfg, bad := l.config()
	if bad != nil {
		return nil, bad
	}
	t, err := route.New(cfg)
	if err != nil {
		return nil, faultf("virtual_hosts", "%v", err)
	}
	return t, nil
}

func (l *routeLinker) config() (route.Config[*proxy.Action], *fault) {
	cfg := route.Config[*proxy.Action]{IgnorePort: l.rc.GetIgnorePortInHostMatching()}
	if bad := checkMirrors(l.rc.GetRequestMirrorPolicies()); bad != nil {
		return cfg, bad
	}
	for i, v := range l.rc.GetVirtualHosts() {
		if bad := checkMirrors(v.GetRequestMirrorPolicies()); bad != nil {
			return cfg, bad.under(fmt.Sprintf("virtual_hosts[%d]", i))
		}
		host := route.VirtualHost[*proxy.Action]{Name: v.GetName(), Domains: v.GetDomains()}
		for k, r := range v.GetRoutes() {
			linked, bad := l.route(v, r, k)
			if bad != nil {
				return cfg, bad.under(fmt.Sprintf("virtual_hosts[%d].routes[%d]", i, k))
			}
			host.Routes = append(host.Routes, linked)
		}
		cfg.Hosts = append(cfg.Hosts, host)
	}
	return cfg, nil
}

func (l *routeLinker) route(v *routev3.VirtualHost, r *routev3.Route, index int) (route.Route[*proxy.Action], *fault) {
	linked := route.Route[*proxy.Action]{Action: &proxy.Action{
		Name: r.GetName(), AttemptCount: v.GetIncludeRequestAttemptCount(),
	}}
	var bad *fault
	if linked.Path, bad = pathMatch(r.GetMatch()); bad != nil {
		return linked, bad.under("match")
	}
	for i, h := range r.GetMatch().GetHeaders() {
		m, bad := headerMatch(h)
		if bad != nil {
			return linked, bad.under(fmt.Sprintf("match.headers[%d]", i))
		}
		linked.Headers = append(linked.Headers, m)
	}
	switch a := r.GetAction().(type) {
	case *routev3.Route_Route:
		if bad = l.forward(linked.Action, a.Route).under("route"); bad == nil {
			linked.Action.Mirrors = l.mirrorPolicies(v, r, index)
		}
	case *routev3.Route_DirectResponse:
		linked.Action.Direct, bad = l.direct(a.DirectResponse)
		bad = bad.under("direct_response")
	default:
		bad = faultf("action", "missing: route or direct_response")
	}
	return linked, bad
}

func pathMatch(m *routev3.RouteMatch) (route.PathMatch, *fault) {
	p := route.PathMatch{IgnoreCase: m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue()}
	switch s := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		p.Kind, p.Value = route.PathPrefix, s.Prefix
	case *routev3.RouteMatch_Path:
		p.Kind, p.Value = route.PathExact, s.Path
	case *routev3.RouteMatch_SafeRegex:
		p.Kind, p.Value = route.PathRegex, s.SafeRegex.GetRegex()
		return p, checkRegex(s.SafeRegex, "safe_regex")
	default:
		return p, faultf("path_specifier", "missing: prefix, path or safe_regex")
	}
	return p, nil
}

func headerMatch(h *routev3.HeaderMatcher) (route.HeaderMatch, *fault) {
	m := route.HeaderMatch{
		Name: h.GetName(), Invert: h.GetInvertMatch(), MissingAsEmpty: h.GetTreatMissingHeaderAsEmpty(),
	}
	if name := strings.ToLower(m.Name); strings.HasPrefix(name, ":") &&
		name != ":method" && name != ":authority" && name != ":path" {
		return m, faultf("name", "%s is not implemented, only :method, :authority and :path", m.Name)
	}
	switch s := h.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_PresentMatch:
		m.Invert = m.Invert == s.PresentMatch // false means absent, inverted it means present
	case *routev3.HeaderMatcher_StringMatch:
		return m, stringMatch(&m, s.StringMatch)
	case nil: // the same as present
	}
	return m, nil
}

func stringMatch(m *route.HeaderMatch, s *matcherv3.StringMatcher) *fault {
	m.IgnoreCase = s.GetIgnoreCase()
	switch p := s.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		m.Kind, m.Value = route.HeaderExact, p.Exact
	case *matcherv3.StringMatcher_Prefix:
		m.Kind, m.Value = route.HeaderPrefix, p.Prefix
	case *matcherv3.StringMatcher_Suffix:
		m.Kind, m.Value = route.HeaderSuffix, p.Suffix
	case *matcherv3.StringMatcher_Contains:
		m.Kind, m.Value = route.HeaderContains, p.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		m.Kind, m.Value = route.HeaderRegex, p.SafeRegex.GetRegex()
		return checkRegex(p.SafeRegex, "string_match.safe_regex")
	default:
		return faultf("string_match.match_pattern", "missing")
	}
	return nil
}

func checkRegex(r *matcherv3.RegexMatcher, path string) *fault {
	if _, err := regexp.Compile(r.GetRegex()); err != nil {
		return faultf(path+".regex", "%v", err)
	}
	return nil
}

func (l *routeLinker) direct(d *routev3.DirectResponseAction) (*proxy.Direct, *fault) {
	limit := orDefault(l.rc.GetMaxDirectResponseBodySizeBytes(), defaultDirectBytes)
	body := d.GetBody().GetInlineString()
	if uint64(len(body)) > uint64(limit) {
		return nil, faultf("body.inline_string", "%d bytes are more than max_direct_response_body_size_bytes, %d",
			len(body), limit)
	}
	return &proxy.Direct{Status: int(d.GetStatus()), Body: body, Details: "direct_response"}, nil
}

func (l *routeLinker) forward(action *proxy.Action, a *routev3.RouteAction) (bad *fault) {
	if action.Timeout, bad = duration(a.GetTimeout(), defaultRouteTimeout, "timeout"); bad != nil {
		return bad
	}
	if p := a.GetRetryPolicy(); p != nil {
		if action.Retry, bad = linkRetry(p); bad != nil {
			return bad.under("retry_policy")
		}
	}
	if bad = checkMirrors(a.GetRequestMirrorPolicies()); bad != nil {
		return bad
	}
	switch c := a.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		action.Clusters = []proxy.Weighted{{Slot: l.slot(c.Cluster), Weight: 1}}
		action.TotalWeight = 1
		return nil
	case *routev3.RouteAction_WeightedClusters:
		return l.weighted(action, c.WeightedClusters).under("weighted_clusters")
	default:
		return faultf("cluster_specifier", "missing: cluster or weighted_clusters")
	}
}

func (l *routeLinker) weighted(action *proxy.Action, w *routev3.WeightedCluster) *fault {
	for i, c := range w.GetClusters() {
		switch {
		case c.GetName() == "":
			return faultf(fmt.Sprintf("clusters[%d].name", i), "missing")
		case c.GetWeight() == nil:
			return faultf(fmt.Sprintf("clusters[%d].weight", i), "missing")
		case c.GetWeight().GetValue() == 0: // never drawn
			continue
		}
		weight := uint64(c.GetWeight().GetValue())
		action.Clusters = append(action.Clusters, proxy.Weighted{Slot: l.slot(c.GetName()), Weight: weight})
		action.TotalWeight += weight
	}
	if action.TotalWeight == 0 || action.TotalWeight > math.MaxUint32 {
		return faultf("clusters", "the sum of the weights is %d, it must be 1 to %d",
			action.TotalWeight, uint32(math.MaxUint32))
	}
	return nil
}

func (l *routeLinker) slot(cluster string) *upstream.Slot { return l.deps.Clusters.Slot(cluster) }
