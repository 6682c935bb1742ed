// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// route is what all routes of a rule have in common: the action, and what is done to fields. Nil if the rule sends
// requests nowhere.
func (c *ruleCompiler) route(rule *mesh.Rule) *routev3.Route {
	ops := headerOperations(rule.Headers)
	r := &routev3.Route{
		TypedPerFilterConfig:    perFilter(rule),
		RequestHeadersToAdd:     ops.requestAdd,
		RequestHeadersToRemove:  ops.requestRemove,
		ResponseHeadersToAdd:    ops.responseAdd,
		ResponseHeadersToRemove: ops.responseRemove,
	}
	switch {
	case rule.Redirect != nil:
		c.neverMirrored(rule)
		r.Action = redirect(rule.Redirect, c.port)
	case rule.Direct != nil:
		c.neverMirrored(rule)
		r.Action = direct(rule.Direct)
	default:
		return c.forward(r, rule, ops.authority)
	}
	return r
}

// neverMirrored tells of mirrors of a rule that answers requests itself.
func (c *ruleCompiler) neverMirrored(rule *mesh.Rule) {
	for _, m := range rule.Mirrors {
		c.problemOf(mesh.Warning, rule, m.Destination.Place,
			"is never mirrored to: the rule answers requests itself, and only what goes to a destination is mirrored",
			"remove the mirror")
	}
}

// forward sends what the route takes to the rule's destinations. authority is what the rule's headers say of Host.
func (c *ruleCompiler) forward(r *routev3.Route, rule *mesh.Rule, authority string) *routev3.Route {
	a := &routev3.RouteAction{
		Timeout:               c.timeout(rule.Timeout),
		RequestMirrorPolicies: c.mirrorPolicies(rule),
	}
	a.MaxGrpcTimeout = a.Timeout
	r.Action = &routev3.Route_Route{Route: a}
	if w := rule.Rewrite; w != nil {
		if w.Regex != "" {
			a.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: regex(w.Regex), Substitution: w.Sub}
		} else {
			a.PrefixRewrite = w.URI
		}
		if w.Authority != "" {
			authority = w.Authority
		}
	}
	hashed := false
	if len(rule.Route) == 1 {
		// A single destination takes everything, whatever its weight, and its headers are the route's.
		d := &rule.Route[0]
		name, hash := c.destination(rule, *d)
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: name}
		hashed = hash != nil
		if p := hashPolicy(hash); p != nil {
			a.HashPolicy = append(a.HashPolicy, p)
		}
		own := headerOperations(d.Headers)
		r.RequestHeadersToAdd = append(r.RequestHeadersToAdd, own.requestAdd...)
		r.RequestHeadersToRemove = append(r.RequestHeadersToRemove, own.requestRemove...)
		r.ResponseHeadersToAdd = append(r.ResponseHeadersToAdd, own.responseAdd...)
		r.ResponseHeadersToRemove = append(r.ResponseHeadersToRemove, own.responseRemove...)
		if authority == "" {
			authority = own.authority
		}
	} else if err := c.weighted(a, rule); err != nil {
		c.problemOf(mesh.Error, rule, mesh.Place{Field: rule.Place.Field + ".route", Line: rule.Place.Line},
			err.Error(), "give at least one destination a weight above 0")
		return nil
	}
	a.RetryPolicy = c.retries.of(rule.Retries, hashed)
	if authority != "" {
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: authority}
	}
	return r
}

