// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
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
	if cfg.Addr, bad = linkAddress(l.GetAddress()); bad != nil {
		return cfg, "", nil, bad.under("address")
	}
	if cfg.Buffer, bad = bufferLimit(l.GetPerConnectionBufferLimitBytes()); bad != nil {
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

	cfg.Paths = filter.Normalization{
		Escaped: escapedSlashes[m.GetPathWithEscapedSlashesAction()], RFC3986: m.GetNormalizePath().GetValue(),
		MergeSlashes: m.GetMergeSlashes(),
	}
	if cfg.Upgrades, bad = linkUpgrades(m.GetUpgradeConfigs()); bad != nil {
		return "", nil, bad
	}

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
	if bad = checkHTTPFilters(cfg, m.GetHttpFilters()); bad != nil {
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

// bufferLimit reads what may be unsent on a connection; 0 is what is usual.
func bufferLimit(v *wrapperspb.UInt32Value) (int, *fault) {
	if v != nil && v.GetValue() == 0 {
		return 0, faultf("per_connection_buffer_limit_bytes", "0 would be no limit: leave it out for the usual one")
	}
	return int(min(v.GetValue(), math.MaxInt32)), nil
}

// linkUpgrades reads which protocols are relayed.
func linkUpgrades(configs []*hcmv3.HttpConnectionManager_UpgradeConfig) (types []string, bad *fault) {
	seen := map[string]bool{}
	for i, u := range configs {
		t := strings.ToLower(u.GetUpgradeType())
		path := fmt.Sprintf("upgrade_configs[%d].upgrade_type", i)
		switch {
		case t == "":
			return nil, faultf(path, "missing")
		case seen[t]:
			return nil, faultf(path, "%s is there twice", u.GetUpgradeType())
		case t == "connect", t == "h2c": // the one is a method; the other would carry requests past the routes
			return nil, faultf(path, "%s is not implemented", u.GetUpgradeType())
		}
		seen[t] = true
		if e := u.GetEnabled(); e == nil || e.GetValue() {
			types = append(types, t)
		}
	}
	return types, nil
}

// escapedSlashes has no entry for the default, which leaves it to the implementation: they are kept.
var escapedSlashes = map[hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction]filter.EscapedSlashes{
	hcmv3.HttpConnectionManager_REJECT_REQUEST:        filter.RejectEscaped,
	hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT: filter.UnescapeAndRedirect,
	hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD:  filter.UnescapeAndForward,
}

// checkHTTPFilters wants the filters of routing in their one order, fault, CORS, router, of which all but the last may
// be missing; and it sets which there are.
func checkHTTPFilters(cfg *proxy.ListenerConfig, filters []*hcmv3.HttpFilter) *fault {
	cfg.NoFaults, cfg.NoCORS = true, true
	last := -1
	for i, f := range filters {
		if isSkipped(f) {
			continue
		}
		path := fmt.Sprintf("http_filters[%d]", i)
		place := slices.IndexFunc(httpFilters, func(known httpFilter) bool {
			return f.GetTypedConfig().MessageIs(known.config)
		})
		switch {
		case place < 0:
			return faultf(path+".typed_config", "type %q is not implemented", f.GetTypedConfig().MessageName())
		case place <= last:
			return faultf("http_filters", "must be %s, %s and the router (%s), in this order and each once",
				faultFilter, corsFilter, proto.MessageName((*routerv3.Router)(nil)))
		case httpFilters[place].name != "" && f.GetName() != httpFilters[place].name:
			return faultf(path+".name", "must be %s: routes have its settings by that name", httpFilters[place].name)
		}
		last = place
		switch place {
		case 0:
			var m faultv3.HTTPFault
			if bad := unpack(f.GetTypedConfig(), &m); bad != nil {
				return bad.under(path + ".typed_config")
			}
			if !proto.Equal(&m, &faultv3.HTTPFault{}) {
				return faultf(path+".typed_config",
					"faults of all routes are not implemented, only those that routes have themselves")
			}
			cfg.NoFaults = false
		case 1:
			cfg.NoCORS = false
		}
	}
	if last != len(httpFilters)-1 {
		return faultf("http_filters", "must be the router (%s), once", proto.MessageName((*routerv3.Router)(nil)))
	}
	return nil
}

type httpFilter struct {
	name   string // under which routes have settings for it
	config proto.Message
}

var httpFilters = []httpFilter{
	{faultFilter, (*faultv3.HTTPFault)(nil)},
	{corsFilter, (*corsv3.Cors)(nil)},
	{"", (*routerv3.Router)(nil)},
}
