// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
)

// What Envoy takes for settings that a retry policy leaves out.
const (
	defaultRetries      = 1
	defaultHostAttempts = 1
	defaultBackOff      = 25 * time.Millisecond
	backOffSpan         = 10 // max_interval by base_interval
)

var retryConditions = map[string]proxy.RetryOn{
	"connect-failure":        proxy.ConnectFailure,
	"refused-stream":         proxy.RefusedStream,
	"unavailable":            proxy.Unavailable,
	"cancelled":              proxy.Cancelled,
	"retriable-status-codes": proxy.RetriableStatusCodes,
}

func linkRetry(p *routev3.RetryPolicy) (*proxy.Retry, *fault) {
	r := &proxy.Retry{
		Max:          int(orDefault(p.GetNumRetries(), defaultRetries)),
		HostAttempts: int(p.GetHostSelectionRetryMaxAttempts()),
	}
	for word := range strings.SplitSeq(p.GetRetryOn(), ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		on, ok := retryConditions[word]
		if !ok {
			return nil, faultf("retry_on", "%s is not implemented", word)
		}
		r.On |= on
	}
	if r.HostAttempts <= 0 {
		r.HostAttempts = defaultHostAttempts
	}
	for _, code := range p.GetRetriableStatusCodes() {
		r.Codes = append(r.Codes, int(code))
	}
	for i, h := range p.GetRetryHostPredicate() {
		if !h.GetTypedConfig().MessageIs(&previoushostsv3.PreviousHostsPredicate{}) {
			return nil, faultf(fmt.Sprintf("retry_host_predicate[%d].typed_config", i),
				"type %q is not implemented, only PreviousHostsPredicate", h.GetTypedConfig().MessageName())
		}
		r.PreviousHosts = true
	}
	var bad *fault
	if r.PerTryTimeout, bad = duration(p.GetPerTryTimeout(), 0, "per_try_timeout"); bad != nil {
		return nil, bad
	}
	if bad = linkBackOff(r, p.GetRetryBackOff()); bad != nil {
		return nil, bad.under("retry_back_off")
	}
	return r, nil
}

func linkBackOff(r *proxy.Retry, b *routev3.RetryPolicy_RetryBackOff) (bad *fault) {
	if r.BaseInterval, bad = duration(b.GetBaseInterval(), defaultBackOff, "base_interval"); bad != nil {
		return bad
	}
	r.BaseInterval = max(r.BaseInterval, time.Millisecond) // Envoy's smallest
	r.MaxInterval, bad = duration(b.GetMaxInterval(), backOffSpan*r.BaseInterval, "max_interval")
	if bad == nil && r.MaxInterval < r.BaseInterval {
		bad = faultf("max_interval", "%v is less than base_interval, %v", r.MaxInterval, r.BaseInterval)
	}
	return bad
}
