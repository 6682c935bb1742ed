// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// listener has a manager with that prefix, and a router in it, both packed.
func listener(t *testing.T, prefix string, router *anypb.Any) *listenerv3.Listener {
	t.Helper()
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: prefix,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			RouteConfigName: "r",
			ConfigSource: &corev3.ConfigSource{
				ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			},
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: router},
		}},
	}
	return &listenerv3.Listener{
		Name: "l",
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 80},
		}}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, manager)},
		}}}},
	}
}

func TestValidateAcceptsWhatEnvoyAccepts(t *testing.T) {
	r := Resources{
		Listeners: []*listenerv3.Listener{listener(t, "x", pack(t, &routerv3.Router{}))},
		Clusters:  clusters("a"),
	}
	if err := r.Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateOpensPackedMessages(t *testing.T) {
	strict := pack(t, &routerv3.Router{StrictCheckHeaders: []string{"not-one-of-them"}})
	unknown := &anypb.Any{TypeUrl: "type.googleapis.com/no.such.Type"}
	for want, l := range map[string]*listenerv3.Listener{
		"StatPrefix":         listener(t, "", pack(t, &routerv3.Router{})),
		"StrictCheckHeaders": listener(t, "x", strict),
		"no.such.Type":       listener(t, "x", unknown),
	} {
		err := (&Resources{Listeners: []*listenerv3.Listener{l}}).Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one about %s", err, want)
		}
	}
}

func TestValidateReportsEveryResource(t *testing.T) {
	err := (&Resources{Clusters: clusters("", "a", "")}).Validate()
	if err == nil || strings.Count(err.Error(), "Cluster ") != 2 {
		t.Errorf("got %v, want errors of clusters 0 and 2", err)
	}
}
