// SPDX-License-Identifier: Apache-2.0

package build

import (
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

// What Envoy takes for settings that a connection manager leaves out. request_headers_timeout has none.
const (
	defaultServerName = "envoy"
	defaultIdle       = time.Hour
	defaultStreamIdle = 5 * time.Minute
	defaultMaxFields  = 100
	defaultMaxHeadKiB = 60
)

// linkListener reads everything but the routes: those of rds are in a slot of that name, inline ones are returned.
func linkListener(
	l *listenerv3.Listener,
) (cfg proxy.ListenerConfig, rds string, inline *routev3.RouteConfiguration, bad *fault) {
	cfg.Name = l.GetName()
	if cfg.Addr, bad = linkAddress(l.GetAddress(), "address"); bad != nil {
		return cfg, "", nil, bad
	}
	if n := len(l.GetFilterChains()); n != 1 {
		return cfg, "", nil, faultf("filter_chains", "there are %d, exactly one is implemented", n)
	}
	filters := l.GetFilterChains()[0].GetFilters()
	if n := len(filters); n != 1 {
		return cfg, "", nil, faultf("filter_chains[0].filters", "there are %d, exactly one is implemented", n)
	}
	var m hcmv3.HttpConnectionManager
	if err := filters[0].GetTypedConfig().UnmarshalTo(&m); err != nil {
		return cfg, "", nil, faultf(hcmPath, "%v", err)
	}
	if bad = validate(&m); bad == nil {
		rds, inline, bad = linkConnectionManager(&cfg, &m)
	}
	return cfg, rds, inline, bad.under(hcmPath)
}

const hcmPath = "filter_chains[0].filters[0].typed_config"

func linkConnectionManager(
	cfg *proxy.ListenerConfig, m *hcmv3.HttpConnectionManager,
) (rds string, inline *routev3.RouteConfiguration, bad *fault) {
	cfg.StatPrefix = m.GetStatPrefix()
	cfg.UseRemoteAddress = m.GetUseRemoteAddress().GetValue()
	if cfg.ServerName = m.GetServerName(); cfg.ServerName == "" {
		cfg.ServerName = defaultServerName
	}
	cfg.MaxHeadBytes = int(orDefault(m.GetMaxRequestHeadersKb(), defaultMaxHeadKiB)) << 10
	cfg.MaxHeadFields = int(orDefault(m.GetCommonHttpProtocolOptions().GetMaxHeadersCount(), defaultMaxFields))
	cfg.HTTP10Accepted = m.GetHttpProtocolOptions().GetAcceptHttp_10()

	idle := m.GetCommonHttpProtocolOptions().GetIdleTimeout()
	if cfg.IdleTimeout, bad = duration(idle, defaultIdle, "common_http_protocol_options.idle_timeout"); bad != nil {
		return "", nil, bad
	}
	if cfg.HeadTimeout, bad = duration(m.GetRequestHeadersTimeout(), 0, "request_headers_timeout"); bad != nil {
		return "", nil, bad
	}
	if cfg.StreamIdle, bad = duration(m.GetStreamIdleTimeout(), defaultStreamIdle, "stream_idle_timeout"); bad != nil {
		return "", nil, bad
	}
	if bad = checkHTTPFilters(m.GetHttpFilters()); bad != nil {
		return "", nil, bad
	}
	switch r := m.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_Rds:
		if r.Rds.GetConfigSource().GetAds() == nil {
			return "", nil, faultf("rds.config_source.ads", "missing: the one source of routes there is")
		}
		if r.Rds.GetRouteConfigName() == "" {
			return "", nil, faultf("rds.route_config_name", "missing")
		}
		return r.Rds.GetRouteConfigName(), nil, nil
	case *hcmv3.HttpConnectionManager_RouteConfig:
		return "", r.RouteConfig, nil
	default:
		return "", nil, faultf("route_specifier", "missing: rds or route_config")
	}
}

// checkHTTPFilters wants the router, last and alone but for filters that may be left out.
func checkHTTPFilters(filters []*hcmv3.HttpFilter) *fault {
	var left []*hcmv3.HttpFilter
	for _, f := range filters {
		if !isSkipped(f.ProtoReflect()) {
			left = append(left, f)
		}
	}
	if len(left) != 1 || !left[0].GetTypedConfig().MessageIs((*routerv3.Router)(nil)) {
		return faultf("http_filters", "must be the router (%s), once", proto.MessageName((*routerv3.Router)(nil)))
	}
	return nil
}
