// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

const (
	defaultRouteTimeout = 15 * time.Second // envoy.config.route.v3.RouteAction.timeout
	defaultDirectBytes  = 4096             // RouteConfiguration.max_direct_response_body_size_bytes
)

func (l *routeLinker) direct(d *routev3.DirectResponseAction) (*proxy.Direct, *fault) {
	limit := orDefault(l.rc.GetMaxDirectResponseBodySizeBytes(), defaultDirectBytes)
	body, field := d.GetBody().GetInlineString(), "body.inline_string"
	if b := d.GetBody().GetInlineBytes(); len(b) > 0 {
		body, field = string(b), "body.inline_bytes"
	}
	if uint64(len(body)) > uint64(limit) {
		return nil, faultf(field, "%d bytes are more than max_direct_response_body_size_bytes, %d", len(body), limit)
	}
	return &proxy.Direct{Status: int(d.GetStatus()), Body: body, Details: "direct_response"}, nil
}

var redirectCodes = map[routev3.RedirectAction_RedirectResponseCode]int{
	routev3.RedirectAction_MOVED_PERMANENTLY:  http.StatusMovedPermanently,
	routev3.RedirectAction_FOUND:              http.StatusFound,
	routev3.RedirectAction_SEE_OTHER:          http.StatusSeeOther,
	routev3.RedirectAction_TEMPORARY_REDIRECT: http.StatusTemporaryRedirect,
	routev3.RedirectAction_PERMANENT_REDIRECT: http.StatusPermanentRedirect,
}

func linkRedirect(m *routev3.RouteMatch, a *routev3.RedirectAction) (*filter.Redirect, *fault) {
	r := &filter.Redirect{
		Code: redirectCodes[a.GetResponseCode()], Host: a.GetHostRedirect(), Port: a.GetPortRedirect(),
		StripQuery: a.GetStripQuery(),
	}
	switch s := a.GetSchemeRewriteSpecifier().(type) {
	case *routev3.RedirectAction_HttpsRedirect:
		if s.HttpsRedirect {
			r.Scheme = "https"
		}
	case *routev3.RedirectAction_SchemeRedirect:
		r.Scheme = strings.ToLower(s.SchemeRedirect)
	}
	switch s := a.GetPathRewriteSpecifier().(type) {
	case *routev3.RedirectAction_PathRedirect:
		r.Path = s.PathRedirect
	case *routev3.RedirectAction_PrefixRewrite:
		r.Rewrite = prefixRewrite(m, s.PrefixRewrite)
	case *routev3.RedirectAction_RegexRewrite:
		r.Rewrite = &filter.Rewrite{}
		var bad *fault
		if r.Rewrite.Regex, r.Rewrite.Sub, bad = substitution(s.RegexRewrite); bad != nil {
			return nil, bad.under("regex_rewrite")
		}
	}
	return r, nil
}

var notFoundCodes = map[routev3.RouteAction_ClusterNotFoundResponseCode]int{
	routev3.RouteAction_SERVICE_UNAVAILABLE:   0, // the default
	routev3.RouteAction_NOT_FOUND:             http.StatusNotFound,
	routev3.RouteAction_INTERNAL_SERVER_ERROR: http.StatusInternalServerError,
}

