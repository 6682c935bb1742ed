// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// Names that Istio gives to where requests for unknown hosts go, and to where none may go.
const (
	passthrough = "PassthroughCluster"
	blackHole   = "BlackHoleCluster"
)

// passthroughIdle is how long a connection to an address that nothing is known about is kept without a request.
const passthroughIdle = 5 * time.Minute

// blockAll refuses requests for hosts that are not known.
func blockAll() *routev3.VirtualHost {
	return &routev3.VirtualHost{
		Name:                       "block_all",
		Domains:                    []string{"*"},
		Routes:                     []*routev3.Route{directResponse("block_all", 502, "")},
		IncludeRequestAttemptCount: true,
	}
}

// allowAny sends requests for hosts that are not known on to where they were going.
func (b *Compiler) allowAny() *routev3.VirtualHost {
	return &routev3.VirtualHost{
		Name:    "allow_any",
		Domains: []string{"*"},
		Routes: []*routev3.Route{{
			Name:  "allow_any",
			Match: routeMatch(nil),
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: passthrough},
				Timeout:          b.none,
				MaxGrpcTimeout:   b.none,
			}},
		}},
		IncludeRequestAttemptCount: true,
	}
}

// passthroughCluster connects to the address that the client's connection was for.
func passthroughCluster() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 passthrough,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST},
		ConnectTimeout:       durationpb.New(connectTimeout),
		LbPolicy:             clusterv3.Cluster_CLUSTER_PROVIDED,
		CircuitBreakers: &clusterv3.CircuitBreakers{
			Thresholds: []*clusterv3.CircuitBreakers_Thresholds{noBreakers()},
		},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			httpOptions: pack(&httpv3.HttpProtocolOptions{
				CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(passthroughIdle)},
				UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
					ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
						ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
							HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
						},
					},
				},
			}),
		},
	}
}

// blackHoleCluster has no endpoints.
func blackHoleCluster() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 blackHole,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(connectTimeout),
	}
}

// defaultRoute sends all requests for a service's port to it, as if it had rules that say so.
func (k *compiler) defaultRoute(s *mesh.Service, port uint32) *routev3.Route {
	a := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: clusterName(port, "", s.Host)},
		Timeout:          k.none,
		MaxGrpcTimeout:   k.none,
		RetryPolicy:      k.retries.usual,
	}
	if p := hashPolicy(consistentHash(s, nil, port)); p != nil {
		a.HashPolicy = []*routev3.RouteAction_HashPolicy{p}
	}
	return &routev3.Route{
		Name:      "default",
		Match:     routeMatch(nil),
		Action:    &routev3.Route_Route{Route: a},
		Decorator: &routev3.Decorator{Operation: fmt.Sprintf("%s:%d/*", s.Host, port)},
	}
}

func directResponse(name string, status uint32, body string) *routev3.Route {
	return &routev3.Route{
		Name:   name,
		Match:  routeMatch(nil),
		Action: direct(&mesh.DirectResponse{Status: status, Body: []byte(body)}),
	}
}