// weighted lists the destinations that have a weight, unchanged: Envoy adds them up itself. Their headers are theirs.
func (c *ruleCompiler) weighted(a *routev3.RouteAction, rule *mesh.Rule) error {
	w := &routev3.WeightedCluster{}
	var total uint64
	for i := range rule.Route {
		d := &rule.Route[i]
		if d.Weight <= 0 {
			continue
		}
		total += uint64(d.Weight)
		name, hash := c.destination(rule, *d)
		ops := headerOperations(d.Headers)
		weight := &routev3.WeightedCluster_ClusterWeight{
			Name:                    name,
			Weight:                  u32(uint32(d.Weight)),
			RequestHeadersToAdd:     ops.requestAdd,
			RequestHeadersToRemove:  ops.requestRemove,
			ResponseHeadersToAdd:    ops.responseAdd,
			ResponseHeadersToRemove: ops.responseRemove,
		}
		if ops.authority != "" {
			weight.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{
				HostRewriteLiteral: ops.authority,
			}
		}
		w.Clusters = append(w.Clusters, weight)
		if p := hashPolicy(hash); p != nil {
			a.HashPolicy = append(a.HashPolicy, p)
		}
	}
	if total == 0 || total > math.MaxUint32 {
		return fmt.Errorf("total destination weight = %d", total)
	}
	a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
	return nil
}

// destination names the cluster of d, which need not exist: a request to it is then answered 503, a copy dropped. Only
// a port that was filled in is looked at here; of those given, translate says that they do not exist. hash is by what the
// destination's requests are spread, if by hash.
func (c *ruleCompiler) destination(rule *mesh.Rule, d mesh.Destination) (name string, hash *mesh.ConsistentHash) {
	s := c.lookup(d.Host)
	port := destinationPort(s, d, c.port)
	host := d.Host
	if s != nil {
		host = s.Host // d may name an alias
	}
	if s != nil && d.Port == 0 && !hasPort(httpPorts(s), port) {
		c.problemOf(mesh.Unresolved, rule, d.Place,
			fmt.Sprintf("without a port it goes to port %d, which is none of %s that carries HTTP", port, d.Host),
			"give a port.number: "+portList(httpPorts(s)))
	}
	return clusterName(port, d.Subset, host), consistentHash(s, subsetOf(s, d.Subset), port)
}

// lookup asks for a service and remembers the answer.
func (c *ruleCompiler) lookup(host string) *mesh.Service {
	s := c.services[host]
	if !slices.ContainsFunc(c.out.lookups, func(l lookup) bool { return l.host == host }) {
		c.out.lookups = append(c.out.lookups, lookup{host, s})
	}
	return s
}

// timeout shares the one that most routes have.
func (c *ruleCompiler) timeout(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return c.none
	}
	return durationpb.New(d)
}

// redirect answers with another address; port is the one listened on.
func redirect(in *mesh.Redirect, port uint32) *routev3.Route_Redirect {
	out := &routev3.RedirectAction{HostRedirect: in.Authority, ResponseCode: redirectCodes[in.Code]}
	switch {
	case in.PrefixRewrite != "":
		out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: in.PrefixRewrite}
	case in.URI != "":
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: in.URI}
	}
	if in.Scheme != "" {
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: in.Scheme}
	}
	out.PortRedirect = in.Port
	if in.Port == 0 && in.DerivePort == mesh.FromRequestPort {
		out.PortRedirect = port
	}
	// The scheme's own port is not named.
	scheme := cmp.Or(in.Scheme, "http")
	if out.PortRedirect == 80 && scheme == "http" || out.PortRedirect == 443 && scheme == "https" {
		out.PortRedirect = 0
	}
	return &routev3.Route_Redirect{Redirect: out}
}

var redirectCodes = map[uint32]routev3.RedirectAction_RedirectResponseCode{
	301: routev3.RedirectAction_MOVED_PERMANENTLY,
	302: routev3.RedirectAction_FOUND,
	303: routev3.RedirectAction_SEE_OTHER,
	307: routev3.RedirectAction_TEMPORARY_REDIRECT,
	308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

func direct(in *mesh.DirectResponse) *routev3.Route_DirectResponse {
	out := &routev3.DirectResponseAction{Status: in.Status}
	switch {
	case in.Bytes:
		out.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: in.Body}}
	case len(in.Body) > 0:
		out.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: string(in.Body)}}
	}
	return &routev3.Route_DirectResponse{DirectResponse: out}
}