// forward links a route that leads to a cluster. vhostRetry holds for those that have no retry policy of their own.
func (l *routeLinker) forward(
	action *proxy.Action, m *routev3.RouteMatch, a *routev3.RouteAction, vhostRetry *proxy.Retry, levels ...*level,
) (bad *fault) {
	action.NotFound = notFoundCodes[a.GetClusterNotFoundResponseCode()]
	if bad = linkTimeouts(action, a); bad != nil {
		return bad
	}
	action.Retry = vhostRetry
	if p := a.GetRetryPolicy(); p != nil {
		if action.Retry, bad = linkRetry(p); bad != nil {
			return bad.under("retry_policy")
		}
	}
	if action.Rewrite, action.AutoHost, bad = linkRewrite(m, a); bad != nil {
		return bad
	}
	if action.Hash, bad = linkHash(a.GetHashPolicy()); bad != nil {
		return bad
	}
	if bad = l.checkMirrors(a.GetRequestMirrorPolicies()); bad != nil {
		return bad
	}
	switch c := a.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		if !l.exists(c.Cluster) {
			return faultf("cluster", "route: unknown cluster '%s'", c.Cluster)
		}
		action.Clusters = []proxy.Weighted{{Slot: l.slot(c.Cluster), Weight: 1}}
		action.TotalWeight = 1
		return nil
	case *routev3.RouteAction_ClusterHeader:
		action.ClusterHeader, action.Named = strings.ToLower(c.ClusterHeader), l.names.slot
		l.names.wanted = true
		return nil
	case *routev3.RouteAction_WeightedClusters:
		return l.weighted(action, c.WeightedClusters, levels...).under("weighted_clusters")
	default:
		return faultf("cluster_specifier", "missing: cluster, cluster_header or weighted_clusters")
	}
}

func linkTimeouts(action *proxy.Action, a *routev3.RouteAction) (bad *fault) {
	if action.Timeout, bad = duration(a.GetTimeout(), defaultRouteTimeout, "timeout"); bad != nil {
		return bad
	}
	if action.IdleTimeout, bad = duration(a.GetIdleTimeout(), 0, "idle_timeout"); bad != nil {
		return bad
	}
	if a.GetIdleTimeout() != nil && action.IdleTimeout == 0 {
		action.IdleTimeout = -1 // none, where absent is the listener's
	}
	action.MaxGRPCTimeout, bad = duration(a.GetMaxGrpcTimeout(), -1, "max_grpc_timeout")
	return bad
}

// weighted links clusters of which each gets a share. levels are the route's, its virtual host's and so on.
func (l *routeLinker) weighted(action *proxy.Action, w *routev3.WeightedCluster, levels ...*level) *fault {
	for i, c := range w.GetClusters() {
		path := fmt.Sprintf("clusters[%d]", i)
		switch {
		case c.GetName() == "":
			return faultf(path+".name", "missing")
		case c.GetWeight() == nil:
			return faultf(path+".weight", "missing")
		case !l.exists(c.GetName()):
			return faultf(path+".name", "route: unknown weighted cluster '%s'", c.GetName())
		}
		lv, bad := linkLevel(c)
		if bad != nil {
			return bad.under(path)
		}
		weight := uint64(c.GetWeight().GetValue())
		if weight == 0 {
			continue // never drawn
		}
		action.Clusters = append(action.Clusters, proxy.Weighted{
			Slot: l.slot(c.GetName()), Weight: weight, Host: filter.Encoded(c.GetHostRewriteLiteral()),
			Request: filter.NewHeaderOps(lv.request), Response: filter.NewHeaderOps(lv.response),
			Fault: effectiveFault(append([]*level{&lv}, levels...)...),
			CORS:  effectiveCORS(append([]*level{&lv}, levels...)...),
		})
		action.OwnFilters = action.OwnFilters || lv.fault.given || lv.cors.given
		action.TotalWeight += weight
	}
	if !action.OwnFilters { // the route's are all there is
		for i := range action.Clusters {
			action.Clusters[i].Fault, action.Clusters[i].CORS = nil, nil
		}
	}
	if action.TotalWeight == 0 || action.TotalWeight > math.MaxUint32 {
		return faultf("clusters", "the sum of the weights is %d, it must be 1 to %d",
			action.TotalWeight, uint32(math.MaxUint32))
	}
	return nil
}

func (l *routeLinker) slot(cluster string) *upstream.Slot { return l.deps.Clusters.Slot(cluster) }

// exists tells whether a route may name that cluster: with validate_clusters only those that are in force.
func (l *routeLinker) exists(cluster string) bool { return l.known == nil || l.known(cluster) }
