// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
)

// MirrorInfo tells of one mirror policy in force.
type MirrorInfo struct {
	// ID names its counters: "<namespace>/<name>" of the VirtualService that metadata.filter_metadata.istio.config
	// names, then "/<route>" if the route has a name; without such metadata
	// "<route configuration>/<virtual host>/<route index>". Of several policies of a route, the i-th adds "#i", from 1.
	ID          string
	From        string // "VirtualService <namespace>/<name>", else "route " and the three parts as in ID
	To          string // cluster
	Numerator   uint32
	Denominator uint32 // 100, 10,000 or 1,000,000
	Suffix      bool   // the copy's Host gets "-shadow"
}

var denominators = map[typev3.FractionalPercent_DenominatorType]uint32{
	typev3.FractionalPercent_HUNDRED:      100,
	typev3.FractionalPercent_TEN_THOUSAND: 10_000,
	typev3.FractionalPercent_MILLION:      1_000_000,
}

// checkMirrors holds that each policy of a list names a cluster.
func checkMirrors(list []*routev3.RouteAction_RequestMirrorPolicy) *fault {
	for i, p := range list {
		if p.GetCluster() == "" {
			return faultf(fmt.Sprintf("request_mirror_policies[%d].cluster", i), "missing")
		}
	}
	return nil
}

// mirrorPolicies links the policies of a route: its own, else its virtual host's, else the route configuration's.
func (l *routeLinker) mirrorPolicies(v *routev3.VirtualHost, r *routev3.Route, index int) []mirror.Policy {
	list := r.GetRoute().GetRequestMirrorPolicies()
	if len(list) == 0 {
		list = v.GetRequestMirrorPolicies()
	}
	if len(list) == 0 {
		list = l.rc.GetRequestMirrorPolicies()
	}
	id, from := l.mirrorNames(v, r, index)
	var policies []mirror.Policy
	for i, p := range list {
		info := MirrorInfo{
			ID: id, From: from, To: p.GetCluster(), Numerator: 100, Denominator: 100,
			Suffix: !p.GetDisableShadowHostSuffixAppend(),
		}
		if len(list) > 1 {
			info.ID = fmt.Sprintf("%s#%d", id, i+1)
		}
		if f := p.GetRuntimeFraction().GetDefaultValue(); f != nil {
			info.Numerator, info.Denominator = f.GetNumerator(), denominators[f.GetDenominator()]
		}
		l.mirrors = append(l.mirrors, info)
		policies = append(policies, mirror.Policy{
			Target:    l.deps.Mirrors.Target(l.slot(info.To)),
			Stats:     l.deps.Mirrors.Stats(info.ID, info.To),
			Numerator: info.Numerator, Denominator: info.Denominator, KeepHost: !info.Suffix,
		})
	}
	return policies
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
