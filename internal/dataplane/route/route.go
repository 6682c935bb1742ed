// SPDX-License-Identifier: Apache-2.0

// Package route picks the action of a request: the virtual host by its authority, then the first route whose path and
// headers match. A table is immutable and generic in its action; it changes no request, resolves no cluster, and does
// not know where its configuration came from.
package route

import (
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// Config is what a table is made of (envoy.config.route.v3.RouteConfiguration).
type Config[A any] struct {
	IgnorePort bool // ignore_port_in_host_matching: a port in the request's authority does not count
	Hosts      []VirtualHost[A]
}

// VirtualHost is the routes of some domains. A domain is a name, compared without case, or has one '*' at its start or
// its end that stands for at least one byte, or is "*".
type VirtualHost[A any] struct {
	Name    string
	Domains []string
	Routes  []Route[A] // the first that matches wins
}

// Route leads requests to an action. All its matchers have to match.
type Route[A any] struct {
	Path    PathMatch
	Headers []HeaderMatch
	Action  A
}

// Outcome tells whether Match found an action, and if not, why.
type Outcome uint8

// The outcomes of Match.
const (
	Found   Outcome = iota
	NoHost          // no virtual host has a domain for the authority
	NoRoute         // the virtual host has no route for the request; there is no second choice of host
)

// Table is a Config ready for use. It never changes and any number of goroutines may match against it.
type Table[A any] struct {
	hosts[A]
}

// New makes a table. It refuses domains that are malformed or stand in two places, and matchers that cannot work.
func New[A any](c Config[A]) (*Table[A], error) {
	t := &Table[A]{}
	t.ignorePort = c.IgnorePort
	for i := range c.Hosts {
		v, err := newVirtualHost(&c.Hosts[i])
		if err != nil {
			return nil, err
		}
		for _, d := range c.Hosts[i].Domains {
			if err := t.add(d, v); err != nil {
				return nil, err
			}
		}
	}
	t.sort()
	return t, nil
}

// Match returns the action of the first route that matches in the virtual host of h's authority. It allocates nothing.
// The room behind h.Buf's content serves as scratch space; h is otherwise only read.
func (t *Table[A]) Match(h *codec.Head) (action A, out Outcome) {
	v := t.find(h)
	if v == nil {
		return action, NoHost
	}
	r := v.find(h)
	if r == nil {
		return action, NoRoute
	}
	return r.action, Found
}
