// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// retryConditions are the names that retryOn may have beside status codes (x-envoy-retry-on, x-envoy-retry-grpc-on).
var retryConditions = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx", "refused-stream",
	"retriable-status-codes", "retriable-headers", "envoy-ratelimited", "http3-post-connect-failure",
	"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

// retries reads a rule's own retry policy; nil if it has none.
func (p *report) retries(path string, r *networking.HTTPRetry) *mesh.Retries {
	if r == nil {
		return nil
	}
	path += ".retries"
	out := &mesh.Retries{
		Attempts:            r.GetAttempts(),
		PerTryTimeout:       p.duration(path+".perTryTimeout", r.GetPerTryTimeout()),
		RetryOn:             r.GetRetryOn(),
		RemoteLocalities:    boolValue(r.GetRetryRemoteLocalities()),
		IgnorePreviousHosts: boolValue(r.GetRetryIgnorePreviousHosts()),
		Backoff:             p.duration(path+".backoff", r.GetBackoff()),
	}
	if out.Attempts < 0 {
		p.error(path+".attempts", "write 0 or more", "attempts cannot be negative")
	}
	if out.Attempts == 0 && (r.GetPerTryTimeout() != nil || out.RetryOn != "" || out.RemoteLocalities != nil) {
		p.error(path+".attempts", "write how many, or remove the rest",
			"http retry policy configured when attempts are set to 0 (disabled)")
	}
	if out.RetryOn != "" {
		for name := range strings.SplitSeq(out.RetryOn, ",") {
			code, _ := strconv.Atoi(name)
			if http.StatusText(code) == "" && !slices.Contains(retryConditions, name) {
				p.error(path+".retryOn", "write "+strings.Join(retryConditions[:6], ", ")+" or a status code, "+
					"with commas and no spaces between", "%q is not a valid retryOn policy", name)
			}
		}
	}
	return out
}

func boolValue(b *wrapperspb.BoolValue) *bool {
	if b == nil {
		return nil
	}
	v := b.GetValue()
	return &v
}
