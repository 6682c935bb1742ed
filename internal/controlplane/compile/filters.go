// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// Names of the HTTP filters.
const (
	faultFilter  = "envoy.filters.http.fault"
	corsFilter   = "envoy.filters.http.cors"
	routerFilter = "envoy.filters.http.router"
)

// httpFilters is the chain of every connection manager, in Istio's order: a fault comes before a preflight is answered.
func httpFilters() []*hcmv3.HttpFilter {
	filter := func(name string, config proto.Message) *hcmv3.HttpFilter {
		return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(config)}}
	}
	return []*hcmv3.HttpFilter{
		filter(faultFilter, &faultv3.HTTPFault{}),
		filter(corsFilter, &corsv3.Cors{}),
		filter(routerFilter, &routerv3.Router{}),
	}
}

// perFilter is what a rule asks of the filters before the router; nil if nothing.
func perFilter(r *mesh.Rule) map[string]*anypb.Any {
	if r.Fault == nil && r.CORS == nil {
		return nil
	}
	out := map[string]*anypb.Any{}
	if r.Fault != nil && (r.Fault.Delay != nil || r.Fault.Abort != nil) {
		out[faultFilter] = pack(fault(r.Fault))
	}
	if r.CORS != nil {
		out[corsFilter] = pack(cors(r.CORS))
	}
	return out
}

func fault(f *mesh.Fault) *faultv3.HTTPFault {
	out := &faultv3.HTTPFault{}
	if d := f.Delay; d != nil {
		out.Delay = &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(d.Fixed)},
			Percentage:         millionth(d.Million),
		}
	}
	if a := f.Abort; a != nil {
		out.Abort = &faultv3.FaultAbort{Percentage: millionth(a.Million)}
		if a.GRPC != nil {
			out.Abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: *a.GRPC}
		} else {
			out.Abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: a.Status}
		}
	}
	return out
}

func millionth(n uint32) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{Numerator: n, Denominator: typev3.FractionalPercent_MILLION}
}

func cors(c *mesh.CORS) *corsv3.CorsPolicy {
	out := &corsv3.CorsPolicy{
		AllowMethods:  strings.Join(c.Methods, ","),
		AllowHeaders:  strings.Join(c.AllowHeaders, ","),
		ExposeHeaders: strings.Join(c.ExposeHeaders, ","),
		FilterEnabled: &corev3.RuntimeFractionalPercent{
			DefaultValue: &typev3.FractionalPercent{Numerator: 100, Denominator: typev3.FractionalPercent_HUNDRED},
		},
		ForwardNotMatchingPreflights: boolean(c.UnmatchedPreflights != mesh.UnmatchedIgnore),
	}
	for i := range c.Origins {
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, stringMatch(&c.Origins[i]))
	}
	if c.MaxAge != nil {
		out.MaxAge = strconv.FormatInt(int64(*c.MaxAge/time.Second), 10)
	}
	if c.Credentials != nil {
		out.AllowCredentials = boolean(*c.Credentials)
	}
	return out
}
