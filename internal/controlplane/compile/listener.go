// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"net/netip"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Limits of a connection. They are written out because they differ from Envoy's or Istio's defaults, or because a
// reader of the dump looks for them.
const (
	streamIdle    = 5 * time.Minute
	requestHead   = 10 * time.Second
	gatewayIdle   = time.Minute // a connection without a request
	sidecarIdle   = time.Hour
	headKiB       = 60
	headFields    = 100
	outboundRoute = "http_proxy"
)

// hcm is what differs between the listeners of a gateway and of a sidecar.
type hcm struct {
	addr       netip.AddrPort
	routes     string // name of the RouteConfiguration
	serverName string
	remote     bool // use_remote_address: the peer is the client
	idle       time.Duration
}

func (k *compiler) gatewayListener(l *gatewayListener) *listenerv3.Listener {
	return k.listener(hcm{addr: l.addr, routes: l.routes, serverName: "istio-envoy", remote: true, idle: gatewayIdle})
}

func (k *compiler) outboundListener() *listenerv3.Listener {
	return k.listener(hcm{addr: k.opts.Outbound, routes: outboundRoute, serverName: "envoy", idle: sidecarIdle})
}

// listener is made once; the next configurations have the same.
func (k *compiler) listener(h hcm) *listenerv3.Listener {
	l, ok := k.listeners[h]
	if !ok {
		l = h.listener()
		k.listeners[h] = l
	}
	return l
}

func (h hcm) listener() *listenerv3.Listener {
	name := listenerName(h.addr)
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: "outbound_" + name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource:    ads(),
			RouteConfigName: h.routes,
		}},
		HttpFilters: httpFilters(),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout:     durationpb.New(h.idle),
			MaxHeadersCount: wrapperspb.UInt32(headFields),
		},
		UseRemoteAddress:      wrapperspb.Bool(h.remote),
		ServerName:            h.serverName,
		StreamIdleTimeout:     durationpb.New(streamIdle),
		RequestHeadersTimeout: durationpb.New(requestHead),
		MaxRequestHeadersKb:   wrapperspb.UInt32(headKiB),
	}
	return &listenerv3.Listener{
		Name:    name,
		Address: address(h.addr.Addr().String(), uint32(h.addr.Port())),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(manager)},
		}}}},
	}
}

func listenerName(a netip.AddrPort) string { return fmt.Sprintf("%s_%d", a.Addr(), a.Port()) }

// pack wraps a message. Packing fails only for text that is not UTF-8, which no source of resources gives.
func pack(m proto.Message) *anypb.Any {
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return nil
	}
	return a
}
