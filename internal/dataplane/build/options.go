// SPDX-License-Identifier: Apache-2.0

package build

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// protocolOptionsKey is the one key of typed_extension_protocol_options there is.
const protocolOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// protocolOptions unpacks the cluster's HTTP options, nil if it has none.
func protocolOptions(c *clusterv3.Cluster) (*httpv3.HttpProtocolOptions, *fault) {
	all := c.GetTypedExtensionProtocolOptions()
	for key := range all {
		if key != protocolOptionsKey {
			return nil, faultf("typed_extension_protocol_options", "%s is not implemented, only %s", key, protocolOptionsKey)
		}
	}
	a := all[protocolOptionsKey]
	if a == nil {
		return nil, nil
	}
	options := &httpv3.HttpProtocolOptions{}
	if bad := unpack(a, options); bad != nil {
		return nil, bad.under("typed_extension_protocol_options[" + protocolOptionsKey + "]")
	}
	return options, nil
}

// linkConnections reads how long connections are kept.
func linkConnections(cfg *upstream.Config, o *corev3.HttpProtocolOptions) (bad *fault) {
	if cfg.IdleTimeout, bad = duration(o.GetIdleTimeout(), 0, "idle_timeout"); bad != nil {
		return bad
	}
	if o.GetIdleTimeout() != nil && cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = -1 // none, where absent is the default
	}
	cfg.MaxRequestsPerConnection = o.GetMaxRequestsPerConnection().GetValue()
	cfg.MaxConnectionDuration, bad = duration(o.GetMaxConnectionDuration(), 0, "max_connection_duration")
	return bad
}
