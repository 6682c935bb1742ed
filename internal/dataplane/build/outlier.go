// SPDX-License-Identifier: Apache-2.0

package build

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// What Envoy takes for settings that envoy.config.cluster.v3.OutlierDetection leaves out.
const (
	defaultConsecutive       = 5
	defaultOutlierInterval   = 10 * time.Second
	defaultBaseEjection      = 30 * time.Second
	defaultMaxEjection       = 300 * time.Second
	defaultMaxEjectionShare  = 10
	defaultEnforced          = 100
	defaultEnforcedGateway   = 0
	defaultEnforcedRate      = 100
	defaultEnforcedLocalRate = 100
)

// linkOutlier reads outlier detection by failures in a row. Envoy also ejects by success rate, unless told not to: that
// has to be told, as it is not done here.
func linkOutlier(o *clusterv3.OutlierDetection) (*upstream.Outlier, *fault) {
	if o == nil {
		return nil, nil
	}
	const byRate = "must be 0: ejection by success rate is not implemented"
	if orDefault(o.GetEnforcingSuccessRate(), defaultEnforcedRate) != 0 {
		return nil, faultf("enforcing_success_rate", byRate)
	}
	split := o.GetSplitExternalLocalOriginErrors()
	if split && orDefault(o.GetEnforcingLocalOriginSuccessRate(), defaultEnforcedLocalRate) != 0 {
		return nil, faultf("enforcing_local_origin_success_rate", byRate)
	}
	out := &upstream.Outlier{
		Consecutive5xx:     orDefault(o.GetConsecutive_5Xx(), defaultConsecutive),
		ConsecutiveGateway: orDefault(o.GetConsecutiveGatewayFailure(), defaultConsecutive),
		ConsecutiveLocal:   orDefault(o.GetConsecutiveLocalOriginFailure(), defaultConsecutive),
		SplitLocal:         split,
		MaxEjectionPercent: orDefault(o.GetMaxEjectionPercent(), defaultMaxEjectionShare),
		AlwaysEjectOne:     o.GetAlwaysEjectOneHost().GetValue(),
		Enforce5xx:         orDefault(o.GetEnforcingConsecutive_5Xx(), defaultEnforced),
		EnforceGateway:     orDefault(o.GetEnforcingConsecutiveGatewayFailure(), defaultEnforcedGateway),
		EnforceLocal:       orDefault(o.GetEnforcingConsecutiveLocalOriginFailure(), defaultEnforced),
	}
	var bad *fault
	if out.Interval, bad = duration(o.GetInterval(), defaultOutlierInterval, "interval"); bad != nil {
		return nil, bad
	}
	if out.BaseEjection, bad = duration(o.GetBaseEjectionTime(), defaultBaseEjection, "base_ejection_time"); bad != nil {
		return nil, bad
	}
	out.MaxEjection, bad = duration(o.GetMaxEjectionTime(), max(defaultMaxEjection, out.BaseEjection), "max_ejection_time")
	if bad == nil && out.MaxEjection < out.BaseEjection {
		bad = faultf("max_ejection_time", "%v is less than base_ejection_time, %v", out.MaxEjection, out.BaseEjection)
	}
	return out, bad
}
