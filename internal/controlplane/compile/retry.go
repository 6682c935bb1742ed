// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// Istio's default retry policy.
const (
	defaultRetryOn     = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
	defaultRetries     = 2
	hostAttempts       = 5 // to find another host than those tried
	priorityEvery      = 2 // tries before the next priority
	retriableCodesWord = "retriable-status-codes"
)

// retryPolicies are what routes without retries of their own have. They are shared: do not write to them.
type retryPolicies struct {
	profile      Profile
	usual        *routev3.RetryPolicy
	sticky       *routev3.RetryPolicy // for one destination that is chosen by hash: a retry goes to the same host
	anotherHost  []*routev3.RetryPolicy_RetryHostPredicate
	nextPriority *routev3.RetryPolicy_RetryPriority
}

func newRetryPolicies(p Profile) *retryPolicies {
	r := &retryPolicies{
		profile: p,
		anotherHost: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: pack(&previoushostsv3.PreviousHostsPredicate{}),
			},
		}},
		nextPriority: &routev3.RetryPolicy_RetryPriority{
			Name: "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
				TypedConfig: pack(&previousprioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: priorityEvery}),
			},
		},
	}
	r.usual, r.sticky = r.base(false), r.base(true)
	return r
}

// base makes a policy with nothing but defaults.
func (r *retryPolicies) base(hashed bool) *routev3.RetryPolicy {
	policy := &routev3.RetryPolicy{
		RetryOn:                       defaultRetryOn,
		NumRetries:                    u32(defaultRetries),
		HostSelectionRetryMaxAttempts: hostAttempts,
	}
	if !hashed {
		policy.RetryHostPredicate = r.anotherHost
	}
	if r.profile == ASM {
		policy.RetriableStatusCodes = []uint32{http.StatusServiceUnavailable}
	}
	return policy
}

// of is the policy of a rule, nil if it wants none. hashed: it has a single destination that is chosen by hash.
func (r *retryPolicies) of(in *mesh.Retries, hashed bool) *routev3.RetryPolicy {
	switch {
	case in == nil && hashed:
		return r.sticky
	case in == nil:
		return r.usual
	case in.Attempts <= 0:
		return nil
	}
	policy := r.base(hashed)
	policy.NumRetries = u32(uint32(in.Attempts))
	if in.RetryOn != "" {
		policy.RetryOn, policy.RetriableStatusCodes = retryOn(in.RetryOn)
	}
	if in.PerTryTimeout > 0 {
		policy.PerTryTimeout = durationpb.New(in.PerTryTimeout)
	}
	if in.IgnorePreviousHosts != nil {
		policy.RetryHostPredicate = nil
		if *in.IgnorePreviousHosts {
			policy.RetryHostPredicate = r.anotherHost
		}
	}
	if in.RemoteLocalities != nil && *in.RemoteLocalities {
		policy.RetryPriority = r.nextPriority
	}
	if in.Backoff > 0 {
		// Without a max_interval that is ten times the base.
		policy.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(in.Backoff)}
	}
	return policy
}

// retryOn divides the words of VirtualService.retries.retryOn: numbers that are HTTP status codes, and conditions.
func retryOn(s string) (conditions string, codes []uint32) {
	var words []string
	for word := range strings.SplitSeq(s, ",") {
		word = strings.TrimSpace(word)
		if word == "" {
			continue
		}
		if code, err := strconv.Atoi(word); err == nil && http.StatusText(code) != "" {
			codes = append(codes, uint32(code))
			continue
		}
		words = append(words, word)
	}
	if len(codes) > 0 && !slices.Contains(words, retriableCodesWord) {
		words = append(words, retriableCodesWord)
	}
	return strings.Join(words, ","), codes
}
