// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Cluster is what /clusters tells of one cluster.
type Cluster struct {
	Name                                                string
	ServiceName                                         string // of its endpoints; empty: it has them itself
	MaxConnections, MaxPending, MaxRequests, MaxRetries uint32
	Hosts                                               []Host
}

// Host is one address of a cluster.
type Host struct {
	Addr                  netip.AddrPort // not valid: Name is the path of a socket
	Name                  string         // Addr as text, or the path
	Hostname              string
	Weight, Priority      uint32
	Region, Zone, SubZone string
	Active                int64 // requests of production
	Unhealthy             bool  // by its endpoint
	Ejected               bool  // by outlier detection
}

// flags are the reasons why a host is not used, as Envoy writes them.
func (h *Host) flags() string {
	s := ""
	if h.Ejected {
		s += "/failed_outlier_check"
	}
	if h.Unhealthy {
		s += "/failed_eds_health"
	}
	if s == "" {
		return "healthy"
	}
	return s
}

// clusters tells of all clusters as Envoy does: one line a fact, or with ?format=json an envoy.admin.v3.Clusters. What is
// not counted by host is left out.
func (s *server) clusters(w http.ResponseWriter, r *http.Request) {
	switch format := r.URL.Query().Get("format"); format {
	case "", "text":
		text(w)
		out := bufio.NewWriter(w)
		defer func() { _ = out.Flush() }() // the reader may be gone
		for _, c := range s.Clusters() {
			c.lines(out)
		}
	case "json":
		body, err := clustersJSON(s.Clusters())
		if err != nil {
			http.Error(w, "render the clusters: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // the client went away: nobody to tell
	default:
		http.Error(w, fmt.Sprintf("format %q: only text and json are known", format), http.StatusBadRequest)
	}
}

func (c *Cluster) lines(out *bufio.Writer) {
	line := func(name string, value any) { fmt.Fprintf(out, "%s::%s::%v\n", c.Name, name, value) }
	line("observability_name", c.Name)
	line("default_priority::max_connections", c.MaxConnections)
	line("default_priority::max_pending_requests", c.MaxPending)
	line("default_priority::max_requests", c.MaxRequests)
	line("default_priority::max_retries", c.MaxRetries)
	line("added_via_api", true)
	if c.ServiceName != "" {
		line("eds_service_name", c.ServiceName)
	}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		of := func(name string, value any) { line(h.Name+"::"+name, value) }
		of("rq_active", h.Active)
		of("hostname", h.Hostname)
		of("health_flags", h.flags())
		of("weight", h.Weight)
		of("region", h.Region)
		of("zone", h.Zone)
		of("sub_zone", h.SubZone)
		of("canary", false)
		of("priority", h.Priority)
		of("success_rate", -1)
		of("local_origin_success_rate", -1)
	}
}

func clustersJSON(clusters []Cluster) ([]byte, error) {
	all := &adminv3.Clusters{}
	for i := range clusters {
		all.ClusterStatuses = append(all.ClusterStatuses, clusters[i].status())
	}
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(all)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", " "); err != nil { // protojson varies its white space on purpose
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func (c *Cluster) status() *adminv3.ClusterStatus {
	limit := wrapperspb.UInt32
	s := &adminv3.ClusterStatus{
		Name: c.Name, AddedViaApi: true, ObservabilityName: c.Name, EdsServiceName: c.ServiceName,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: limit(c.MaxConnections), MaxPendingRequests: limit(c.MaxPending),
			MaxRequests: limit(c.MaxRequests), MaxRetries: limit(c.MaxRetries),
		}}},
	}
	for i := range c.Hosts {
		s.HostStatuses = append(s.HostStatuses, c.Hosts[i].status())
	}
	return s
}

func (h *Host) status() *adminv3.HostStatus {
	health := corev3.HealthStatus_HEALTHY
	if h.Unhealthy {
		health = corev3.HealthStatus_UNHEALTHY
	}
	s := &adminv3.HostStatus{
		Stats: []*adminv3.SimpleMetric{{
			Name: "rq_active", Value: uint64(max(h.Active, 0)), Type: adminv3.SimpleMetric_GAUGE,
		}},
		HealthStatus: &adminv3.HostHealthStatus{EdsHealthStatus: health, FailedOutlierCheck: h.Ejected},
		Weight:       h.Weight, Priority: h.Priority, Hostname: h.Hostname,
		Locality: &corev3.Locality{Region: h.Region, Zone: h.Zone, SubZone: h.SubZone},
	}
	if h.Addr.IsValid() {
		s.Address = &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: h.Addr.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(h.Addr.Port())},
		}}}
	} else {
		s.Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: h.Name}}}
	}
	return s
}
