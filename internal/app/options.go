// SPDX-License-Identifier: Apache-2.0

package app

import (
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
	"github.com/umbra-mesh/umbra/internal/controlplane/translate"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
	"github.com/umbra-mesh/umbra/internal/logging"
)

// Input says which configuration is read and how: what `run` and `check` have in common.
type Input struct {
	Paths            []string // folders, files, "-"
	Recursive        bool
	Stdin            io.Reader
	Namespace        string            // of resources that name none, and the proxy's own
	Labels           map[string]string // the proxy's own; nil: every Gateway is served
	Locality         string            // the proxy's own: region/zone/subzone, as far as known
	RootNamespace    string            // of DestinationRules and Sidecars for all; empty: istio-system
	AllowUnsupported []string          // kinds whose unsupported parts are warnings
	Profile          compile.Profile
	Bind             string
	Ports            map[uint32]uint32 // Gateway port -> port served
	Outbound         netip.AddrPort    // a sidecar's outbound listener; zero: none
	// OutboundPolicy is for requests to hosts that nothing names, if no Sidecar says; unset: they go where they were going.
	OutboundPolicy    mesh.OutboundPolicy
	PathNormalization compile.PathNormalization
	Clients           compile.ClientLimits
}

func (in *Input) loader() *source.Loader {
	return source.New(in.Paths, source.Options{Recursive: in.Recursive, Namespace: in.Namespace, Stdin: in.Stdin})
}

func (in *Input) translation() translate.Options {
	return translate.Options{
		Labels: in.Labels, Namespace: in.Namespace, AllowUnsupported: in.AllowUnsupported, RootNamespace: in.RootNamespace,
		HeaderValue: headerValue,
	}
}

// headerValue is the data plane's judgement, so that a resource is refused by itself and not with all routes around it.
func headerValue(v string) error {
	_, err := format.ParseTemplate(v)
	return err
}

func (in *Input) compilation() compile.Options {
	return compile.Options{
		Profile: in.Profile, Bind: in.Bind, Ports: in.Ports, Outbound: in.Outbound, Namespace: in.Namespace,
		Labels: in.Labels, Locality: in.Locality, OutboundPolicy: in.OutboundPolicy, Local: localAddrs(),
		Paths: in.PathNormalization, Clients: in.Clients,
	}
}

// Options are the settings of a running proxy.
type Options struct {
	Input
	Admin           string // address of the admin pages; empty: none
	Workers         int    // 0: one for each CPU
	AccessLog       string // file, "-" for standard output; empty: none
	AccessLogCopies bool   // also a line for each copy
	Mirror          mirror.Limits
	Trace           TraceOptions
	DrainTimeout    time.Duration // the most that stopping may take; 0: 25 s
	Takeover        string        // path at which listening sockets come from the last process and go to the next; empty: none
	Limits          Limits
	LateLoops       bool       // loops that come late to their work are no overload: for tests and the demo
	LogLevel        slog.Level // for who makes Log
	Logger          *slog.Logger
	Log             *logging.Log // what Logger writes to, if it is to be seen and set at the admin pages
}

// Limits bound what clients may hold. Zero values are no limit.
type Limits struct {
	Connections         int // of clients, in all
	ListenerConnections int // of clients, for each listener
}

// TraceOptions say whether requests are traced.
type TraceOptions struct {
	Endpoint string        // of a collector, as in otlp.Config; empty: no traces
	Sampling float64       // percent of the traces that begin here
	Service  string        // service.name
	Formats  trace.Formats // 0: W3C
}

// ConfigError is a first configuration that cannot be served, with everything that is wrong with it.
type ConfigError struct{ Problems []mesh.Problem }

func (e *ConfigError) Error() string {
	lines := []string{"the configuration has errors:"}
	for _, p := range e.Problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}
