// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const outboundRoute = "http_proxy"

// hcm is what differs between the listeners of a gateway and of a sidecar.
type hcm struct {
	addr       netip.AddrPort
	routes     string // name of the RouteConfiguration
	serverName string
	remote     bool // use_remote_address: the peer is the client
	limits     ClientLimits
	paths      PathNormalization
}

func (k *compiler) gatewayListener(l *gatewayListener) *listenerv3.Listener {
	return k.listener(hcm{
		addr: l.addr, routes: l.routes, serverName: "istio-envoy", remote: true,
		limits: k.opts.Clients.withDefaults(gatewayIdle), paths: k.opts.Paths,
	})
}

func (k *compiler) outboundListener() *listenerv3.Listener {
	return k.listener(hcm{
		addr: k.opts.Outbound, routes: outboundRoute, serverName: "envoy",
		limits: k.opts.Clients.withDefaults(sidecarIdle), paths: k.opts.Paths,
	})
}

// listener is made once; the next configurations have the same, for as long as each has it.
func (k *compiler) listener(h hcm) *listenerv3.Listener {
	l := k.listeners[h]
	if l == nil {
		l = h.listener()
	}
	k.listening[h] = l
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
			IdleTimeout:     durationpb.New(h.limits.Idle),
			MaxHeadersCount: wrapperspb.UInt32(h.limits.HeadFields),
		},
		UseRemoteAddress:      wrapperspb.Bool(h.remote),
		ServerName:            h.serverName,
		StreamIdleTimeout:     durationpb.New(h.limits.StreamIdle),
		RequestHeadersTimeout: durationpb.New(h.limits.Head),
		MaxRequestHeadersKb:   wrapperspb.UInt32(h.limits.HeadKiB),
		UpgradeConfigs:        []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
	}
	h.paths.set(manager)
	return &listenerv3.Listener{
		Name:    name,
		Address: address(h.addr.Addr().String(), uint32(h.addr.Port())),

		PerConnectionBufferLimitBytes: h.limits.buffer(),

		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(manager)},
		}}}},
	}
}

// PathNormalization is what is made of paths before they are matched and sent on: Istio's
// meshConfig.pathNormalization.normalization.
type PathNormalization int

// The settings; Istio's default is BASE. Each does what those before it do.
const (
	NormalizeBase           PathNormalization = iota // dot segments, needless escapes, backslashes
	NormalizeMergeSlashes                            // slashes that stand together become one
	NormalizeDecodedSlashes                          // after %2F and %5C were decoded
	NormalizeNone           PathNormalization = -1   // nothing
)

func (n PathNormalization) set(m *hcmv3.HttpConnectionManager) {
	m.NormalizePath = wrapperspb.Bool(n >= NormalizeBase)
	m.MergeSlashes = n >= NormalizeMergeSlashes
	m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_KEEP_UNCHANGED
	if n >= NormalizeDecodedSlashes {
		m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD
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
