// SPDX-License-Identifier: Apache-2.0

package mesh

import "time"

// Rule is one entry of spec.http, delegates merged in. Exactly one of Route, Redirect and Direct says what becomes of a
// request. Rewrite and Mirrors may stand beside Redirect or Direct where a delegate inherits them: they have no effect
// there.
type Rule struct {
	Origin  Ref // of the resource it was written in: the VirtualService, or the delegate it comes from
	Place   Place
	Name    string
	Matches []Match // none: matches everything

	Route    []Destination
	Redirect *Redirect
	Direct   *DirectResponse

	Rewrite *Rewrite // nil: none
	Headers Headers  // of the rule; destinations have their own
	Timeout time.Duration
	Retries *Retries // nil: the default policy
	Fault   *Fault   // nil: none
	CORS    *CORS    // nil: none
	Mirrors []Mirror // mirror first, then mirrors
}

// Match is one entry of http.match: all its conditions hold. Those on the proxy (Port, Gateways, SourceLabels,
// SourceNamespace) are decided when the rule is compiled.
type Match struct {
	Place          Place
	Name           string
	URI            *StringMatch
	IgnoreURICase  bool // without effect on a Regex
	Scheme         *StringMatch
	Method         *StringMatch
	Authority      *StringMatch
	Headers        []HeaderMatch // by header name
	WithoutHeaders []HeaderMatch // by header name; each must not hold
	Query          []QueryMatch  // by parameter name

	Port            uint32   // 0: any
	Gateways        []string // namespace/name or "mesh"; none: those of the VirtualService
	SourceLabels    map[string]string
	SourceNamespace string
	StatPrefix      string
}

// HeaderMatch is a condition on one request header; Value nil means the header is present.
type HeaderMatch struct {
	Name  string
	Value *StringMatch
}

// QueryMatch is a condition on one query parameter; Value nil means the parameter is present.
type QueryMatch struct {
	Name  string
	Value *StringMatch
}

// StringMatch has exactly one field that counts, told by Kind.
type StringMatch struct {
	Kind  MatchKind
	Value string
}

// MatchKind says how a StringMatch compares.
type MatchKind int

// The kinds Istio has. Regex is RE2 and must match the whole value.
const (
	Exact MatchKind = iota
	Prefix
	Regex
)

// Destination is a resolved host with a port and, in a route, a weight. Port is 0 when the resource gave none: compile
// fills it by what the listener is (semantics: explicit, else the service's only port, else the listener's port).
type Destination struct {
	Place   Place
	Host    string
	Subset  string
	Port    uint32
	Weight  int32
	Headers Headers // of a route's destination
}

// Headers are operations on a request's and an answer's fields.
type Headers struct {
	Request, Response HeaderOps
}

// HeaderOps change fields. Set and Add are sorted by name, Remove is in the order written. Values are Envoy format
// strings (%REQ(x)%; a literal percent is %%). Names keep their case as written; a request's Set and Add may name host
// or :authority, which changes the authority and is no field.
type HeaderOps struct {
	Set, Add []HeaderValue
	Remove   []string
}

// HeaderValue is a field to write.
type HeaderValue struct {
	Name, Value string
}

// Redirect answers with another address. URI and PrefixRewrite exclude each other.
type Redirect struct {
	Code          uint32 // 301, 302, 303, 307 or 308
	URI           string
	PrefixRewrite string
	Authority     string
	Scheme        string
	Port          uint32     // 0: none given
	DerivePort    DerivePort // when Port is 0
}

// DerivePort says which port a redirect names when it gives none itself.
type DerivePort int

// The ways of HTTPRedirect.derive_port. DeriveUnset leaves the port of the request's authority as Envoy does.
const (
	DeriveUnset DerivePort = iota
	FromProtocolDefault
	FromRequestPort
)

// DirectResponse answers without a destination.
type DirectResponse struct {
	Status uint32
	Body   []byte
	Bytes  bool // the body was given as bytes, not as a string
}

// Rewrite changes what the destination and the copies see.
type Rewrite struct {
	URI       string // "": keep
	HasURI    bool
	Regex     string // RE2, replaced by Substitution wherever it matches; "": keep
	Sub       string
	Authority string // "": keep
}

// Retries is a rule's own retry policy. Attempts 0: no retries at all.
type Retries struct {
	Attempts            int32
	PerTryTimeout       time.Duration // 0: none
	RetryOn             string        // as written; "": the default
	RemoteLocalities    *bool
	IgnorePreviousHosts *bool
	Backoff             time.Duration // 0: Envoy's
}

// Fault delays or ends requests before they are routed on. Shares are of a million.
type Fault struct {
	Delay *Delay
	Abort *Abort
}

// Delay holds a share of requests back for a fixed time.
type Delay struct {
	Fixed   time.Duration
	Million uint32
}

// Abort answers a share of requests itself. Exactly one of Status and GRPC is set.
type Abort struct {
	Status  uint32 // HTTP
	GRPC    *uint32
	Million uint32
}

// CORS is what browsers of other origins may do.
type CORS struct {
	Origins             []StringMatch
	Methods             []string
	AllowHeaders        []string
	ExposeHeaders       []string
	MaxAge              *time.Duration
	Credentials         *bool
	UnmatchedPreflights UnmatchedPreflights
}

// UnmatchedPreflights says what becomes of a preflight whose origin is not allowed.
type UnmatchedPreflights int

// The values of CorsPolicy.unmatchedPreflights.
const (
	UnmatchedUnset UnmatchedPreflights = iota
	UnmatchedForward
	UnmatchedIgnore
)

// Mirror is one mirror policy of a rule. Numerator over Denominator is the share; an explicit zero in the resource
// gives no Mirror at all.
type Mirror struct {
	Destination Destination
	Numerator   uint32
	Denominator Denominator
}

// Denominator is Envoy's (envoy.type.v3.FractionalPercent).
type Denominator int

// The denominators Istio emits.
const (
	Hundred Denominator = iota
	Million
)
