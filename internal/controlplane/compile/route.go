// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// rulesKey is what the routes of a virtual service depend on besides what they look up: the port fills in destinations
// without one, and port and gateway choose among the matches. Gateway is empty if no match asks for it.
type rulesKey struct {
	vs      *mesh.VirtualService
	port    uint32
	gateway string
}

// ruleRoutes are the routes of a virtual service's rules, with what was found out while they were made. They are kept
// from one configuration to the next as long as all of that holds. Shared: do not write to the routes.
type ruleRoutes struct {
	vs       *mesh.VirtualService
	list     []*routev3.Route
	catchAll *mesh.Rule // whose route takes every request, if one does: it is the last
	problems []mesh.Problem

	index   *index   // of the services, in which lookups were last seen to hold
	lookups []lookup // services asked for
	mirrors []mirrorLookup
	used    uint64 // the last configuration that has them
}

type lookup struct {
	host    string
	service *mesh.Service // nil: there was none
}

// mirrorLookup is a question whether a mirror leads back here, and the answer.
type mirrorLookup struct {
	key  loopKey
	back string
}

// routes compiles the rules of a virtual service in match order, one route for each match, as a gateway
// ("namespace/name") or sidecars ("mesh") see them. Behind a route that takes every request nothing is emitted.
func (k *compiler) routes(vs *mesh.VirtualService, port uint32, gateway string) *ruleRoutes {
	key := rulesKey{vs: vs, port: port}
	kept, ok := k.rules[key]
	if !ok && asksForGateway(vs) {
		key.gateway = gateway
		kept, ok = k.rules[key]
	}
	if !ok || !k.holds(kept) {
		kept = k.compileRules(vs, port, gateway)
		k.rules[key] = kept
	}
	k.take(kept)
	return kept
}

// again reports whether routes that were found before would be found again, and takes them then.
func (k *compiler) again(r *ruleRoutes) bool {
	if !k.holds(r) {
		return false
	}
	k.take(r)
	return true
}

// take marks routes as used in this configuration. What is wrong with them is said once.
func (k *compiler) take(r *ruleRoutes) {
	if r.used != k.generation {
		r.used = k.generation
		k.problems = append(k.problems, r.problems...)
	}
}

func asksForGateway(vs *mesh.VirtualService) bool {
	for i := range vs.Rules {
		for j := range vs.Rules[i].Matches {
			if len(vs.Rules[i].Matches[j].Gateways) > 0 {
				return true
			}
		}
	}
	return false
}

// holds reports whether everything that was looked up for the routes would be found again.
func (k *compiler) holds(r *ruleRoutes) bool {
	if r.used == k.generation {
		return true
	}
	if r.index != k.index {
		for _, l := range r.lookups {
			if k.services[l.host] != l.service {
				return false
			}
		}
		r.index = k.index
	}
	return !slices.ContainsFunc(r.mirrors, func(m mirrorLookup) bool { return k.loop(m.key) != m.back })
}

// ruleCompiler is one compilation of a virtual service's rules.
type ruleCompiler struct {
	*compiler
	vs      *mesh.VirtualService
	port    uint32 // listened on
	gateway string
	out     *ruleRoutes
}

