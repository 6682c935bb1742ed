// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"math"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// rulesKey is what the routes of a virtual service depend on: the port fills in destinations without one.
type rulesKey struct {
	vs   *mesh.VirtualService
	port uint32
}

// ruleRoutes are the routes of a virtual service's rules, and where the one stands that takes every request, if any does:
// it is the last.
type ruleRoutes struct {
	list     []*routev3.Route
	catchAll mesh.Place
}

// routes compiles the rules of a virtual service in match order, one route for each match. Behind a route that takes
// every request nothing is emitted. The list is shared: do not write to it.
func (k *compiler) routes(vs *mesh.VirtualService, listenPort uint32) ruleRoutes {
	key := rulesKey{vs, listenPort}
	routes, ok := k.rules[key]
	if !ok {
		routes = k.compileRules(vs, listenPort)
		k.rules[key] = routes
	}
	return routes
}

func (k *compiler) compileRules(vs *mesh.VirtualService, listenPort uint32) (out ruleRoutes) {
	meta := istioMetadata(vs)
	for i := range vs.Rules {
		rule := &vs.Rules[i]
		action := k.action(vs, rule, listenPort)
		if action == nil {
			continue
		}
		matches := []*mesh.Match{nil}
		if len(rule.Matches) > 0 {
			matches = matches[:0]
			for j := range rule.Matches {
				matches = append(matches, &rule.Matches[j])
			}
		}
		for j, m := range matches {
			r := &routev3.Route{
				Name:     routeName(rule, m),
				Match:    routeMatch(m),
				Action:   &routev3.Route_Route{Route: action},
				Metadata: meta,
			}
			r.Decorator = &routev3.Decorator{Operation: operation(r, vs, listenPort)}
			out.list = append(out.list, r)
			if catchAll(r) {
				out.catchAll = rule.Place
				k.unreached(vs, i, j+1)
				return out
			}
		}
	}
	return out
}

// unreached warns of what stands behind a match that takes every request: later matches of its rule, and later rules.
func (k *compiler) unreached(vs *mesh.VirtualService, rule, match int) {
	warn := func(at mesh.Place) {
		k.problemAt(mesh.Warning, vs.Origin, at,
			fmt.Sprintf("is never reached: %s takes every request before it", vs.Rules[rule].Place.Field),
			"put it first, or remove it")
	}
	for _, m := range vs.Rules[rule].Matches[min(match, len(vs.Rules[rule].Matches)):] {
		warn(m.Place)
	}
	for _, r := range vs.Rules[rule+1:] {
		warn(r.Place)
	}
}

func routeName(rule *mesh.Rule, m *mesh.Match) string {
	if m == nil || m.Name == "" {
		return rule.Name
	}
	return rule.Name + "." + m.Name
}

// action is where a rule sends requests and copies; nil if it sends them nowhere.
func (k *compiler) action(vs *mesh.VirtualService, r *mesh.Rule, listenPort uint32) *routev3.RouteAction {
	a := &routev3.RouteAction{
		Timeout:               durationpb.New(r.Timeout),
		RetryPolicy:           k.retry,
		RequestMirrorPolicies: k.mirrors(vs, r, listenPort),
	}
	if len(r.Route) == 1 {
		// A single destination takes everything, whatever its weight.
		name := k.destination(r.Route[0], listenPort, vs.Origin)
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: name}
		return a
	}
	weighted, err := k.weighted(vs, r, listenPort)
	if err != nil {
		at := mesh.Place{Field: r.Place.Field + ".route", Line: r.Place.Line}
		k.problemAt(mesh.Error, vs.Origin, at, err.Error(), "give at least one destination a weight above 0")
		return nil
	}
	a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: weighted}
	return a
}

// weighted lists the destinations that have a weight, unchanged: Envoy adds them up itself.
func (k *compiler) weighted(
	vs *mesh.VirtualService, r *mesh.Rule, listenPort uint32,
) (*routev3.WeightedCluster, error) {
	w := &routev3.WeightedCluster{}
	var total uint64
	for _, d := range r.Route {
		if d.Weight <= 0 {
			continue
		}
		total += uint64(d.Weight)
		w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{
			Name:   k.destination(d, listenPort, vs.Origin),
			Weight: u32(uint32(d.Weight)),
		})
	}
	if total == 0 || total > math.MaxUint32 {
		return nil, fmt.Errorf("total destination weight = %d", total)
	}
	return w, nil
}

// routeMatch translates the conditions of a match: the path, then headers by name, then the method.
func routeMatch(m *mesh.Match) *routev3.RouteMatch {
	if m == nil {
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	}
	out := &routev3.RouteMatch{CaseSensitive: boolean(true)}
	switch {
	case m.URI == nil:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
	case m.URI.Kind == mesh.Exact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.URI.Value}
	case m.URI.Kind == mesh.Prefix:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: m.URI.Value}
	default:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(m.URI.Value)}
	}
	headers := slices.Clone(m.Headers)
	slices.SortStableFunc(headers, func(a, b mesh.HeaderMatch) int { return strings.Compare(a.Name, b.Name) })
	if m.Method != nil {
		headers = append(headers, mesh.HeaderMatch{Name: ":method", Value: m.Method})
	}
	for _, h := range headers {
		out.Headers = append(out.Headers, headerMatch(h))
	}
	return out
}

func headerMatch(h mesh.HeaderMatch) *routev3.HeaderMatcher {
	if h.Value == nil {
		return &routev3.HeaderMatcher{
			Name:                 h.Name,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}
	}
	return &routev3.HeaderMatcher{
		Name:                 h.Name,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatch(h.Value)},
	}
}

// catchAll reports whether a route takes every request: the path does not matter and nothing else is asked.
func catchAll(r *routev3.Route) bool {
	m := r.GetMatch()
	return len(m.GetHeaders()) == 0 && (m.GetPrefix() == "/" || m.GetSafeRegex().GetRegex() == ".*")
}
