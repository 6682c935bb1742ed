// SPDX-License-Identifier: Apache-2.0

// Package route picks the action of a request: the virtual host by its authority, then the first route whose path,
// headers and query match. A table is immutable and generic in its action; it changes no request, resolves no cluster,
// and does not know where its configuration came from.
//
// A host is found by one map lookup, or one for each length of wildcards. Routes of a host that has many are found by
// the bytes of the path, whatever their number; those with a regular expression, and those that differ in headers or
// query alone, are tried one after another.
package route

import (
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// Config is what a table is made of (envoy.config.route.v3.RouteConfiguration).
type Config[A any] struct {
	IgnorePort bool // ignore_port_in_host_matching: a port in the request's authority does not count
	// Hosts may be in any number of tables at once: after a change only what changed is made anew.
	Hosts []*Host[A]
}

// VirtualHost is the routes of some domains. A domain is a name, compared without case, or has one '*' at its start or
// its end that stands for at least one byte, or is "*".
type VirtualHost[A any] struct {
	Name    string
	Domains []string
	// RequireTLS: there are no routes for requests whose x-forwarded-proto is not https (require_tls: ALL).
	RequireTLS bool
	Routes     []Route[A] // the first that matches wins
}

// Route leads requests to an action. All its matchers have to match.
type Route[A any] struct {
	Path    PathMatch
	Headers []HeaderMatch
	Query   []QueryMatch
	// Fraction is the share of requests that the route is for (runtime_fraction): draw mod Denominator < Numerator. A
	// zero Denominator is all of them.
	Fraction struct{ Numerator, Denominator uint32 }
	Action   A
}

// Outcome tells whether Match found an action, and if not, why.
type Outcome uint8

// The outcomes of Match.
const (
	Found    Outcome = iota
	NoHost           // no virtual host has a domain for the authority
	NoRoute          // the virtual host has no route for the request; there is no second choice of host
	NeedsTLS         // the virtual host is for https alone
)

// Table is a Config ready for use. It never changes and any number of goroutines may match against it.
type Table[A any] struct {
	hosts[A]
}

// New makes a table. It refuses domains that stand in two places. Beside the domains of its hosts, and a map of them,
// it looks at nothing of theirs.
func New[A any](c Config[A]) (*Table[A], error) {
	t := &Table[A]{}
	t.ignorePort = c.IgnorePort
	exact := 0
	for _, v := range c.Hosts {
		for _, d := range v.domains {
			if d.kind == exactDomain {
				exact++
			}
		}
	}
	t.exact = make(map[string]*Host[A], exact)
	for _, v := range c.Hosts {
		for _, d := range v.domains {
			if err := t.add(d, v); err != nil {
				return nil, err
			}
		}
	}
	t.sort()
	return t, nil
}

// Match returns the action of the first route that matches in the virtual host of h's authority. draw decides on routes
// for a share of requests. h is as it is sent on but for rewrites and header operations: x-forwarded-proto is set and
// gives the scheme. Match allocates nothing. The room behind h.Buf's content serves as scratch space; h is otherwise
// only read.
func (t *Table[A]) Match(h *codec.Head, draw uint64) (action A, out Outcome) {
	v := t.find(h)
	if v == nil {
		return action, NoHost
	}
	if v.requireTLS {
		// Envoy has no answer at all for requests that do not tell their scheme.
		if proto := h.Get(codec.ForwardedProto); len(proto) == 0 {
			return action, NoRoute
		} else if !codec.EqualFold(proto, "https") {
			return action, NeedsTLS
		}
	}
	r := v.find(h, draw)
	if r == nil {
		return action, NoRoute
	}
	return r.value, Found
}
