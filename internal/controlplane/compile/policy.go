// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

type mirrorPolicy = routev3.RouteAction_RequestMirrorPolicy

// mirrorPolicies compiles the mirrors of a rule. One that leads back to this proxy is an error and is left out, so that
// even its last good version cannot loop.
func (c *ruleCompiler) mirrorPolicies(rule *mesh.Rule) []*mirrorPolicy {
	var list []*mirrorPolicy
	for _, m := range rule.Mirrors {
		if back := c.leadsBack(m.Destination); back != "" {
			c.problemOf(mesh.Error, rule, m.Destination.Place, back,
				"mirror to an address that this proxy does not listen on")
			continue
		}
		name, _ := c.destination(rule, m.Destination)
		list = append(list, &mirrorPolicy{
			Cluster: name,
			RuntimeFraction: &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
				Numerator:   m.Numerator,
				Denominator: denominator(m.Denominator),
			}},
			TraceSampled:                  boolean(false),
			DisableShadowHostSuffixAppend: c.opts.Profile == Istio,
		})
	}
	return list
}

// leadsBack asks whether a mirror sends copies to this proxy, and remembers the answer.
func (c *ruleCompiler) leadsBack(d mesh.Destination) string {
	key := loopKey{host: d.Host, subset: d.Subset, port: destinationPort(c.lookup(d.Host), d, c.port)}
	back := c.loop(key)
	c.out.mirrors = append(c.out.mirrors, mirrorLookup{key, back})
	return back
}

func denominator(d mesh.Denominator) typev3.FractionalPercent_DenominatorType {
	if d == mesh.Million {
		return typev3.FractionalPercent_MILLION
	}
	return typev3.FractionalPercent_HUNDRED
}

// istioMetadata says which resource a route comes from, in Istio's words. With delegates it is the root.
func istioMetadata(vs *mesh.VirtualService) *corev3.Metadata {
	path := "/apis/networking.istio.io/v1/namespaces/" + vs.Namespace + "/virtual-service/" + vs.Name
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		"istio": {Fields: map[string]*structpb.Value{"config": structpb.NewStringValue(path)}},
	}}
}

// operation is the name of a route's spans: destination (or virtual service) and port, then the path.
func operation(r *routev3.Route, vs *mesh.VirtualService, listenPort uint32) string {
	path := "/*"
	switch p := r.GetMatch().GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Path:
		path = p.Path
	case *routev3.RouteMatch_Prefix:
		path = p.Prefix + "*"
	case *routev3.RouteMatch_SafeRegex:
		path = p.SafeRegex.GetRegex()
	}
	if parts := strings.SplitN(r.GetRoute().GetCluster(), "|", 4); len(parts) == 4 {
		return parts[3] + ":" + parts[1] + path
	}
	return vs.Name + ":" + strconv.FormatUint(uint64(listenPort), 10) + path
}

func u32(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }

func boolean(b bool) *wrapperspb.BoolValue { return wrapperspb.Bool(b) }
