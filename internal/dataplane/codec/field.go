// SPDX-License-Identifier: Apache-2.0

package codec

// FieldID names the header fields the proxy acts on, so that the hot path compares numbers. 0 is any other field.
type FieldID uint8

// The fields, hop-by-hop ones first (RFC 9110 §7.6.1): IDs up to LastHopByHop never travel on.
const (
	Other FieldID = iota
	Connection
	KeepAlive
	ProxyConnection
	TransferEncoding
	Upgrade
	HTTP2Settings
	TE // reduced to "trailers"; RFC 9110 §10.1.4
	LastHopByHop
	Host
	ContentLength
	Expect
	Trailer
	Date
	Server
	UserAgent
	Referer
	GRPCStatus
	ContentType
	ForwardedFor           // x-forwarded-for
	ForwardedProto         // x-forwarded-proto
	ForwardedClientCert    // x-forwarded-client-cert
	RequestID              // x-request-id
	EnvoyInternal          // x-envoy-internal
	EnvoyExternalAddress   // x-envoy-external-address
	EnvoyAttemptCount      // x-envoy-attempt-count
	EnvoyExpectedTimeout   // x-envoy-expected-rq-timeout-ms
	EnvoyServiceTime       // x-envoy-upstream-service-time
	EnvoyOriginalPath      // x-envoy-original-path
	EnvoyOverloaded        // x-envoy-overloaded
	EnvoyDecorator         // x-envoy-decorator-operation
	EnvoyDownstreamCluster // x-envoy-downstream-service-cluster
	EnvoyDownstreamNode    // x-envoy-downstream-service-node
	EnvoyOriginalHost      // x-envoy-original-host
	EnvoyEdge              // any other x-envoy-* that an edge strips (semantics: retry, timeout, hedge, tags ...)
	EnvoyRateLimited       // x-envoy-ratelimited
	MirrorHops             // x-umbra-mirror-hops
	GRPCTimeout            // grpc-timeout
	TraceParent            // traceparent
	TraceState             // tracestate
	B3                     // b3
	B3TraceID              // x-b3-traceid
	B3SpanID               // x-b3-spanid
	B3ParentSpanID         // x-b3-parentspanid
	B3Sampled              // x-b3-sampled
	B3Flags                // x-b3-flags
	ClientTraceID          // x-client-trace-id
	lastID
)

var names = [lastID]string{
	Connection: "connection", KeepAlive: "keep-alive", ProxyConnection: "proxy-connection",
	TransferEncoding: "transfer-encoding", Upgrade: "upgrade", HTTP2Settings: "http2-settings", TE: "te",
	Host: "host", ContentLength: "content-length", Expect: "expect", Trailer: "trailer", Date: "date", Server: "server",
	UserAgent: "user-agent", Referer: "referer", GRPCStatus: "grpc-status", ContentType: "content-type",
	ForwardedFor: "x-forwarded-for", ForwardedProto: "x-forwarded-proto",
	ForwardedClientCert: "x-forwarded-client-cert", RequestID: "x-request-id", EnvoyInternal: "x-envoy-internal",
	EnvoyExternalAddress: "x-envoy-external-address", EnvoyAttemptCount: "x-envoy-attempt-count",
	EnvoyExpectedTimeout: "x-envoy-expected-rq-timeout-ms", EnvoyServiceTime: "x-envoy-upstream-service-time",
	EnvoyOriginalPath: "x-envoy-original-path", EnvoyOverloaded: "x-envoy-overloaded",
	EnvoyDecorator:         "x-envoy-decorator-operation",
	EnvoyDownstreamCluster: "x-envoy-downstream-service-cluster", EnvoyDownstreamNode: "x-envoy-downstream-service-node",
	EnvoyOriginalHost: "x-envoy-original-host", EnvoyRateLimited: "x-envoy-ratelimited",
	MirrorHops: "x-umbra-mirror-hops", GRPCTimeout: "grpc-timeout",
	TraceParent: "traceparent", TraceState: "tracestate", B3: "b3", B3TraceID: "x-b3-traceid", B3SpanID: "x-b3-spanid",
	B3ParentSpanID: "x-b3-parentspanid", B3Sampled: "x-b3-sampled", B3Flags: "x-b3-flags",
	ClientTraceID: "x-client-trace-id",
}

// edge are the fields an edge strips from outside requests besides those with an ID of their own
// (Envoy: conn_manager_utility.cc, cleanInternalHeaders).
var edge = []string{
	"x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-max-retries", "x-envoy-upstream-alt-stat-name",
	"x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-alt-response",
	"x-envoy-upstream-stream-duration-ms", "x-envoy-force-trace", "x-envoy-ip-tags", "x-envoy-original-url",
	"x-envoy-hedge-on-per-try-timeout", "x-envoy-retriable-header-names", "x-envoy-retriable-status-codes",
}

type known struct {
	name      string // lower case
	canonical string // as most senders spell it: compared first, and faster than folding
	id        FieldID
}

var (
	buckets [256][]known
	nameOf  [lastID][]byte
)

func init() {
	for id, n := range names {
		if n != "" {
			nameOf[id] = []byte(n)
			addKnown(n, FieldID(id))
		}
	}
	for _, n := range edge {
		addKnown(n, EnvoyEdge)
	}
}

func addKnown(name string, id FieldID) {
	canonical := []byte(name)
	for i := range canonical {
		if i == 0 || canonical[i-1] == '-' {
			canonical[i] -= 'a' - 'A'
		}
	}
	b := bucket([]byte(name))
	buckets[b] = append(buckets[b], known{name, string(canonical), id})
}

// bucket tells names apart by length, first and last letter, whatever their case. The name is not empty.
func bucket(name []byte) uint8 {
	n := len(name)
	return uint8(n)*11 + (name[0]|0x20)*5 + (name[n-1] | 0x20)
}

// Name is the lower-case name of id.
func (id FieldID) Name() []byte { return nameOf[id] }

// HopByHop reports whether the field concerns one connection only (RFC 9110 §7.6.1).
func (id FieldID) HopByHop() bool { return id != Other && id < LastHopByHop }

// Identify returns the id of a field name, Other if the proxy does not act on it.
func Identify(name []byte) FieldID {
	if len(name) == 0 {
		return Other
	}
	for i := range buckets[bucket(name)] {
		k := &buckets[bucket(name)][i]
		if string(name) == k.canonical || EqualFold(name, k.name) {
			return k.id
		}
	}
	return Other
}
