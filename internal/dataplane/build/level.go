// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
)

// The filters that routes may have settings for, by the names that these settings are kept under.
const (
	faultFilter = "envoy.filters.http.fault"
	corsFilter  = "envoy.filters.http.cors"
)

// levelMessage is what a route configuration, a virtual host, a route and a weighted cluster have in common.
type levelMessage interface {
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
	GetTypedPerFilterConfig() map[string]*anypb.Any
}

// level is the linked form of one of them.
type level struct {
	request, response []filter.Mutation
	fault             setting[*filter.Fault]
	cors              setting[*corsv3.CorsPolicy]
}

// setting is what a level says of a filter. given: it says something; then disabled, or a value.
type setting[T any] struct {
	given, disabled bool
	value           T
}

func linkLevel(m levelMessage) (l level, bad *fault) {
	if l.request, bad = linkHeaders(m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove(), "request"); bad != nil {
		return l, bad
	}
	if l.response, bad = linkHeaders(m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove(), "response"); bad != nil {
		return l, bad
	}
	configs := m.GetTypedPerFilterConfig()
	if len(configs) == 0 {
		return l, nil
	}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		if bad = l.filter(name, configs[name]); bad != nil {
			return l, bad.under(fmt.Sprintf("typed_per_filter_config[%s]", name))
		}
	}
	return l, nil
}

// filter takes the settings for one filter, which may be wrapped in a FilterConfig.
func (l *level) filter(name string, a *anypb.Any) *fault {
	disabled := false
	if a.MessageIs((*routev3.FilterConfig)(nil)) {
		var wrap routev3.FilterConfig
		if err := a.UnmarshalTo(&wrap); err != nil {
			return faultf("", "%v", err)
		}
		if isSkipped(&wrap) {
			return nil
		}
		disabled, a = wrap.GetDisabled(), wrap.GetConfig()
		if !disabled && a == nil {
			return faultf("config", "Empty route/virtual host per filter configuration for %s filter", name)
		}
	}
	switch name {
	case faultFilter:
		l.fault.given, l.fault.disabled = true, disabled
		if disabled {
			return nil
		}
		var m faultv3.HTTPFault
		bad := unpack(a, &m)
		if bad == nil {
			l.fault.value, bad = linkFault(&m)
		}
		return bad
	case corsFilter:
		l.cors.given, l.cors.disabled = true, disabled
		if disabled {
			return nil
		}
		l.cors.value = &corsv3.CorsPolicy{}
		bad := unpack(a, l.cors.value)
		if bad == nil {
			bad = checkCORS(l.cors.value)
		}
		return bad
	default:
		return faultf("", "there is no such filter, only %s and %s", faultFilter, corsFilter)
	}
}

// unpack reads the message of an Any, which has to be of m's type and within its rules.
func unpack(a *anypb.Any, m validated) *fault {
	if !a.MessageIs(m) {
		return faultf("", "type %q is not %s", a.MessageName(), proto.MessageName(m))
	}
	if err := a.UnmarshalTo(m); err != nil {
		return faultf("", "%v", err)
	}
	return validate(m)
}

// effectiveFault is what the most specific of the levels says.
func effectiveFault(mostSpecificFirst ...*level) *filter.Fault {
	for _, l := range mostSpecificFirst {
		if l.fault.given {
			return l.fault.value // nil if disabled
		}
	}
	return nil
}

// effectiveCORS joins the levels' policies: each field is that of the most specific level that sets it. The most
// specific one that says anything says whether there is CORS at all.
func effectiveCORS(mostSpecificFirst ...*level) *filter.CORS {
	var policies []*corsv3.CorsPolicy
	for _, l := range mostSpecificFirst {
		if !l.cors.given {
			continue
		}
		if len(policies) == 0 && (l.cors.disabled || !enabled(l.cors.value)) {
			return nil
		}
		if !l.cors.disabled {
			policies = append(policies, l.cors.value)
		}
	}
	return linkCORS(policies)
}

// headerOps are the changes to requests and answers of a route: its own, its virtual host's and the route
// configuration's, so that the last, which is the least specific, wins; or the other way round
// (most_specific_header_mutations_wins).
func (l *routeLinker) headerOps(own, vhost *level) (request, response *filter.Mutations) {
	if l.rc.GetMostSpecificHeaderMutationsWins() {
		return filter.NewHeaderOps(l.level.request, vhost.request, own.request),
			filter.NewHeaderOps(l.level.response, vhost.response, own.response)
	}
	return filter.NewHeaderOps(own.request, vhost.request, l.level.request),
		filter.NewHeaderOps(own.response, vhost.response, l.level.response)
}