func (k *compiler) compileRules(vs *mesh.VirtualService, port uint32, gateway string) *ruleRoutes {
	c := &ruleCompiler{compiler: k, vs: vs, port: port, gateway: gateway, out: &ruleRoutes{vs: vs, index: k.index}}
	meta := istioMetadata(vs)
	for i := range vs.Rules {
		rule := &vs.Rules[i]
		matches, always := c.matches(rule)
		if len(matches) == 0 {
			continue
		}
		base := c.route(rule)
		if base == nil {
			continue
		}
		for j, m := range matches {
			r := &routev3.Route{
				Name:                    rule.Name,
				Match:                   routeMatch(m),
				Action:                  base.Action,
				Metadata:                meta,
				TypedPerFilterConfig:    base.TypedPerFilterConfig,
				RequestHeadersToAdd:     base.RequestHeadersToAdd,
				RequestHeadersToRemove:  base.RequestHeadersToRemove,
				ResponseHeadersToAdd:    base.ResponseHeadersToAdd,
				ResponseHeadersToRemove: base.ResponseHeadersToRemove,
			}
			if m != nil {
				r.StatPrefix = m.StatPrefix
				if m.Name != "" {
					r.Name = rule.Name + "." + m.Name
				}
			}
			r.Decorator = &routev3.Decorator{Operation: operation(r, vs, port)}
			c.out.list = append(c.out.list, r)
			if catchAll(r) {
				c.out.catchAll = rule
				if always[j] {
					c.unreached(i, m)
				}
				return c.out
			}
		}
	}
	return c.out
}

// matches are those of a rule that this proxy has to decide, in order; a rule without any has the one that is nil.
// always tells of each whether it is there whatever the proxy, port and gateway are.
func (c *ruleCompiler) matches(rule *mesh.Rule) (list []*mesh.Match, always []bool) {
	if len(rule.Matches) == 0 {
		return []*mesh.Match{nil}, []bool{true}
	}
	for i := range rule.Matches {
		m := &rule.Matches[i]
		if c.applies(rule, m) {
			list = append(list, m)
			always = append(always, m.Port == 0 && len(m.Gateways) == 0 && len(m.SourceLabels) == 0 && m.SourceNamespace == "")
		}
	}
	return list, always
}

// applies decides the conditions on the proxy. Those on the source do not count beside gateways.
func (c *ruleCompiler) applies(rule *mesh.Rule, m *mesh.Match) bool {
	if m.Port != 0 && m.Port != c.port {
		return false
	}
	if len(m.Gateways) > 0 {
		return slices.Contains(m.Gateways, c.gateway)
	}
	if m.SourceNamespace != "" && m.SourceNamespace != c.opts.Namespace {
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(m.SourceLabels)) {
		if value, ok := c.opts.Labels[name]; !ok || value != m.SourceLabels[name] {
			if c.opts.Labels == nil {
				c.problemOf(mesh.Note, rule, m.Place, "is for proxies with certain labels, and this one was given none: it never matches",
					"run with --labels")
			}
			return false
		}
	}
	return true
}

// unreached warns of what stands behind a match that takes every request: later matches of its rule, and later rules.
func (c *ruleCompiler) unreached(rule int, taker *mesh.Match) {
	by := &c.vs.Rules[rule]
	warn := func(r *mesh.Rule, at mesh.Place) {
		name := by.Place.Field
		if origin := ruleOrigin(c.vs, by); origin != ruleOrigin(c.vs, r) {
			name += " of " + origin.String()
		}
		c.problemOf(mesh.Warning, r, at, fmt.Sprintf("is never reached: %s takes every request before it", name),
			"put it first, or remove it")
	}
	behind := taker == nil
	for i := range by.Matches {
		if behind {
			warn(by, by.Matches[i].Place)
		}
		behind = behind || &by.Matches[i] == taker
	}
	for i := rule + 1; i < len(c.vs.Rules); i++ {
		warn(&c.vs.Rules[i], c.vs.Rules[i].Place)
	}
}

// ruleOrigin is the resource that a rule is written in: a delegate, or the virtual service itself.
func ruleOrigin(vs *mesh.VirtualService, r *mesh.Rule) mesh.Ref {
	if r.Origin != (mesh.Ref{}) {
		return r.Origin
	}
	return vs.Origin
}

// problemOf is for what stands at a place in a rule.
func (c *ruleCompiler) problemOf(s mesh.Severity, r *mesh.Rule, at mesh.Place, message, fix string) {
	c.out.problems = append(c.out.problems, mesh.Problem{
		Severity: s, Resource: ruleOrigin(c.vs, r), Line: at.Line, Field: at.Field, Message: message, Fix: fix,
	})
}
