// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"regexp"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Accepted is the configuration that the data plane accepted and runs by. Lists are in the order to show.
type Accepted struct {
	Bootstrap        *bootstrapv3.Bootstrap
	BootstrapUpdated time.Time

	Clusters  Resources // envoy.config.cluster.v3.Cluster
	Endpoints Resources // envoy.config.endpoint.v3.ClusterLoadAssignment
	Listeners Resources // envoy.config.listener.v3.Listener
	Routes    Resources // envoy.config.route.v3.RouteConfiguration
}

// Resources is the accepted resources of one type.
type Resources struct {
	Version string // of the last accepted set
	List    []Resource
}

// Resource is one accepted resource and, if a later version of it was refused, that. Its name is the message's.
type Resource struct {
	Message     proto.Message // nil: no version of it was ever accepted
	Version     string
	LastUpdated time.Time // when it was accepted
	Refused     *Refusal
}

// Refusal is a version of a resource that the data plane did not take.
type Refusal struct {
	Message proto.Message
	Version string
	At      time.Time
	Details string
}

// name returns the resource's name.
func (r Resource) name() string {
	m := r.Message
	if m == nil && r.Refused != nil {
		m = r.Refused.Message
	}
	switch m := m.(type) {
	case interface{ GetName() string }:
		return m.GetName()
	case interface{ GetClusterName() string }: // ClusterLoadAssignment
		return m.GetClusterName()
	}
	return ""
}

// sections renders a as Envoy's config dump has it, one message a section, in Envoy's order. Only resources whose
// whole name matches are in it; nil matches all.
func sections(a Accepted, names *regexp.Regexp, withEndpoints bool) ([]proto.Message, error) {
	var p packer
	out := []proto.Message{
		&adminv3.BootstrapConfigDump{Bootstrap: a.Bootstrap, LastUpdated: stamp(a.BootstrapUpdated)},
		p.clusters(a.Clusters, names),
	}
	if withEndpoints {
		out = append(out, p.endpoints(a.Endpoints, names))
	}
	out = append(out, p.listeners(a.Listeners, names), p.routes(a.Routes, names))
	return out, p.err
}

// packer packs resources and keeps the first error.
type packer struct{ err error }

func (p *packer) clusters(rs Resources, names *regexp.Regexp) *adminv3.ClustersConfigDump {
	d := &adminv3.ClustersConfigDump{VersionInfo: rs.Version}
	for _, r := range matching(rs.List, names) {
		d.DynamicActiveClusters = append(d.DynamicActiveClusters, &adminv3.ClustersConfigDump_DynamicCluster{
			VersionInfo: r.Version, Cluster: p.any(r.Message), LastUpdated: stamp(r.LastUpdated),
			ErrorState: p.refusal(r.Refused), ClientStatus: status(r.Refused),
		})
	}
	return d
}

func (p *packer) endpoints(rs Resources, names *regexp.Regexp) *adminv3.EndpointsConfigDump {
	d := &adminv3.EndpointsConfigDump{}
	for _, r := range matching(rs.List, names) {
		d.DynamicEndpointConfigs = append(d.DynamicEndpointConfigs, &adminv3.EndpointsConfigDump_DynamicEndpointConfig{
			VersionInfo: r.Version, EndpointConfig: p.any(r.Message), LastUpdated: stamp(r.LastUpdated),
			ErrorState: p.refusal(r.Refused), ClientStatus: status(r.Refused),
		})
	}
	return d
}

func (p *packer) listeners(rs Resources, names *regexp.Regexp) *adminv3.ListenersConfigDump {
	d := &adminv3.ListenersConfigDump{VersionInfo: rs.Version}
	for _, r := range matching(rs.List, names) {
		l := &adminv3.ListenersConfigDump_DynamicListener{
			Name: r.name(), ErrorState: p.refusal(r.Refused), ClientStatus: status(r.Refused),
		}
		if r.Message != nil {
			l.ActiveState = &adminv3.ListenersConfigDump_DynamicListenerState{
				VersionInfo: r.Version, Listener: p.any(r.Message), LastUpdated: stamp(r.LastUpdated),
			}
		}
		d.DynamicListeners = append(d.DynamicListeners, l)
	}
	return d
}

func (p *packer) routes(rs Resources, names *regexp.Regexp) *adminv3.RoutesConfigDump {
	d := &adminv3.RoutesConfigDump{}
	for _, r := range matching(rs.List, names) {
		d.DynamicRouteConfigs = append(d.DynamicRouteConfigs, &adminv3.RoutesConfigDump_DynamicRouteConfig{
			VersionInfo: r.Version, RouteConfig: p.any(r.Message), LastUpdated: stamp(r.LastUpdated),
			ErrorState: p.refusal(r.Refused), ClientStatus: status(r.Refused),
		})
	}
	return d
}

func (p *packer) refusal(r *Refusal) *adminv3.UpdateFailureState {
	if r == nil {
		return nil
	}
	return &adminv3.UpdateFailureState{
		FailedConfiguration: p.any(r.Message), LastUpdateAttempt: stamp(r.At), Details: r.Details,
		VersionInfo: r.Version,
	}
}

// status is left out of a healthy resource, as Envoy leaves it out for resources that no xDS client tracks.
func status(r *Refusal) adminv3.ClientResourceStatus {
	if r == nil {
		return adminv3.ClientResourceStatus_UNKNOWN
	}
	return adminv3.ClientResourceStatus_NACKED
}

func (p *packer) any(m proto.Message) *anypb.Any {
	if m == nil {
		return nil
	}
	a := new(anypb.Any)
	err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true})
	if err != nil {
		if p.err == nil {
			p.err = err
		}
		return nil
	}
	return a
}

func matching(list []Resource, names *regexp.Regexp) []Resource {
	if names == nil {
		return list
	}
	var out []Resource
	for _, r := range list {
		if names.MatchString(r.name()) {
			out = append(out, r)
		}
	}
	return out
}

// stamp renders a time to the millisecond; a zero time is none.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t.Truncate(time.Millisecond))
}
