// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
)

// MirrorInfo tells of one mirror policy in force.
type MirrorInfo struct {
	// ID names its counters: "<namespace>/<name>" of the VirtualService that metadata.filter_metadata.istio.config
	// names, then "/<route>" if the route has a name; without such metadata
	// "<route configuration>/<virtual host>/<route index>". Of several policies of a route, the i-th adds "#i", from 1.
	ID          string
	From        string // "VirtualService <namespace>/<name>", else "route " and the three parts as in ID, or a cluster
	To          string // cluster; "header <name>" where the request's field of that name tells it
	Numerator   uint32
	Denominator uint32 // 100, 10,000 or 1,000,000
	Suffix      bool   // the copy's Host gets "-shadow"
	Host        string // the copy's Host, if it is another
}

var denominators = map[typev3.FractionalPercent_DenominatorType]uint32{
	typev3.FractionalPercent_HUNDRED:      100,
	typev3.FractionalPercent_TEN_THOUSAND: 10_000,
	typev3.FractionalPercent_MILLION:      1_000_000,
}

// checkMirrors holds that each policy of a list says where copies go, and with validate_clusters that it is there.
func (l *routeLinker) checkMirrors(list []*routev3.RouteAction_RequestMirrorPolicy) *fault {
	bad := checkMirrorTargets(list)
	for i, p := range list {
		if bad == nil && p.GetCluster() != "" && !l.exists(p.GetCluster()) {
			bad = faultf(fmt.Sprintf("request_mirror_policies[%d].cluster", i),
				"route: unknown shadow cluster '%s'", p.GetCluster())
		}
	}
	return bad
}

func checkMirrorTargets(list []*routev3.RouteAction_RequestMirrorPolicy) *fault {
	for i, p := range list {
		path := fmt.Sprintf("request_mirror_policies[%d]", i)
		switch c, h := p.GetCluster(), p.GetClusterHeader(); {
		case c != "" && h != "":
			return faultf(path,
				"Only one of cluster '%s' or cluster_header '%s' in request mirror policy can be specified", c, h)
		case c == "" && h == "":
			return faultf(path, "Exactly one of cluster or cluster_header in request mirror policy need to be specified")
		}
	}
	return nil
}

// mirrorPolicies links the policies of a route: its own, else its virtual host's, else the route configuration's.
func (l *routeLinker) mirrorPolicies(
	v *routev3.VirtualHost, r *routev3.Route, index int, h *linkedHost,
) ([]mirror.Policy, *fault) {
	list, path := r.GetRoute().GetRequestMirrorPolicies(), "route"
	if len(list) == 0 {
		list = v.GetRequestMirrorPolicies()
	}
	if len(list) == 0 {
		list = l.rc.GetRequestMirrorPolicies()
	}
	if len(list) == 0 {
		return nil, nil
	}
	id, from := l.mirrorNames(v, r, index)
	policies, bad := linkMirrors(l.deps, l.names, list, id, from, &h.counted)
	return policies, bad.under(path)
}

// counted is what counts for something in force, and the mirrors that are there.
type counted struct {
	mirrors []MirrorInfo
	copies  []*mirror.Stats // one for each of mirrors
	routes  []*proxy.RouteStats
}

// linkMirrors links a list of policies that is known to say where copies go.
func linkMirrors(
	d *Deps, n *names, list []*routev3.RouteAction_RequestMirrorPolicy, id, from string, c *counted,
) (policies []mirror.Policy, bad *fault) {
	for i, p := range list {
		info := MirrorInfo{
			ID: id, From: from, To: p.GetCluster(), Numerator: 100, Denominator: 100,
			Suffix: !p.GetDisableShadowHostSuffixAppend() && p.GetHostRewriteLiteral() == "",
			Host:   p.GetHostRewriteLiteral(),
		}
		if len(list) > 1 {
			info.ID = fmt.Sprintf("%s#%d", id, i+1)
		}
		if f := p.GetRuntimeFraction().GetDefaultValue(); f != nil {
			info.Numerator, info.Denominator = f.GetNumerator(), denominators[f.GetDenominator()]
		}
		policy := mirror.Policy{
			Numerator: info.Numerator, Denominator: info.Denominator,
			KeepHost: p.GetDisableShadowHostSuffixAppend(), Host: filter.Encoded(p.GetHostRewriteLiteral()),
			Sampled: decision(p.GetTraceSampled()),
		}
		if policy.Headers, bad = linkMutations(p.GetRequestHeadersMutations()); bad != nil {
			return nil, bad.under(fmt.Sprintf("request_mirror_policies[%d]", i))
		}
		if h := p.GetClusterHeader(); h != "" {
			n.wanted = true
			policy.ClusterHeader, policy.Named = strings.ToLower(h), n.target
			info.To = "header " + policy.ClusterHeader
		} else {
			policy.Target = d.Mirrors.Target(d.Clusters.Slot(info.To))
		}
		policy.Stats = d.Mirrors.Stats(info.ID, info.To)
		c.mirrors, c.copies = append(c.mirrors, info), append(c.copies, policy.Stats)
		policies = append(policies, policy)
	}
	return policies, nil
}

// decision reads trace_sampled: absent is as the primary's.
func decision(v *wrapperspb.BoolValue) trace.Decision {
	switch {
	case v == nil:
		return trace.Inherit
	case v.GetValue():
		return trace.Sampled
	default:
		return trace.NotSampled
	}
}

func (l *routeLinker) mirrorNames(v *routev3.VirtualHost, r *routev3.Route, index int) (id, from string) {
	config := r.GetMetadata().GetFilterMetadata()["istio"].GetFields()["config"].GetStringValue()
	if vs := virtualService(config); vs != "" {
		id, from = vs, "VirtualService "+vs
		if r.GetName() != "" {
			id += "/" + r.GetName()
		}
		return id, from
	}
	id = fmt.Sprintf("%s/%s/%d", l.rc.GetName(), v.GetName(), index)
	return id, "route " + id
}

// virtualService reads "<namespace>/<name>" out of
// /apis/<group>/<version>/namespaces/<namespace>/virtual-service/<name>.
func virtualService(config string) string {
	p := strings.Split(strings.Trim(config, "/"), "/")
	if len(p) != 7 || p[0] != "apis" || p[3] != "namespaces" || p[5] != "virtual-service" {
		return ""
	}
	return p[4] + "/" + p[6]
}
