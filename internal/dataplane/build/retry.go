// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
)

// What Envoy takes for settings that a retry policy leaves out.
const (
	defaultRetries      = 1
	defaultHostAttempts = 1
	defaultBackOff      = 25 * time.Millisecond
	backOffSpan         = 10 // max_interval by base_interval
)

var retryConditions = map[string]proxy.RetryOn{
	"5xx":                        proxy.Any5xx,
	"gateway-error":              proxy.GatewayError,
	"reset":                      proxy.ResetOn,
	"reset-before-request":       proxy.ResetBeforeRequest,
	"connect-failure":            proxy.ConnectFailure,
	"envoy-ratelimited":          proxy.EnvoyRateLimited,
	"retriable-4xx":              proxy.Retriable4xx,
	"refused-stream":             proxy.RefusedStream,
	"retriable-status-codes":     proxy.RetriableStatusCodes,
	"retriable-headers":          proxy.RetriableHeaders,
	"http3-post-connect-failure": proxy.HTTP3PostConnect,
	"cancelled":                  proxy.Cancelled,
	"deadline-exceeded":          proxy.DeadlineExceeded,
	"internal":                   proxy.Internal,
	"resource-exhausted":         proxy.ResourceExhausted,
	"unavailable":                proxy.Unavailable,
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
	if r.PerTryIdle, bad = duration(p.GetPerTryIdleTimeout(), 0, "per_try_idle_timeout"); bad != nil {
		return nil, bad
	}
	if r.Headers, bad = headerMatchers(p.GetRetriableHeaders(), "retriable_headers"); bad != nil {
		return nil, bad
	}
	if r.RequestHeaders, bad = headerMatchers(p.GetRetriableRequestHeaders(), "retriable_request_headers"); bad != nil {
		return nil, bad
	}
	if t := p.GetRetryPriority().GetTypedConfig(); t != nil {
		var m previousprioritiesv3.PreviousPrioritiesConfig
		if bad = unpack(t, &m); bad != nil {
			return nil, bad.under("retry_priority.typed_config")
		}
		r.PriorityEvery = int(m.GetUpdateFrequency())
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

// headerMatchers links matchers that stand outside of a route's match.
func headerMatchers(list []*routev3.HeaderMatcher, path string) ([]*route.HeaderMatcher, *fault) {
	configs, bad := headerMatches(list, path)
	var out []*route.HeaderMatcher
	for i, c := range configs {
		m, err := route.NewHeaderMatcher(c)
		if err != nil {
			return nil, faultf(fmt.Sprintf("%s[%d]", path, i), "%v", err)
		}
		out = append(out, m)
	}
	return out, bad
}
