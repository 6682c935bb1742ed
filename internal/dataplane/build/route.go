// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
)

// routeLinker turns the virtual hosts of one RouteConfiguration into linked ones.
type routeLinker struct {
	deps  *Deps
	names *names
	rc    *routev3.RouteConfiguration
	// known tells whether a cluster is in force; nil: routes may name any (validate_clusters false).
	known func(cluster string) bool
	level level // of rc
}

// newRouteLinker reads what the route configuration itself says.
func newRouteLinker(d *Deps, n *names, rc *routev3.RouteConfiguration, known func(string) bool) (*routeLinker, *fault) {
	l := &routeLinker{deps: d, names: n, rc: rc, known: known}
	bad := l.checkMirrors(rc.GetRequestMirrorPolicies())
	if bad == nil {
		l.level, bad = linkLevel(rc)
	}
	return l, bad
}

// linkedHost is one virtual host in force.
type linkedHost struct {
	message *routev3.VirtualHost
	host    *route.Host[*proxy.Action]
	counted
}

// host links one virtual host. With a fault, what is returned beside it counts all the same and has to be released.
func (l *routeLinker) host(v *routev3.VirtualHost) (*linkedHost, *fault) {
	h := &linkedHost{message: v}
	cfg, bad := l.hostConfig(v, h)
	if bad == nil {
		var err error
		if h.host, err = route.NewHost(&cfg); err != nil {
			bad = faultf("", "%v", err)
		}
	}
	return h, bad
}

func (l *routeLinker) hostConfig(v *routev3.VirtualHost, h *linkedHost) (route.VirtualHost[*proxy.Action], *fault) {
	cfg := route.VirtualHost[*proxy.Action]{
		Name: v.GetName(), Domains: v.GetDomains(),
		RequireTLS: v.GetRequireTls() == routev3.VirtualHost_ALL,
	}
	if bad := l.checkMirrors(v.GetRequestMirrorPolicies()); bad != nil {
		return cfg, bad
	}
	own, bad := linkLevel(v)
	if bad != nil {
		return cfg, bad
	}
	var retry *proxy.Retry
	if p := v.GetRetryPolicy(); p != nil {
		if retry, bad = linkRetry(p); bad != nil {
			return cfg, bad.under("retry_policy")
		}
	}
	if n := len(v.GetRoutes()); n > 0 {
		cfg.Routes = make([]route.Route[*proxy.Action], n)
	}
	for i, r := range v.GetRoutes() {
		if bad := l.route(&cfg.Routes[i], v, &own, retry, r, i, h); bad != nil {
			return cfg, bad.under(fmt.Sprintf("routes[%d]", i))
		}
	}
	return cfg, nil
}

func (l *routeLinker) route(
	to *route.Route[*proxy.Action], v *routev3.VirtualHost, vhost *level, retry *proxy.Retry, r *routev3.Route, index int,
	h *linkedHost,
) *fault {
	action := &proxy.Action{
		Name: r.GetName(), AttemptCount: v.GetIncludeRequestAttemptCount(),
		Operation: printable(r.GetDecorator().GetOperation()),
	}
	to.Action = action
	if bad := linkMatch(to, r.GetMatch()); bad != nil {
		return bad.under("match")
	}
	own, bad := linkLevel(r)
	if bad != nil {
		return bad
	}
	request, response := l.headerOps(&own, vhost)
	action.Response = response
	action.Fault = effectiveFault(&own, vhost, &l.level)
	switch a := r.GetAction().(type) {
	case *routev3.Route_Route:
		if bad := l.forward(action, r.GetMatch(), a.Route, retry, &own, vhost, &l.level); bad != nil {
			return bad.under("route")
		}
		action.Request = request
		action.CORS = effectiveCORS(&own, vhost, &l.level)
		if prefix := r.GetStatPrefix(); prefix != "" {
			action.Stats = l.deps.RouteStats(v.GetName(), prefix)
			h.routes = append(h.routes, action.Stats)
		}
		action.Mirrors, bad = l.mirrorPolicies(v, r, index, h)
		return bad
	case *routev3.Route_DirectResponse:
		action.Direct, bad = l.direct(a.DirectResponse)
		return bad.under("direct_response")
	case *routev3.Route_Redirect:
		action.Redirect, bad = linkRedirect(r.GetMatch(), a.Redirect)
		return bad.under("redirect")
	default:
		return faultf("action", "missing: route, redirect or direct_response")
	}
}
