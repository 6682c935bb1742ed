// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// retryPolicy is what Istio gives every route that does not ask for another one.
func retryPolicy(p Profile) *routev3.RetryPolicy {
	policy := &routev3.RetryPolicy{
		RetryOn:    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
		NumRetries: u32(2),
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: pack(&previoushostsv3.PreviousHostsPredicate{}),
			},
		}},
		HostSelectionRetryMaxAttempts: 5,
	}
	if p == ASM {
		policy.RetriableStatusCodes = []uint32{503}
	}
	return policy
}

type mirrorPolicy = routev3.RouteAction_RequestMirrorPolicy

// mirrors compiles the mirror policies of a rule. One that leads back to this proxy is an error and is left out, so
// that even its last good version cannot loop.
func (k *compiler) mirrors(vs *mesh.VirtualService, r *mesh.Rule, listenPort uint32) []*mirrorPolicy {
	var list []*mirrorPolicy
	for _, m := range r.Mirrors {
		if back := k.loop(m, listenPort); back != "" {
			k.problemAt(mesh.Error, vs.Origin, m.Destination.Place, back,
				"mirror to an address that this proxy does not listen on")
			continue
		}
		list = append(list, &mirrorPolicy{
			Cluster: k.destination(m.Destination, listenPort, vs.Origin),
			RuntimeFraction: &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
				Numerator:   m.Numerator,
				Denominator: denominator(m.Denominator),
			}},
			TraceSampled:                  boolean(false),
			DisableShadowHostSuffixAppend: k.opts.Profile == Istio,
		})
	}
	return list
}

func denominator(d mesh.Denominator) typev3.FractionalPercent_DenominatorType {
	if d == mesh.Million {
		return typev3.FractionalPercent_MILLION
	}
	return typev3.FractionalPercent_HUNDRED
}

// istioMetadata says which resource a route comes from, in Istio's words.
func istioMetadata(vs *mesh.VirtualService) *corev3.Metadata {
	path := fmt.Sprintf("/apis/networking.istio.io/v1/namespaces/%s/virtual-service/%s", vs.Namespace, vs.Name)
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
	return fmt.Sprintf("%s:%d%s", vs.Name, listenPort, path)
}

func stringMatch(m *mesh.StringMatch) *matcherv3.StringMatcher {
	switch m.Kind {
	case mesh.Exact:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: m.Value}}
	case mesh.Prefix:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: m.Value}}
	}
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(m.Value)}}
}

func regex(s string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: s} }

func u32(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }

func boolean(b bool) *wrapperspb.BoolValue { return wrapperspb.Bool(b) }
